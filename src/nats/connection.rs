//! One connection to NATS, from up to gone. It is never reconnected; another takes its place.
//!
//! Hand-over to the client library is the moment from which a request may have been sent.

use core::pin::Pin;
use core::str::FromStr as _;
use core::task::{Context, Poll};
use std::collections::VecDeque;

use async_nats::client::PublishErrorKind;
use async_nats::message::OutboundMessage;
use async_nats::{Client, HeaderMap, HeaderName, HeaderValue, Message, Subject, Subscriber};
use bytes::Bytes;
use futures_util::{Sink, Stream};

use super::inbox::{Address, Inbox};
use super::outstanding::Serial;
use super::slots::Slots;
use crate::bridge::Token;
use crate::clock::Nanos;
use crate::router_contract::Poll as StatusPoll;

/// Why a message was not handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It is larger than the server takes.
    TooLarge,
    /// The connection has ended.
    Ended,
}

/// A connection that is up, or was until a moment ago.
pub(super) struct Connection {
    serial: Serial,
    client: Client,
    inbox: Inbox,
    slots: Slots,
    messages: Subscriber,
    statuses: Option<Subscriber>,
    /// Publishes that no marker has confirmed, oldest first, each with the marker that will.
    unconfirmed: VecDeque<(u64, Token)>,
    /// Markers sent.
    markers: u64,
    /// Whether something was published that no marker sent so far confirms.
    needs_marker: bool,
    /// Newest marker that came back.
    marker_seen: u64,
    /// When it came up.
    pub(super) since: Nanos,
    /// Whether its server has said that it will end.
    pub(super) is_lame: bool,
    /// Whether it is known to be gone.
    pub(super) has_ended: bool,
    /// Why it was given up, if the server has said so.
    pub(super) complaint: Option<String>,
    /// Whether the server refuses its markers.
    pub(super) no_markers: bool,
    /// What is known of the other end.
    pub(super) far: FarEnd,
    /// Probes sent, and when the newest was if it has not come back.
    probes: u64,
    probe_sent: Option<Nanos>,
}

/// The other end of a connection.
#[derive(Clone, Debug, Default)]
pub(super) struct FarEnd {
    /// Where it is, without credentials.
    pub(super) server: String,
    /// What it calls itself.
    pub(super) name: String,
    /// Nanoseconds of the newest message there and back.
    pub(super) round_trip_ns: u64,
}

impl core::fmt::Debug for Connection {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Connection")
            .field("serial", &self.serial)
            .finish_non_exhaustive()
    }
}

impl Connection {
    pub(super) fn new(
        serial: Serial,
        client: Client,
        inbox: Inbox,
        messages: Subscriber,
        statuses: Option<Subscriber>,
    ) -> Self {
        Self {
            serial,
            client,
            inbox,
            slots: Slots::default(),
            messages,
            statuses,
            unconfirmed: VecDeque::new(),
            markers: 0,
            needs_marker: false,
            marker_seen: 0,
            since: Nanos(0),
            is_lame: false,
            has_ended: false,
            complaint: None,
            no_markers: false,
            far: FarEnd::default(),
            probes: 0,
            probe_sent: None,
        }
    }

    pub(super) const fn serial(&self) -> Serial {
        self.serial
    }

    /// Largest body, in bytes, that the server takes: headers as they go on the wire and payload.
    pub(super) fn max_payload(&self) -> usize {
        self.client.max_payload()
    }

    /// Whether the library takes a message now. If not, the task is woken when it does.
    pub(super) fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Refusal>> {
        if self.has_ended {
            return Poll::Ready(Err(Refusal::Ended));
        }
        let ready = Pin::new(&mut self.client).poll_ready(cx);
        ready.map(|ready| {
            ready.map_err(|_| {
                self.has_ended = true;
                Refusal::Ended
            })
        })
    }

    /// Hands over a request whose answer comes to the inbox. Only after
    /// [`poll_room`](Self::poll_room) has said that there is room.
    pub(super) fn request(
        &mut self,
        token: Token,
        subject: Subject,
        headers: Option<HeaderMap>,
        payload: Bytes,
    ) -> Result<(), Refusal> {
        let reply = Some(self.inbox.reply(token));
        self.hand_over(OutboundMessage {
            subject,
            reply,
            payload,
            headers,
        })
    }

    /// The same for a request that is answered once at most, so that its subject is used again.
    pub(super) fn request_once(
        &mut self,
        token: Token,
        subject: Subject,
        headers: Option<HeaderMap>,
        payload: Bytes,
        now: Nanos,
    ) -> Result<(), Refusal> {
        let Self { slots, inbox, .. } = self;
        let Some((number, reply)) = slots.take(token, now, |number| inbox.slot(number)) else {
            return self.request(token, subject, headers, payload);
        };
        let handed = self.hand_over(OutboundMessage {
            subject,
            reply: Some(reply),
            payload,
            headers,
        });
        if handed.is_err() {
            // Nothing was sent, so nothing will be answered.
            self.slots.give_back(number);
        }
        handed
    }

