//! One connection to NATS, from up to gone. It is never reconnected; another takes its place.
//!
//! Hand-over to it is the moment from which a request may have been sent.

use core::task::{Context, Poll};
use core::time::Duration;
use std::collections::VecDeque;

use bytes::Bytes;

use super::inbox::{Address, Inbox};
use super::outstanding::Serial;
use super::passage::Passage;
use super::refused::{BELIEVED, Routes};
use super::slots::Slots;
use super::wire::{Event, Message, Wire};
use crate::bridge::Token;
use crate::clock::Nanos;
use crate::router_contract::Poll as StatusPoll;

/// The subscription to the inbox, and that to the backpressure statuses.
const INBOX: (&str, u64) = ("1", 1);
const STATUSES: (&str, u64) = ("2", 2);

/// A message was not handed over: it is larger than the server takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooLarge;

/// What a connection brings.
#[derive(Debug)]
pub(super) enum Arrival {
    /// A message to the inbox, and what it is about; `None` when its subject was not written here.
    Inbox(Option<Address>, Message),
    /// A backpressure status that was pushed.
    Pushed(Message),
    /// Something that the server says about the connection.
    Word(Word),
    /// Something that nobody waits for.
    Nothing,
}

/// What a server says about a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Word {
    /// It will end soon.
    Lame,
    /// It complains; and the routes that it had let through before.
    Complaint(String, Routes),
    /// It says anew what it takes.
    Limits,
}

/// A connection that is up, or was until a moment ago.
pub(super) struct Connection {
    serial: Serial,
    wire: Wire,
    inbox: Inbox,
    slots: Slots,
    /// What came while the connection was made.
    early: VecDeque<Arrival>,
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
    /// Why it was given up, if that is known.
    pub(super) complaint: Option<String>,
    /// Whether the server refuses its markers, and when to send one again to see whether it still does.
    pub(super) no_markers: bool,
    marker_due: Nanos,
    /// What is known of the other end.
    pub(super) far: FarEnd,
    /// Probes sent, and when the newest was if it has not come back.
    probes: u64,
    probe_sent: Option<Nanos>,
    /// When to ask again whether the server is there, and how long after that.
    pub(super) ping_due: Nanos,
    ping_interval: Duration,
    /// What its server lets through.
    passage: Passage,
    /// Whether statuses that are pushed are still those that are asked for.
    pub(super) hears_statuses: bool,
    /// The header block that is being written.
    block: Vec<u8>,
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
    /// A connection of `wire` that asks for its inbox and for the statuses on `pushed`.
    pub(super) fn new(
        serial: Serial,
        mut wire: Wire,
        inbox: Inbox,
        pushed: Option<&str>,
        ping_interval: Duration,
    ) -> Self {
        wire.subscribe(&inbox.wildcard(), INBOX.0);
        if let Some(subject) = pushed {
            wire.subscribe(subject, STATUSES.0);
        }
        Self {
            serial,
            is_lame: wire.info().is_lame(),
            wire,
            inbox,
            slots: Slots::default(),
            early: VecDeque::new(),
            unconfirmed: VecDeque::new(),
            markers: 0,
            needs_marker: false,
            marker_seen: 0,
            since: Nanos(0),
            has_ended: false,
            complaint: None,
            no_markers: false,
            marker_due: Nanos(0),
            far: FarEnd::default(),
            probes: 0,
            probe_sent: None,
            ping_due: Nanos(0),
            ping_interval,
            passage: Passage::default(),
            hears_statuses: true,
            block: Vec::new(),
        }
    }

    pub(super) const fn serial(&self) -> Serial {
        self.serial
    }

    /// Largest body, in bytes, that the server takes: headers as they go on the wire and payload.
    pub(super) fn max_payload(&self) -> usize {
        self.wire.info().max_payload
    }

    /// What the server calls itself.
    pub(super) fn server_name(&self) -> &str {
        &self.wire.info().server_name
    }

    /// Whether it takes a message now. If not, the task is woken when it does, unless it has ended.
    pub(super) fn has_room(&mut self, cx: &mut Context<'_>) -> bool {
        let has_room = !self.has_ended && self.wire.has_room(cx);
        self.has_ended |= self.wire.has_ended();
        has_room
    }

