//! Making one connection: signing in, the inbox subscription, and what shows that both work.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::mpsc::UnboundedSender;

use super::complaint::Complaint;
use super::connection::{Arrival, Connection, FarEnd, Word};
use super::failure::{Cause, Failure, scrub, without_userinfo};
use super::inbox::{Address, Inbox};
use super::outstanding::Serial;
use super::wire::Wire;
use crate::clock::{Clock as _, System};
use crate::settings::NatsSettings;

/// Most that a server may say, besides what was asked, before a connection is settled.
const EARLY: usize = 1000;

/// How an attempt to connect has ended.
#[derive(Debug)]
pub(super) struct Dialed {
    /// The line that it was for.
    pub(super) line: usize,
    /// The connection, or why there is none.
    pub(super) result: Result<Box<Connection>, Failure>,
}

/// Everything that one attempt needs.
#[derive(Debug)]
pub(super) struct Dial {
    pub(super) settings: Arc<NatsSettings>,
    pub(super) url: String,
    pub(super) line: usize,
    pub(super) serial: Serial,
    pub(super) inbox: Inbox,
    pub(super) ended: UnboundedSender<Dialed>,
}

impl Dial {
    /// Connects and reports how that went, in a task of its own.
    pub(super) fn start(self) {
        let (line, ended) = (self.line, self.ended.clone());
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
            drop(ended.send(Dialed { line, result }));
        });
    }

    async fn connect(self) -> Result<Connection, Failure> {
        let wire = Wire::connect(&self.settings, &self.url).await?;
        let pushed = self.settings.backpressure.subject.as_deref();
        let interval = self.settings.ping_interval;
        let mut connection = Connection::new(self.serial, wire, self.inbox, pushed, interval);
        // Something has to come back before the inbox can be relied on: a marker, or the complaint
        // that this user may not publish it, which only routes of kind `publish` need.
        let sent = System.now();
        connection.send_first_marker();
        settle(&mut connection).await?;
        let now = System.now();
        connection.ping_due = now.after(interval);
        connection.far = FarEnd {
            server: without_userinfo(&self.url).to_owned(),
            name: connection.server_name().to_owned(),
            // The complaint has come there and back as well.
            round_trip_ns: now.since(sent),
        };
        Ok(connection)
    }
}

/// Waits for the first marker, or for what the server says of it. What comes meanwhile and is not
/// about the connection's making stays with it.
async fn settle(connection: &mut Connection) -> Result<(), Failure> {
    let mut early = VecDeque::new();
    loop {
        let Some(arrival) = connection.next().await else {
            let reason = connection.complaint.take();
            return Err(Failure::from(match reason {
                Some(reason) => format!("connection lost at once: {reason}"),
                None => "connection lost at once".to_owned(),
            }));
        };
        if let Arrival::Word(Word::Complaint(text, _)) = &arrival {
            match Complaint::of(text) {
                Complaint::Subscription(subject) if connection.listens_on(subject) => {
                    return Err(Failure {
                        text: format!("the server does not let this user subscribe to {subject}"),
                        cause: Cause::Authorization,
                    });
                }
                Complaint::Publish(subject) if connection.is_marker(subject) => {
                    connection.refuse_markers(System.now());
                    break;
                }
                // It may be why the connection is lost next.
                _ => connection.complaint = Some(text.clone()),
            }
        }
        match arrival {
            Arrival::Inbox(Some(Address::Marker(0)), _) => break,
            Arrival::Nothing | Arrival::Word(Word::Limits) => {}
            arrival if early.len() < EARLY => early.push_back(arrival),
            _ => {
                return Err(Failure::from(
                    "the server says too much and does not answer",
                ));
            }
        }
    }
    connection.complaint = None;
    connection.put_back(early);
    Ok(())
}
