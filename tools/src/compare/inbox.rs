//! The NATS side of an async-nats client that keeps many requests in flight: one wildcard
//! subscription, and reply subjects that are written once and then only cloned.

use std::cell::RefCell;

use async_nats::{Client, ConnectOptions, Message, StatusCode, Subject, Subscriber};
use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::ReadyChunks;

use crate::wire::decimal;
use ipc_tools::stage::{Failure, While as _};

/// Answers that may wait for us; more than any window.
const SUBSCRIPTION_CAPACITY: usize = 1 << 18;
/// Requests that may wait for the connection's task.
const CLIENT_CAPACITY: usize = 8192;
/// Most answers that are taken as one batch.
const BATCH: usize = 512;

/// Connects the way all contenders do.
///
/// # Errors
/// The server cannot be reached.
pub(crate) async fn connect(address: &str) -> Result<Client, Failure> {
    let options = ConnectOptions::new()
        .subscription_capacity(SUBSCRIPTION_CAPACITY)
        .client_capacity(CLIENT_CAPACITY)
        .skip_subject_validation(true);
    options
        .connect(address)
        .await
        .or_say(format_args!("cannot connect to {address}"))
}

/// Sends requests whose answers come to the inbox.
#[derive(Debug)]
pub(crate) struct Asker {
    client: Client,
    subject: Subject,
    prefix: String,
    /// Reply subject of each slot used so far.
    replies: RefCell<Vec<Subject>>,
}

/// Takes what comes to the inbox.
#[derive(Debug)]
pub(crate) struct Answers {
    /// Bytes before the number of the slot.
    prefix: usize,
    messages: ReadyChunks<Subscriber>,
}

/// Connects, and subscribes to an inbox of its own.
///
/// # Errors
/// The server's.
pub(crate) async fn open(address: &str, subject: &str) -> Result<(Asker, Answers), Failure> {
    let client = connect(address).await?;
    let prefix = format!("{}.", client.new_inbox());
    let messages = client
        .subscribe(format!("{prefix}*"))
        .await
        .or_say("cannot subscribe")?;
    client.flush().await.or_say("cannot subscribe")?;
    let answers = Answers {
        prefix: prefix.len(),
        messages: messages.ready_chunks(BATCH),
    };
    let asker = Asker {
        client,
        subject: subject.into(),
        prefix,
        replies: RefCell::new(Vec::new()),
    };
    Ok((asker, answers))
}

impl Asker {
    /// Sends the request of this slot.
    ///
    /// # Errors
    /// The connection has ended.
    #[inline]
    pub(crate) async fn ask(&self, slot: usize, body: Bytes) -> Result<(), Failure> {
        let reply = self.reply(slot);
        self.client
            .publish_with_reply(self.subject.clone(), reply, body)
            .await
            .or_say("cannot publish")
    }

    /// The reply subject of this slot, written when it is first used.
    #[inline]
    fn reply(&self, slot: usize) -> Subject {
        let mut replies = self.replies.borrow_mut();
        if let Some(reply) = replies.get(slot) {
            return reply.clone();
        }
        let prefix = &self.prefix;
        let more = (replies.len()..=slot).map(|slot| format!("{prefix}{slot}").into());
        replies.extend(more);
        format!("{prefix}{slot}").into()
    }
}

impl Answers {
    /// Waits for answers and takes all that are there.
    ///
    /// # Errors
    /// The connection has ended.
    pub(crate) async fn next(&mut self) -> Result<Vec<Message>, Failure> {
        let chunk = self.messages.next().await;
        chunk.ok_or_else(|| Failure::new("the connection to NATS has ended"))
    }

    /// Which request this answers.
    ///
    /// # Errors
    /// None does, or nobody listens to requests.
    #[inline]
    pub(crate) fn slot_of(&self, message: &Message) -> Result<usize, Failure> {
        if message.status == Some(StatusCode::NO_RESPONDERS) {
            return Err(Failure::new("nobody answers requests"));
        }
        let digits = message.subject.as_bytes().get(self.prefix..);
        digits
            .and_then(decimal)
            .ok_or_else(|| Failure::Failed(format!("an answer came to {}", message.subject)))
    }
}
