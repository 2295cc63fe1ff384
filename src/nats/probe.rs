//! What a server would say to a gateway with these settings: one connection to each, questions, and
//! nothing published to the subject of a route.

use core::time::Duration;

use bytes::Bytes;
use serde_json::Value;

use super::complaint::Complaint;
use super::error::NatsError;
use super::failure::{Cause, Failure, scrub, without_userinfo};
use super::inbox::{Address, Inbox, boot_bits, boot_name};
use super::wire::{Event, Message, Wire};
use crate::bridge::Token;
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
    /// Nanoseconds of a question and its answer; none if nothing has come back.
    pub round_trip_ns: Option<u64>,
    /// Whether this user may subscribe to its inbox; why that is not known, if not.
    pub inbox: Result<bool, String>,
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
                Ok(Ok(mut line)) => Ok(line.look(subjects).await),
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

/// Why a question has no answer.
enum Unanswered {
    Nobody,
    Because(String),
}

/// A connection that asks.
struct Line {
    wire: Wire,
    inbox: Inbox,
    /// Questions asked.
    asked: u64,
    /// Subjects that the server refused.
    refused: Vec<String>,
    /// Whether an answer has come, or a refusal. The server takes what it is sent in its order, so it
    /// has then judged the subscription to the inbox too.
    is_heard: bool,
    limit: Duration,
}

impl Line {
    async fn connect(settings: &NatsSettings, url: &str) -> Result<Self, Failure> {
        let boot = boot_name(boot_bits()?);
        let inbox = Inbox::new(&settings.inbox_prefix, &boot, 0);
        let mut wire = Wire::connect(settings, url).await?;
        wire.subscribe(&inbox.wildcard(), "1");
        Ok(Self {
            wire,
            inbox,
            asked: 0,
            refused: Vec::new(),
            is_heard: false,
            limit: settings.connect_timeout,
        })
    }

    async fn look(&mut self, subjects: &[&str]) -> Seen {
        // The first question brings the subscription to the inbox with it.
        let sent = System.now();
        let permissions = self.permissions().await;
        let round_trip_ns = System.now().since(sent);
        let round_trip_ns = self.is_heard.then_some(round_trip_ns);
        let streams = if self.is_deaf() {
            Err("this user may not subscribe to its inbox".to_owned())
        } else {
            self.streams(subjects).await
        };
        let inbox = match &permissions {
            Err(reason) if !self.is_heard => Err(reason.clone()),
            _ => Ok(!self.is_deaf()),
        };
        let info = self.wire.info();
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

    /// Whether the server has refused the subscription to the inbox.
    fn is_deaf(&self) -> bool {
        self.refused.iter().any(|subject| self.is_inbox(subject))
    }

    fn is_inbox(&self, subject: &str) -> bool {
        self.inbox.wildcard() == subject
    }

    async fn permissions(&mut self) -> Result<Permissions, String> {
        match self.ask(USER_INFO, Bytes::new()).await {
            Ok(answer) => Ok(Permissions::of(&answer)),
            Err(Unanswered::Nobody) => Err("the server does not tell, as before 2.10".to_owned()),
            Err(Unanswered::Because(reason)) => Err(reason),
        }
    }

    async fn streams(&mut self, subjects: &[&str]) -> Result<Option<Vec<Vec<String>>>, String> {
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
    async fn ask(&mut self, subject: &str, body: Bytes) -> Result<Value, Unanswered> {
        let because = |text: String| Err(Unanswered::Because(text));
        self.asked += 1;
        let question = Token::from_bits(self.asked);
        let reply = self.inbox.reply(question);
        if !self.wire.publish(subject.as_bytes(), reply, b"", &body) {
            return because(format!(
                "the question to {subject} is larger than the server takes"
            ));
        }
        let limit = self.limit;
        match tokio::time::timeout(limit, self.answer(subject, question)).await {
            Ok(Ok(message)) if message.is_no_responders() => Err(Unanswered::Nobody),
            Ok(Ok(message)) => serde_json::from_slice(&message.payload)
                .or_else(|_| because(format!("the answer of {subject} is not JSON"))),
            Ok(Err(reason)) => because(reason),
            Err(_) => because(format!("{subject}: no answer in {limit:?}")),
        }
    }

    /// Waits for the answer to a question; why there is none, if the server says so.
    async fn answer(&mut self, subject: &str, question: Token) -> Result<Message, String> {
        loop {
            match self.wire.next().await {
                Event::Message(head) => {
                    let address = self.inbox.parse(self.wire.subject(&head));
                    let message = self.wire.take(&head);
                    if address == Some(Address::Reply(question)) {
                        self.is_heard = true;
                        return Ok(message);
                    }
                }
                Event::Complaint(text) => {
                    let (Complaint::Publish(refused) | Complaint::Subscription(refused)) =
                        Complaint::of(&text)
                    else {
                        continue;
                    };
                    self.is_heard = true;
                    self.refused.push(refused.to_owned());
                    if refused == subject || self.is_inbox(refused) {
                        return Err(format!("the server does not let this user use {refused}"));
                    }
                }
                Event::Ended(reason) => {
                    return Err(reason.unwrap_or_else(|| "the connection was lost".to_owned()));
                }
                Event::Info | Event::Lame | Event::Pong | Event::Nothing => {}
            }
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