    /// Hands over a request whose answer comes to the inbox; `headers` writes its header block. Only
    /// after [`has_room`](Self::has_room) has said that there is room.
    pub(super) fn request(
        &mut self,
        token: Token,
        subject: &str,
        headers: impl FnOnce(&mut Vec<u8>),
        payload: &Bytes,
    ) -> Result<(), TooLarge> {
        let reply = self.inbox.reply(token);
        hand_over(
            &mut self.wire,
            &mut self.block,
            subject,
            reply,
            headers,
            payload,
        )
    }

    /// The same for a request that is answered once at most, so that its subject is used again.
    pub(super) fn request_once(
        &mut self,
        token: Token,
        subject: &str,
        headers: impl FnOnce(&mut Vec<u8>),
        payload: &Bytes,
        now: Nanos,
    ) -> Result<(), TooLarge> {
        let Self { slots, inbox, .. } = self;
        let Some((number, reply)) = slots.take(token, now, |number| inbox.slot(number).into())
        else {
            return self.request(token, subject, headers, payload);
        };
        let handed = hand_over(
            &mut self.wire,
            &mut self.block,
            subject,
            reply,
            headers,
            payload,
        );
        if handed.is_err() {
            // Nothing was sent, so nothing will be answered.
            self.slots.give_back(number);
        }
        handed
    }

    /// Whose answer is to come on a subject that is used again; `None` when it has come before.
    pub(super) fn asked_on(&self, slot: u64) -> Option<Token> {
        self.slots.asked(slot)
    }

    /// It has come: the subject may be used again.
    pub(super) fn answered(&mut self, slot: u64) {
        self.slots.give_back(slot);
    }

    /// Hands over a message that a marker will confirm, so only where markers may be sent; otherwise like
    /// [`request`](Self::request).
    pub(super) fn publish(
        &mut self,
        token: Token,
        subject: &str,
        headers: impl FnOnce(&mut Vec<u8>),
        payload: &Bytes,
    ) -> Result<(), TooLarge> {
        hand_over(
            &mut self.wire,
            &mut self.block,
            subject,
            b"",
            headers,
            payload,
        )?;
        self.unconfirmed.push_back((self.markers + 1, token));
        self.needs_marker = true;
        Ok(())
    }

    /// Ends a batch: asks whether the server is there if it is time to, sends a marker if something
    /// was published that needs one, and writes what was handed over. What the socket does not take
    /// waits, and the task is woken when it does.
    pub(super) fn finish(&mut self, cx: &mut Context<'_>, now: Nanos) {
        if self.ping_due <= now || self.passage.wants_ping() {
            self.ping_due = now.after(self.ping_interval);
            self.wire.ping();
            self.passage.pinged();
        }
        if self.needs_marker {
            self.send_marker(self.markers + 1);
            self.markers += 1;
            self.needs_marker = false;
        }
        self.wire.flush(cx);
        self.has_ended |= self.wire.has_ended();
    }

    /// Notes that a request to this route was handed over.
    pub(super) fn asked(&mut self, route: u16) {
        self.passage.asked(route);
    }

    /// Notes that the server does not let this route through.
    pub(super) fn refused(&mut self, route: u16) {
        self.passage.refused(route);
    }

    /// When there is something to do on it by itself.
    pub(super) const fn due(&self) -> Nanos {
        if self.has_ended {
            Nanos(0)
        } else {
            self.ping_due
        }
    }

    /// Sends the first marker, before anything is published.
    pub(super) fn send_first_marker(&mut self) {
        self.send_marker(0);
    }

    /// Whether this is the subject of a marker.
    pub(super) fn is_marker(&self, subject: &str) -> bool {
        let address = self.inbox.parse(subject.as_bytes());
        matches!(address, Some(Address::Marker(_)))
    }

    /// Notes that the server refuses markers: what waits for one that has not come is never confirmed.
    pub(super) fn refuse_markers(&mut self, now: Nanos) {
        self.no_markers = true;
        self.marker_due = now.after(BELIEVED);
        self.needs_marker = false;
        let seen = self.marker_seen;
        self.unconfirmed.retain(|(marker, _)| *marker <= seen);
    }

    /// Whether what is published is confirmed. Where markers are refused, one is sent now and then to see
    /// whether they still are. Only after [`has_room`](Self::has_room) has said that there is room.
    pub(super) fn confirms(&mut self, now: Nanos) -> bool {
        if self.no_markers && self.marker_due <= now {
            self.marker_due = now.after(BELIEVED);
            self.markers += 1;
            self.send_marker(self.markers);
        }
        !self.no_markers
    }

