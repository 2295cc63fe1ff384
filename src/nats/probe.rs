//! What a server would say to a gateway with these settings: one connection to each, questions, and
//! nothing published to the subject of a route.

use core::time::Duration;
use std::sync::Mutex;

use async_nats::{Client, ConnectOptions, Event, RequestErrorKind};
use bytes::Bytes;
use serde_json::Value;
use tokio::sync::Notify;

use super::complaint::Complaint;
use super::dial::{Cause, Failure, refused, scrub, secured, without_userinfo};
use super::error::NatsError;
use crate::clock::{Clock as _, System};
use crate::settings::NatsSettings;

const USER_INFO: &str = "$SYS.REQ.USER.INFO";
const STREAM_NAMES: &str = "$JS.API.STREAM.NAMES";

/// What could be learned of one server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// The server, without credentials.
    pub place: String,
    /// What was seen there, or why nothing was.
    pub seen: Result<Seen, Unreached>,
}

/// Why there is no connection; the text holds no secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreached {
    /// What happened.
    pub text: String,
    /// Whether the server is there, and does not let this user in.
    pub is_refused: bool,
}

/// A server from within.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Its version.
    pub version: String,
    /// Largest message that it takes, in bytes.
    pub max_payload: usize,
    /// Nanoseconds of a question and its answer.
    pub round_trip_ns: u64,
    /// Whether answers can be had: why not, if not.
    pub inbox: Result<(), String>,
    /// What this user may do; why that is not known, if not.
    pub permissions: Result<Permissions, String>,
    /// For each subject that was asked about the streams that capture it; why that is not known, if
    /// not. None without `JetStream`.
    pub streams: Result<Option<Vec<Vec<String>>>, String>,
}

/// What a user may do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Permissions {
    /// Subjects that it may publish to.
    pub publish: Rights,
    /// Subjects that it may subscribe to.
    pub subscribe: Rights,
}

impl Permissions {
    /// From the answer of a server.
    fn of(answer: &Value) -> Self {
        let rights = |name| {
            Rights::of(
                answer
                    .pointer("/data/permissions")
                    .and_then(|it| it.get(name)),
            )
        };
        Self {
            publish: rights("publish"),
            subscribe: rights("subscribe"),
        }
    }
}

/// Subjects that a user may use: what `allow` covers (all, if it is `None`) and `deny` does not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rights {
    /// Patterns of what is allowed.
    pub allow: Option<Vec<String>>,
    /// Patterns of what is not.
    pub deny: Vec<String>,
}

impl Rights {
    /// Whether a subject without wildcards is among them.
    #[must_use]
    pub fn cover(&self, subject: &str) -> bool {
        let any = |patterns: &[String]| patterns.iter().any(|pattern| covers(pattern, subject));
        self.allow.as_deref().is_none_or(any) && !any(&self.deny)
    }

    /// From the part of an answer that is of publishing or of subscribing; without it all is allowed.
    fn of(part: Option<&Value>) -> Self {
        let patterns = |key: &str| -> Option<Vec<String>> {
            let list = part?.get(key)?.as_array()?;
            let texts = list.iter().filter_map(Value::as_str);
            Some(texts.map(str::to_owned).collect())
        };
        Self {
            allow: patterns("allow"),
            deny: patterns("deny").unwrap_or_default(),
        }
    }
}

/// Whether a pattern of NATS covers a subject without wildcards.
fn covers(pattern: &str, subject: &str) -> bool {
    let mut tokens = subject.split('.');
    for part in pattern.split('.') {
        match (part, tokens.next()) {
            (">", token) => return token.is_some(),
            ("*", Some(_)) => {}
            (part, Some(token)) if part == token => {}
            _ => return false,
        }
    }
    tokens.next().is_none()
}

