//! Making one connection: options, sign-in, the inbox subscription, and what makes sure that the
//! client library never reconnects by itself.
//!
//! async-nats would reconnect and then send everything that was queued before, which the Router
//! would see as stale requests. So each connection is used once: as soon as it is up, its pool of
//! servers is replaced by an address nobody can listen on, and one failed attempt is all it has.
//! When the connection drops, the library's task ends and what it had queued is dropped with it.

use core::time::Duration;
use std::path::Path;
use std::sync::Arc;

use async_nats::connection::State;
use async_nats::{ConnectError, ConnectErrorKind, ConnectOptions, Event, ServerError, Subject};
use bytes::Bytes;
use futures_util::StreamExt as _;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use super::complaint::Complaint;
use super::connection::{Connection, FarEnd};
use super::inbox::Inbox;
use super::outstanding::Serial;
use crate::clock::{Clock as _, System};
use crate::settings::{NatsAuth, NatsSettings, Secret};

/// Messages that the library queues on the way out. What lies there when a connection drops was
/// never sent but counts as lost, so it is small.
const CLIENT_CAPACITY: usize = 512;
/// Messages that the library queues for an inbox besides one for each request in flight: replies
/// that are late or repeated.
const STRAYS: usize = 64 * 1024;
/// Port 0 is never listened on: an attempt to connect to it fails at once.
const NOWHERE: &str = "nats://127.0.0.1:0";

/// What the loop hears from connections and from attempts to connect.
#[derive(Debug)]
pub(super) enum Notice {
    /// The connection is gone.
    Disconnected(Serial),
    /// The server will end soon.
    LameDuck(Serial),
    /// The library dropped a message because the inbox was full.
    Overflow,
    /// The server complained.
    ServerError(Serial, ServerError),
    /// An attempt to connect has ended; the error text holds no secret.
    Dialed {
        /// The line that it was for.
        line: usize,
        /// How.
        result: Result<Box<Connection>, Failure>,
    },
}

/// Why there is no connection.
#[derive(Debug)]
pub(super) struct Failure {
    /// What happened, without secrets.
    pub(super) text: String,
    /// Whether the server does not want this user.
    pub(super) cause: Cause,
}

/// Whose fault a failure is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// The server does not let this user in, or not do what is needed.
    Authorization,
    /// Anything else.
    Other,
}

impl<E: core::fmt::Display> From<E> for Failure {
    fn from(error: E) -> Self {
        Self {
            text: error.to_string(),
            cause: Cause::Other,
        }
    }
}

/// Everything that one attempt needs.
#[derive(Debug)]
pub(super) struct Dial {
    pub(super) settings: Arc<NatsSettings>,
    pub(super) url: String,
    pub(super) line: usize,
    pub(super) serial: Serial,
    pub(super) inbox: Inbox,
    /// Most requests that can be in flight.
    pub(super) in_flight: usize,
    pub(super) notices: UnboundedSender<Notice>,
}

impl Dial {
    /// Connects and reports how that went, in a task of its own.
    pub(super) fn start(self) {
        let (line, notices) = (self.line, self.notices.clone());
        tokio::spawn(async move {
            let settings = Arc::clone(&self.settings);
            let place = without_userinfo(&self.url).to_owned();
            // Name resolution has no limit of its own.
            let limit = settings.connect_timeout.saturating_mul(2);
            let result = match tokio::time::timeout(limit, self.connect()).await {
                Ok(result) => result,
                Err(_) => Err(Failure::from("timed out")),
            };
            let result = result.map(Box::new).map_err(|failure| Failure {
                text: scrub(format!("{place}: {}", failure.text), &settings.auth),
                ..failure
            });
            // The loop has ended if this fails, and needs no connection.
            drop(notices.send(Notice::Dialed { line, result }));
        });
    }

    async fn connect(mut self) -> Result<Connection, Failure> {
        let (heard, mut complaints) = unbounded_channel();
        let inbox = self.inbox.wildcard();
        let first_marker = self.inbox.marker(0);
        let own = (inbox.clone(), first_marker.clone());
        let options = self.options(own, heard).await?;
        let connected = options.connect(&self.url).await;
        let client = connected.map_err(|error| refused(&error, &self.settings.auth))?;
        client.set_server_pool(NOWHERE).await?;
        let mut messages = client.subscribe(inbox.clone()).await?;
        let statuses = match &self.settings.backpressure.subject {
            None => None,
            Some(subject) => Some(client.subscribe(subject.clone()).await?),
        };
        // Something has to come back before the inbox can be relied on: a marker, or the complaint
        // that this user may not publish it, which only routes of kind `publish` need.
        let sent = System.now();
        client.publish(first_marker, Bytes::new()).await?;
        client.flush().await?;
        let complaint = tokio::select! {
            marker = messages.next() => {
                marker.ok_or("connection lost at once")?;
                None
            }
            complaint = complaints.recv() => complaint,
        };
        // The complaint has come there and back as well.
        let far = FarEnd {
            server: without_userinfo(&self.url).to_owned(),
            name: client.server_info().server_name,
            round_trip_ns: System.now().since(sent),
        };
        if complaint == Some(Heard::NoInbox) {
            return Err(Failure {
                text: format!("the server does not let this user subscribe to {inbox}"),
                cause: Cause::Authorization,
            });
        }
        if client.connection_state() != State::Connected {
            return Err(Failure::from("connection lost at once"));
        }
        let mut connection = Connection::new(self.serial, client, self.inbox, messages, statuses);
        connection.no_markers = complaint == Some(Heard::NoMarker);
        connection.far = far;
        Ok(connection)
    }