    /// Whose answer has come on a subject that is used again; `None` when it has come before.
    pub(super) fn answered(&mut self, slot: u64) -> Option<Token> {
        self.slots.give_back(slot)
    }

    /// Hands over a message that a marker will confirm; otherwise like [`request`](Self::request).
    pub(super) fn publish(
        &mut self,
        token: Token,
        subject: Subject,
        headers: Option<HeaderMap>,
        payload: Bytes,
    ) -> Result<(), Refusal> {
        self.hand_over(OutboundMessage {
            subject,
            reply: None,
            payload,
            headers,
        })?;
        self.unconfirmed.push_back((self.markers + 1, token));
        self.needs_marker = true;
        Ok(())
    }

    /// Ends a batch: sends a marker if something was published that needs one. Without room for
    /// it the task is woken when there is, and the next call tries again.
    pub(super) fn mark(&mut self, cx: &mut Context<'_>) {
        if !self.needs_marker || !matches!(self.poll_room(cx), Poll::Ready(Ok(()))) {
            return;
        }
        let subject = self.inbox.marker(self.markers + 1);
        if self.hand_over(bare(subject)).is_ok() {
            self.markers += 1;
            self.needs_marker = false;
        }
    }

    /// Asks for the backpressure status; skipped when there is no room.
    pub(super) fn poll_status(&mut self, cx: &mut Context<'_>, subject: &str, poll: StatusPoll) {
        if !matches!(self.poll_room(cx), Poll::Ready(Ok(()))) {
            return;
        }
        let mut headers = HeaderMap::new();
        for (name, value) in poll.headers {
            if let Ok(value) = HeaderValue::from_str(&value) {
                headers.insert(HeaderName::from_static(name), value);
            }
        }
        let poll = OutboundMessage {
            subject: Subject::from(subject),
            reply: Some(self.inbox.status()),
            payload: poll.payload.into(),
            headers: Some(headers),
        };
        // A poll that is refused is repeated at the next interval.
        let _refused = self.hand_over(poll);
    }

    /// Sends a message to ourselves, to measure how long it takes; unless one is on its way, or
    /// may not be sent. One that is lost goes with the connection.
    pub(super) fn probe(&mut self, cx: &mut Context<'_>, now: Nanos) {
        if self.no_markers
            || self.probe_sent.is_some()
            || !matches!(self.poll_room(cx), Poll::Ready(Ok(())))
        {
            return;
        }
        let subject = self.inbox.probe(self.probes + 1);
        if self.hand_over(bare(subject)).is_ok() {
            self.probes += 1;
            self.probe_sent = Some(now);
        }
    }

    /// Takes the time of a probe that came back; `false` when it was never sent.
    pub(super) fn probed(&mut self, number: u64, now: Nanos) -> bool {
        if number == self.probes
            && let Some(sent) = self.probe_sent.take()
        {
            self.far.round_trip_ns = now.since(sent);
        }
        number <= self.probes
    }

    /// The next message of the inbox; `None` when the connection has ended and all were taken.
    pub(super) fn poll_message(&mut self, cx: &mut Context<'_>) -> Poll<Option<Message>> {
        Pin::new(&mut self.messages).poll_next(cx)
    }

    /// The next backpressure status that was pushed.
    pub(super) fn poll_pushed(&mut self, cx: &mut Context<'_>) -> Poll<Option<Message>> {
        match &mut self.statuses {
            Some(statuses) => Pin::new(statuses).poll_next(cx),
            None => Poll::Pending,
        }
    }

    /// Whether this is the inbox's subject.
    pub(super) fn listens_on(&self, subject: &str) -> bool {
        self.inbox.wildcard() == subject
    }

    /// What a message of the inbox is about.
    pub(super) fn address(&self, message: &Message) -> Option<Address> {
        self.inbox.parse(&message.subject)
    }

    /// Notes a marker that came back; `false` when it was never sent.
    pub(super) const fn see_marker(&mut self, number: u64) -> bool {
        let is_ours = number <= self.markers;
        if is_ours && number > self.marker_seen {
            self.marker_seen = number;
        }
        is_ours
    }

    /// The oldest publish that a marker seen has confirmed, once.
    pub(super) fn take_confirmed(&mut self) -> Option<Token> {
        let &(marker, token) = self.unconfirmed.front()?;
        if marker > self.marker_seen {
            return None;
        }
        self.unconfirmed.pop_front();
        Some(token)
    }

    /// Whether a publish waits for its marker.
    pub(super) fn has_unconfirmed(&self) -> bool {
        !self.unconfirmed.is_empty()
    }

    fn hand_over(&mut self, message: OutboundMessage) -> Result<(), Refusal> {
        Pin::new(&mut self.client)
            .start_send(message)
            .map_err(|error| {
                if error.kind() == PublishErrorKind::MaxPayloadExceeded {
                    Refusal::TooLarge
                } else {
                    self.has_ended = true;
                    Refusal::Ended
                }
            })
    }
}

/// A message to ourselves: its subject says it all.
const fn bare(subject: Subject) -> OutboundMessage {
    OutboundMessage {
        subject,
        reply: None,
        payload: Bytes::new(),
        headers: None,
    }
}