    fn send_marker(&mut self, number: u64) {
        let marker = self.inbox.marker(number);
        // Every server takes a message without a body.
        self.wire.publish(marker, b"", b"", &Bytes::new());
    }

    /// Asks for the backpressure status; skipped when there is no room.
    pub(super) fn poll_status(&mut self, cx: &mut Context<'_>, subject: &str, poll: StatusPoll) {
        if !self.has_room(cx) {
            return;
        }
        self.block.clear();
        let headers = poll
            .headers
            .iter()
            .map(|(name, value)| (*name, value.as_str()));
        super::publish::write_headers(headers, &mut self.block);
        let payload = Bytes::from(poll.payload);
        // A poll that is too large is repeated at the next interval, when the limit may be another.
        self.wire.publish(
            subject.as_bytes(),
            self.inbox.status(),
            &self.block,
            &payload,
        );
    }

    /// Sends a message to ourselves, to measure how long it takes; unless one is on its way, or
    /// may not be sent. One that is lost goes with the connection.
    pub(super) fn probe(&mut self, cx: &mut Context<'_>, now: Nanos) {
        if self.no_markers || self.probe_sent.is_some() || !self.has_room(cx) {
            return;
        }
        self.probes += 1;
        self.probe_sent = Some(now);
        let probe = self.inbox.probe(self.probes);
        self.wire.publish(probe, b"", b"", &Bytes::new());
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

    /// What comes next; `None` when the connection has ended and all was taken.
    pub(super) fn poll_arrival(&mut self, cx: &mut Context<'_>) -> Poll<Option<Arrival>> {
        if let Some(early) = self.early.pop_front() {
            return Poll::Ready(Some(early));
        }
        self.wire.poll_event(cx).map(|event| self.arrival(event))
    }

    /// Writes, and waits for what comes next; `None` when the connection has ended.
    pub(super) async fn next(&mut self) -> Option<Arrival> {
        let event = self.wire.next().await;
        self.arrival(event)
    }

    /// Lets what has come be found by whoever polls next.
    pub(super) fn put_back(&mut self, early: VecDeque<Arrival>) {
        self.early = early;
    }

    /// What an event means; `None` if it is the end, which is noted.
    fn arrival(&mut self, event: Event) -> Option<Arrival> {
        match event {
            Event::Message(head) => {
                let address = self.inbox.parse(self.wire.subject(&head));
                let (sid, has_reply) = (head.sid, head.has_reply);
                let message = self.wire.take(&head);
                Some(match sid {
                    _ if sid == INBOX.1 => Arrival::Inbox(address, message),
                    // With a reply subject it is somebody's poll, perhaps our own, not a status.
                    _ if sid == STATUSES.1 && !has_reply && self.hears_statuses => {
                        Arrival::Pushed(message)
                    }
                    _ => Arrival::Nothing,
                })
            }
            Event::Lame => Some(Arrival::Word(Word::Lame)),
            Event::Complaint(text) => {
                Some(Arrival::Word(Word::Complaint(text, self.passage.passed())))
            }
            Event::Info => Some(Arrival::Word(Word::Limits)),
            Event::Pong => {
                // It has lived on, whatever its server complained of.
                if !self.has_ended {
                    self.complaint = None;
                }
                self.passage.ponged();
                Some(Arrival::Nothing)
            }
            Event::Nothing => Some(Arrival::Nothing),
            Event::Ended(reason) => {
                self.has_ended = true;
                self.complaint = self.complaint.take().or(reason);
                None
            }
        }
    }

    /// Whether this is the inbox's subject.
    pub(super) fn listens_on(&self, subject: &str) -> bool {
        self.inbox.wildcard() == subject
    }

    /// Notes a marker that came back; `false` when it was never sent.
    pub(super) const fn see_marker(&mut self, number: u64) -> bool {
        let is_ours = number <= self.markers;
        if is_ours && number > self.marker_seen {
            self.marker_seen = number;
            self.no_markers = false;
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
}

/// Puts a message with these headers on the wire; `block` is where they are written.
fn hand_over(
    wire: &mut Wire,
    block: &mut Vec<u8>,
    subject: &str,
    reply: &[u8],
    headers: impl FnOnce(&mut Vec<u8>),
    payload: &Bytes,
) -> Result<(), TooLarge> {
    block.clear();
    headers(block);
    if wire.publish(subject.as_bytes(), reply, block, payload) {
        Ok(())
    } else {
        Err(TooLarge)
    }
}