/// Connects to every configured server as the gateway would, and asks it about these subjects.
/// Takes several times `connect_timeout` for each server at most.
///
/// # Errors
/// [`NatsError`] when there is no runtime. What is wrong with a server is in its [`Probe`].
pub fn probe(settings: &NatsSettings, subjects: &[&str]) -> Result<Vec<Probe>, NatsError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(NatsError::Runtime)?;
    Ok(runtime.block_on(async {
        let mut probes = Vec::new();
        for url in &settings.urls {
            // Name resolution has no limit of its own.
            let limit = settings.connect_timeout.saturating_mul(2);
            let seen = match tokio::time::timeout(limit, Line::connect(settings, url)).await {
                Ok(Ok(line)) => Ok(line.look(subjects).await),
                Ok(Err(Failure { text, cause })) => Err(Unreached {
                    text: scrub(text, &settings.auth),
                    is_refused: cause == Cause::Authorization,
                }),
                Err(_) => Err(Unreached {
                    text: format!("no connection within {limit:?}"),
                    is_refused: false,
                }),
            };
            let place = without_userinfo(url).to_owned();
            probes.push(Probe { place, seen });
        }
        probes
    }))
}

/// Subjects that the server refused, and whom that is told.
#[derive(Debug, Default)]
struct Refusals {
    subjects: Mutex<Vec<String>>,
    told: Notify,
}

impl Refusals {
    fn note(&self, event: &Event) {
        let Event::ServerError(error) = event else {
            return;
        };
        let subject = match Complaint::of(error) {
            Complaint::Publish(subject) | Complaint::Subscription(subject) => subject.to_owned(),
            _ => return,
        };
        if let Ok(mut subjects) = self.subjects.lock() {
            subjects.push(subject);
        }
        self.told.notify_waiters();
    }

    /// The first refused subject of which this is true, if there is one.
    fn find(&self, is_it: impl Fn(&str) -> bool) -> Option<String> {
        let subjects = self.subjects.lock().ok()?;
        subjects.iter().find(|subject| is_it(subject)).cloned()
    }

    /// Returns when a subject of which this is true is refused.
    async fn come(&self, is_it: impl Fn(&str) -> bool) -> String {
        loop {
            let told = self.told.notified();
            tokio::pin!(told);
            // What comes between the look and the wait is heard as well.
            told.as_mut().enable();
            if let Some(subject) = self.find(&is_it) {
                return subject;
            }
            told.await;
        }
    }
}

/// Why a question has no answer.
enum Unanswered {
    Nobody,
    Because(String),
}

struct Line {
    client: Client,
    refusals: std::sync::Arc<Refusals>,
    prefix: String,
    limit: Duration,
}

impl Line {
    async fn connect(settings: &NatsSettings, url: &str) -> Result<Self, Failure> {
        let refusals = std::sync::Arc::new(Refusals::default());
        let heard = std::sync::Arc::clone(&refusals);
        let options = ConnectOptions::new()
            .name(&settings.name)
            .connection_timeout(settings.connect_timeout)
            .custom_inbox_prefix(settings.inbox_prefix.clone())
            .ignore_discovered_servers()
            .max_reconnects(1)
            .event_callback(move |event| {
                heard.note(&event);
                core::future::ready(())
            });
        let options = secured(options, settings).await?;
        let client = options.connect(url).await;
        let client = client.map_err(|error| refused(&error, &settings.auth))?;
        Ok(Self {
            client,
            refusals,
            prefix: settings.inbox_prefix.clone(),
            limit: settings.connect_timeout,
        })
    }

    async fn look(&self, subjects: &[&str]) -> Seen {
        // The first question brings the subscription to the inbox with it.
        let sent = System.now();
        let permissions = self.permissions().await;
        let round_trip_ns = System.now().since(sent);
        let info = self.client.server_info();
        let inbox = match self.refusals.find(|subject| self.is_inbox(subject)) {
            Some(subject) => Err(format!("this user may not subscribe to {subject}")),
            None => Ok(()),
        };
        let streams = match &inbox {
            Ok(()) => self.streams(subjects).await,
            Err(reason) => Err(reason.clone()),
        };
        Seen {
            // It is printed.
            version: info.version.escape_debug().to_string(),
            max_payload: info.max_payload,
            round_trip_ns,
            inbox,
            permissions,
            streams,
        }
    }

    fn is_inbox(&self, subject: &str) -> bool {
        subject.starts_with(&self.prefix)
    }

    async fn permissions(&self) -> Result<Permissions, String> {
        match self.ask(USER_INFO, Bytes::new()).await {
            Ok(answer) => Ok(Permissions::of(&answer)),
            Err(Unanswered::Nobody) => Err("the server does not tell, as before 2.10".to_owned()),
            Err(Unanswered::Because(reason)) => Err(reason),
        }
    }