    /// `own` are the inbox and its first marker; complaints about them are told to `heard`.
    async fn options(
        &self,
        own: (String, Subject),
        heard: UnboundedSender<Heard>,
    ) -> Result<ConnectOptions, String> {
        let settings = &self.settings;
        let (serial, notices) = (self.serial, self.notices.clone());
        let options = ConnectOptions::new()
            .name(&settings.name)
            .connection_timeout(settings.connect_timeout)
            .ping_interval(settings.ping_interval)
            .client_capacity(CLIENT_CAPACITY)
            // The library drops what it has no room for, so there is room for every answer. Memory
            // is used only as messages wait.
            .subscription_capacity(self.in_flight.saturating_add(STRAYS))
            .skip_subject_validation(true)
            .ignore_discovered_servers()
            .max_reconnects(1)
            .reconnect_delay_callback(|_| Duration::ZERO)
            .event_callback(move |event| {
                let about_us = Heard::of(&event, &own);
                if let Some(complaint) = about_us {
                    // Nobody listens any more once the attempt has ended.
                    heard.send(complaint).ok();
                }
                if about_us != Some(Heard::NoMarker)
                    && let Some(notice) = notice(serial, event)
                {
                    drop(notices.send(notice));
                }
                core::future::ready(())
            });
        secured(options, settings).await
    }
}

/// Adds TLS and credentials.
pub(super) async fn secured(
    mut options: ConnectOptions,
    settings: &NatsSettings,
) -> Result<ConnectOptions, String> {
    let tls = &settings.tls;
    if tls.required {
        options = options.require_tls(true);
    }
    if let Some(path) = &tls.ca_file {
        options = options.add_root_certificates(path.clone());
    }
    if let (Some(cert), Some(key)) = (&tls.cert_file, &tls.key_file) {
        options = options.add_client_certificate(cert.clone(), key.clone());
    }
    sign_in(options, &settings.auth).await
}

/// What a server complains about while a connection is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Heard {
    /// The inbox is refused.
    NoInbox,
    /// Publishing to it is.
    NoMarker,
}

impl Heard {
    fn of(event: &Event, (inbox, marker): &(String, Subject)) -> Option<Self> {
        let Event::ServerError(error) = event else {
            return None;
        };
        match Complaint::of(error) {
            Complaint::Subscription(subject) if subject == inbox => Some(Self::NoInbox),
            Complaint::Publish(subject) if subject == marker.as_str() => Some(Self::NoMarker),
            _ => None,
        }
    }
}

async fn sign_in(options: ConnectOptions, auth: &NatsAuth) -> Result<ConnectOptions, String> {
    Ok(match auth {
        NatsAuth::None => options,
        NatsAuth::Password { user, password } => {
            options.user_and_password(user.clone(), password.reveal().to_owned())
        }
        NatsAuth::Token(token) => options.token(token.reveal().to_owned()),
        NatsAuth::CredentialsFile(path) => options
            .credentials(read(path).await?.reveal())
            .map_err(|_| format!("no credentials in {}", path.display()))?,
        NatsAuth::NkeySeedFile(path) => options.nkey(read(path).await?.reveal().trim().to_owned()),
    })
}

/// What went wrong, and whose fault it is.
pub(super) fn refused(error: &ConnectError, auth: &NatsAuth) -> Failure {
    use ConnectErrorKind::{Authentication, AuthorizationViolation};
    let cause = match error.kind() {
        Authentication | AuthorizationViolation => Cause::Authorization,
        _ => Cause::Other,
    };
    let text = match (error.kind(), auth) {
        (Authentication, NatsAuth::NkeySeedFile(path)) => {
            format!("{} holds no nkey seed", path.display())
        }
        _ => error.to_string(),
    };
    // What comes back is text where TLS was spoken.
    let text = if text.contains("InvalidContentType") {
        format!("the server does not speak TLS: {text}")
    } else {
        text
    };
    Failure { text, cause }
}

/// Reads a file with a secret, anew for every attempt so that it can be replaced.
async fn read(path: &Path) -> Result<Secret, String> {
    let describe =
        |error: &dyn core::fmt::Display| format!("cannot read {}: {error}", path.display());
    let owned = path.to_owned();
    tokio::task::spawn_blocking(move || std::fs::read_to_string(owned))
        .await
        .map_err(|error| describe(&error))?
        .map(Secret::new)
        .map_err(|error| describe(&error))
}

fn notice(serial: Serial, event: Event) -> Option<Notice> {
    match event {
        Event::Disconnected | Event::Closed => Some(Notice::Disconnected(serial)),
        Event::LameDuckMode => Some(Notice::LameDuck(serial)),
        Event::SlowConsumer(_) => Some(Notice::Overflow),
        Event::ServerError(error) => Some(Notice::ServerError(serial, error)),
        Event::Connected | Event::Draining | Event::ClientError(_) => None,
    }
}

/// The part of a URL after credentials, which should not be there but may.
pub(super) fn without_userinfo(url: &str) -> &str {
    url.rsplit_once('@').map_or(url, |(_, place)| place)
}

/// Removes the configured secret from text, whoever put it there.
pub(super) fn scrub(text: String, auth: &NatsAuth) -> String {
    match auth {
        NatsAuth::Password {
            password: secret, ..
        }
        | NatsAuth::Token(secret)
            if !secret.reveal().is_empty() =>
        {
            text.replace(secret.reveal(), "***")
        }
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_do_not_stay_in_text() {
        let auth = NatsAuth::Token(Secret::new("s3cret".to_owned()));
        assert_eq!(scrub("bad s3cret here".to_owned(), &auth), "bad *** here");
        assert_eq!(without_userinfo("nats://me:pw@host:1"), "host:1");
        assert_eq!(without_userinfo("nats://host:1"), "nats://host:1");
    }
}