    async fn streams(&self, subjects: &[&str]) -> Result<Option<Vec<Vec<String>>>, String> {
        let mut all = Vec::new();
        for subject in subjects {
            let question = serde_json::json!({ "subject": subject }).to_string();
            let answer = match self.ask(STREAM_NAMES, Bytes::from(question)).await {
                Ok(answer) => answer,
                Err(Unanswered::Nobody) => return Ok(None),
                Err(Unanswered::Because(reason)) => return Err(reason),
            };
            // The account may not have it enabled, or there is no room for a word.
            let error = |key| answer.get("error").and_then(|error| error.get(key));
            if let Some(text) = error("description").and_then(Value::as_str) {
                return match error("err_code").and_then(Value::as_u64) {
                    Some(10039 | 10076) => Ok(None),
                    _ => Err(text.escape_debug().to_string()),
                };
            }
            let names = answer.get("streams").and_then(Value::as_array);
            let names = names.map(Vec::as_slice);
            let names = names.unwrap_or_default().iter().filter_map(Value::as_str);
            all.push(names.map(|name| name.escape_debug().to_string()).collect());
        }
        Ok(Some(all))
    }

    /// Asks the server itself.
    #[expect(
        clippy::disallowed_methods,
        reason = "a question for each route at most, on a connection that ends with them"
    )]
    async fn ask(&self, subject: &'static str, body: Bytes) -> Result<Value, Unanswered> {
        let because = |text: String| Unanswered::Because(text);
        let is_it = |refused: &str| refused == subject || self.is_inbox(refused);
        let request = self.client.request(subject, body);
        let answer = tokio::select! {
            answer = tokio::time::timeout(self.limit, request) => answer,
            refused = self.refusals.come(is_it) => {
                return Err(because(format!("the server does not let this user use {refused}")));
            }
        };
        match answer {
            Ok(Ok(message)) => serde_json::from_slice(&message.payload)
                .map_err(|_| because(format!("the answer of {subject} is not JSON"))),
            Ok(Err(error)) if error.kind() == RequestErrorKind::NoResponders => {
                Err(Unanswered::Nobody)
            }
            Ok(Err(error)) => Err(because(format!("{subject}: {error}"))),
            Err(_) => Err(because(format!("{subject}: no answer in {:?}", self.limit))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_cover_what_nats_says_they_do() {
        for (pattern, subject, expected) in [
            ("a.b", "a.b", true),
            ("a.b", "a.c", false),
            ("a.*", "a.b", true),
            ("a.*", "a.b.c", false),
            ("a.*", "a", false),
            ("a.>", "a.b.c", true),
            ("a.>", "a", false),
            (">", "a", true),
            ("*.b", "a.b", true),
            ("a", "a.b", false),
        ] {
            assert_eq!(covers(pattern, subject), expected, "{pattern} {subject}");
        }
    }

    #[test]
    fn rights_are_read_from_what_the_server_says() {
        let rights = |publish: &str| {
            let text = format!(r#"{{"data":{{"permissions":{{"publish":{publish}}}}}}}"#);
            let permissions = Permissions::of(&serde_json::from_str(&text).unwrap());
            assert!(permissions.subscribe.cover("a"));
            permissions.publish
        };
        let all = Permissions::of(&serde_json::json!({"data": {"user": "u"}}));
        assert!(all.publish.cover("a") && all.subscribe.cover("a"));
        let deaf = serde_json::json!({"data": {"permissions": {"subscribe": {"deny": ["a.>"]}}}});
        let deaf = Permissions::of(&deaf);
        assert!(deaf.publish.cover("a.b") && !deaf.subscribe.cover("a.b"));
        let some = rights(r#"{"allow":["a.>"],"deny":["a.secret"]}"#);
        assert!(some.cover("a.b"));
        assert!(!some.cover("a.secret"));
        assert!(!some.cover("b"));
        assert!(rights(r#"{"deny":["b"]}"#).cover("a"));
        assert!(!rights(r#"{"deny":[">"]}"#).cover("a"));
    }
}
