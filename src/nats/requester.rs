//! One turn of the NATS room: what has come in is answered, what has been asked is sent.
//!
//! Nothing in a turn waits. A source that has nothing leaves the task's waker behind, so after a
//! turn that did nothing the task may sleep: whatever comes wakes it.

use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::sync::mpsc::UnboundedReceiver;

use super::backpressure::Backpressure;
use super::connection::{Arrival, Connection, Word};
use super::desk::Desk;
use super::dial::Dialed;
use super::held::Held;
use super::inbox::Address;
use super::outstanding::{Serial, Unmatched};
use super::pool::Pool;
use super::publish::{self, Handover};
use crate::bridge::{Code, News, UpstreamEnd};
use crate::clock::Nanos;
use crate::health::NatsHealth;
use crate::route::{Route, RouteKind};
use crate::settings::NatsSettings;

/// Most requests taken from one link, and most messages from one connection, in a turn.
const BATCH: usize = 256;
/// Most messages taken from a connection that has ended.
const LAST: usize = 64 * 1024;
/// Most requests that wait here for a connection; beyond, they stay in the links, which fill up
/// and push back.
pub const MAX_HELD: usize = 8192;
/// How often to look whether a connection that retires has nothing left to wait for.
const RETIRE_NS: u64 = 100_000_000;

/// The state of the room.
pub(super) struct Requester {
    pub(super) settings: Arc<NatsSettings>,
    pub(super) routes: Arc<[Route]>,
    pub(super) desk: Desk,
    pub(super) pool: Pool,
    pub(super) backpressure: Backpressure,
    pub(super) health: Arc<NatsHealth>,
    /// What is told while the room runs, and which word of it was taken last.
    pub(super) news: News,
    pub(super) heard: u64,
    /// Looks of the health that were heeded.
    pub(super) looks: u64,
    /// First half of the trace ids of the requests that the room makes by itself.
    pub(super) trace_seed: u64,
    pub(super) dialed: UnboundedReceiver<Dialed>,
    /// What servers have said about their connections and was not heeded yet.
    pub(super) words: Vec<(Serial, Word)>,
    /// When a request that waits may have to be given up.
    pub(super) held_due: Nanos,
    /// When to look at the connections that retire.
    pub(super) retire_due: Nanos,
    /// When a complaint of the server may be logged again.
    pub(super) log_again: Nanos,
}

impl Requester {
    /// The first half of a turn: takes what has come from NATS. Returns how much that was.
    pub(super) fn receive(&mut self, cx: &mut Context<'_>, now: Nanos) -> usize {
        let mut done = self.take_dialed(cx, now);
        done += self.take_messages(cx, now);
        self.end_connections(cx, now);
        // A worker on this thread has its turn next.
        self.desk.flush();
        done
    }

    /// The second half of a turn: sends what the workers ask for, and does what is due. Returns
    /// how much was done.
    pub(super) fn send(&mut self, cx: &mut Context<'_>, now: Nanos) -> usize {
        if self.has_news() {
            self.take_news();
        }
        if self.is_looked_at() {
            self.looks = self.health.looks();
            self.pool.probe(cx, now);
        }
        let mut done = self.send_held(cx, now);
        while let Some(held) = self.desk.take_resend(now) {
            done += 1;
            self.send_or_hold(held, cx, now);
        }
        for link in 0..self.desk.links().len() {
            done += self.take_requests(link, cx, now);
        }
        self.tick(cx, now);
        for connection in self.pool.connections() {
            connection.finish(cx, now);
        }
        self.desk.flush();
        done
    }

    /// Whether requests in the links would be taken now.
    pub(super) fn has_work(&self) -> bool {
        self.pool.held() < MAX_HELD && self.desk.links().iter().any(|link| link.has_requests())
    }

    /// Whether something was told that was not taken.
    pub(super) fn has_news(&self) -> bool {
        self.news.is_newer(self.heard)
    }

    /// Whether somebody has looked since the lines were shown.
    pub(super) fn is_looked_at(&self) -> bool {
        self.health.looks() != self.looks
    }

    /// Whether every request that was taken has been completed or has run out of time, or nobody
    /// waits for it.
    pub(super) fn is_idle(&self, now: Nanos) -> bool {
        if self.desk.links().iter().all(UpstreamEnd::is_closed) {
            return true;
        }
        self.pool.held() == 0
            && !self.desk.links().iter().any(UpstreamEnd::has_requests)
            && !self.desk.outstanding.has_live(None, now)
    }

    /// When the next thing is due.
    pub(super) fn due(&self) -> Nanos {
        self.pool
            .due()
            .min(self.pool.connections_due())
            .min(self.held_due)
            .min(self.retire_due)
            .min(self.backpressure.due())
            .min(self.desk.due())
    }

    fn take_dialed(&mut self, cx: &mut Context<'_>, now: Nanos) -> usize {
        let mut done = 0;
        while let Poll::Ready(Some(Dialed { line, result })) = self.dialed.poll_recv(cx) {
            done += 1;
            if let Ok(connection) = &result {
                self.desk.refused.forget();
                self.look_at_markers(connection);
            }
            self.pool.dialed(line, result, now);
            self.publish_limits();
            self.retire_due = now;
        }
        done
    }

    /// Says that routes of kind `publish` cannot work where markers may not be published.
    fn look_at_markers(&self, connection: &Connection) {
        let is_publish = |route: &&Route| route.kind == RouteKind::Publish;
        if connection.no_markers
            && let Some(route) = self.routes.iter().find(is_publish)
        {
            let text = format!(
                "route {} cannot be confirmed: the server does not let this user publish to its \
                 own inbox",
                route.name
            );
            tracing::warn!("{text}");
            self.health.set_last_error(text);
        }
    }

    fn take_messages(&mut self, cx: &mut Context<'_>, now: Nanos) -> usize {
        let Self {
            pool,
            desk,
            backpressure,
            words,
            ..
        } = self;
        let mut done = 0;
        for connection in pool.connections() {
            // Markers seen in the turn before: an error that the server sent ahead of one has
            // been taken by now.
            while let Some(token) = connection.take_confirmed() {
                done += 1;
                desk.confirmed(token, now);
            }
            done += drain(connection, desk, backpressure, words, cx, now, BATCH);
        }
        self.heed(now);
        done
    }

    /// Does what follows from the words that servers have said.
    fn heed(&mut self, now: Nanos) {
        if self.words.is_empty() {
            return;
        }
        // A server complains of each message: what follows from it is done once for all of a turn.
        let mut heeded = Vec::new();
        for (serial, word) in core::mem::take(&mut self.words) {
            match word {
                Word::Lame => {
                    self.desk.metrics.lame_ducks.increment();
                    self.pool.lame(serial, now);
                }
                Word::Complaint(text, passed) => {
                    let is_new = |(at, of): &(Serial, String)| (*at, of) != (serial, &text);
                    if heeded.iter().all(is_new) {
                        heeded.push((serial, text.clone()));
                        self.complaint(serial, &text, &passed, now);
                    } else {
                        self.count_complaint(&text);
                    }
                }
                Word::Limits => self.publish_limits(),
            }
        }
    }

    /// Gives up the connections that have ended and everything that was on them.
    fn end_connections(&mut self, cx: &mut Context<'_>, now: Nanos) {
        while let Some(connection) = self.pool.ended() {
            let serial = connection.serial();
            // Answers that came before the end count.
            drain(
                connection,
                &mut self.desk,
                &mut self.backpressure,
                &mut self.words,
                cx,
                now,
                LAST,
            );
            // An error that the server sent ahead of a marker is taken first.
            self.heed(now);
            if let Some(connection) = self.pool.connection(serial) {
                while let Some(token) = connection.take_confirmed() {
                    self.desk.confirmed(token, now);
                }
            }
            self.pool.end(serial, now);
            self.desk.lost(serial, now);
            self.publish_limits();
            self.held_due = now;
        }
    }

    fn send_held(&mut self, cx: &mut Context<'_>, now: Nanos) -> usize {
        let mut done = 0;
        for line in 0..self.pool.lines.len() {
            while let Some(held) = self.pool.lines.get_mut(line).and_then(|l| l.queue.pop()) {
                if let Err(held) = self.try_send(line, held, cx, now) {
                    if let Some(line) = self.pool.lines.get_mut(line) {
                        line.queue.put_back(held);
                    }
                    break;
                }
                done += 1;
            }
        }
        done
    }

    fn take_requests(&mut self, link: usize, cx: &mut Context<'_>, now: Nanos) -> usize {
        let mut done = 0;
        while done < BATCH && self.pool.held() < MAX_HELD {
            let link = self.desk.links_mut().get_mut(link);
            let Some(request) = link.and_then(UpstreamEnd::pop) else {
                break;
            };
            done += 1;
            // One that was accepted under newer routes is not sent by older ones.
            if self.has_news() {
                self.take_news();
            }
            // Its time in the link is part of how long it has waited for a connection.
            let accepted = request.accepted;
            self.send_or_hold(Held::new(request, accepted), cx, now);
        }
        done
    }

    fn send_or_hold(&mut self, mut held: Held, cx: &mut Context<'_>, now: Nanos) {
        let line = self.pool.line_of(held.request.session);
        let must_wait = self
            .pool
            .lines
            .get(line)
            .is_some_and(|l| !l.queue.is_empty());
        if !must_wait {
            match self.try_send(line, held, cx, now) {
                Ok(()) => return,
                Err(back) => held = back,
            }
        }
        let (expires, patience) = held.ends(Some(self.settings.fail_fast));
        self.held_due = self.held_due.min(expires).min(patience);
        if let Some(line) = self.pool.lines.get_mut(line) {
            held.own();
            line.queue.push(held);
        }
    }

    /// Sends a request or answers it; gives it back when it has to wait.
    fn try_send(
        &mut self,
        line: usize,
        held: Held,
        cx: &mut Context<'_>,
        now: Nanos,
    ) -> Result<(), Held> {
        let place = usize::from(held.request.route);
        let Some(route) = self.routes.get(place) else {
            self.desk.reject(&held, Code::BadRoute);
            return Ok(());
        };
        if held.request.deadline <= now {
            self.desk.reject(&held, Code::ExpiredUnsent);
            return Ok(());
        }
        if !self.desk.refused.may_send(held.request.route, now) {
            self.desk.reject(&held, Code::Forbidden);
            return Ok(());
        }
        let Some(connection) = self.pool.choose(line) else {
            return Err(held);
        };
        match publish::hand_over(&held, route, connection, cx, now) {
            Handover::Blocked => Err(held),
            Handover::TooLarge => {
                self.desk.reject(&held, Code::TooLarge);
                Ok(())
            }
            Handover::Unconfirmed => {
                self.desk.reject(&held, Code::Forbidden);
                Ok(())
            }
            Handover::Done => {
                let serial = connection.serial();
                connection.asked(held.request.route);
                self.desk.sent(held, serial, now);
                Ok(())
            }
        }
    }

    /// Does what is due: attempts to connect, requests that waited too long, connections that
    /// retire, the backpressure poll.
    fn tick(&mut self, cx: &mut Context<'_>, now: Nanos) {
        self.desk.sweep(now);
        if self.pool.due() <= now {
            self.pool.dial(now);
        }
        if self.held_due <= now {
            self.expire_held(now);
        }
        if self.retire_due <= now {
            self.retire(now);
        }
        if self.backpressure.due() <= now && self.backpressure.tick(now) {
            self.poll_backpressure(cx, now);
        }
        let held = u64::try_from(self.pool.held()).unwrap_or(u64::MAX);
        self.desk.metrics.held.set(held);
    }

    fn poll_backpressure(&mut self, cx: &mut Context<'_>, now: Nanos) {
        if let Some(connection) = self.pool.choose(0) {
            let trace_id = format!("{:016x}{:016x}", self.trace_seed, now.0);
            for (subject, poll) in self.backpressure.polls(&trace_id) {
                connection.poll_status(cx, subject, poll);
            }
        }
    }

    fn expire_held(&mut self, now: Nanos) {
        self.held_due = Nanos::NEVER;
        let fail_fast = (!self.pool.is_up()).then_some(self.settings.fail_fast);
        for line in &mut self.pool.lines {
            let due = line.queue.expire(now, fail_fast, |held, code| {
                self.desk.reject(&held, code);
            });
            self.held_due = self.held_due.min(due);
        }
    }

    fn retire(&mut self, now: Nanos) {
        let desk = &mut self.desk;
        self.pool.retiring.retain(|connection| {
            let serial = connection.serial();
            let is_waited_for =
                connection.has_unconfirmed() || desk.outstanding.has_live(Some(serial), now);
            if !is_waited_for {
                desk.retired(serial);
            }
            is_waited_for
        });
        self.retire_due = if self.pool.retiring.is_empty() {
            Nanos::NEVER
        } else {
            Nanos(now.0.saturating_add(RETIRE_NS))
        };
    }

    fn publish_limits(&mut self) {
        if let Some(bytes) = self.pool.max_payload() {
            for link in self.desk.links() {
                link.set_max_payload(bytes);
            }
        }
    }
}

/// Takes up to `limit` messages from a connection, and what its server says; returns how much that
/// was.
fn drain(
    connection: &mut Connection,
    desk: &mut Desk,
    backpressure: &mut Backpressure,
    words: &mut Vec<(Serial, Word)>,
    cx: &mut Context<'_>,
    now: Nanos,
    limit: usize,
) -> usize {
    let mut done = 0;
    while done < limit {
        let Poll::Ready(Some(arrival)) = connection.poll_arrival(cx) else {
            break;
        };
        done += 1;
        let (address, message) = match arrival {
            Arrival::Inbox(address, message) => (address, message),
            Arrival::Pushed(message) => {
                backpressure.status(&message.payload, now, &desk.metrics);
                continue;
            }
            Arrival::Word(word) => {
                words.push((connection.serial(), word));
                continue;
            }
            Arrival::Nothing => continue,
        };
        match address {
            Some(Address::Reply(token)) => {
                desk.message(token, message, now);
            }
            Some(Address::Slot(slot)) => match connection.asked_on(slot) {
                Some(token) if desk.message(token, message, now) => connection.answered(slot),
                // The subject goes on waiting for the answer.
                Some(_) => {}
                None => desk.unmatched(Unmatched::Duplicate),
            },
            Some(Address::Marker(number)) if connection.see_marker(number) => {}
            Some(Address::Probe(number)) if connection.probed(number, now) => {}
            Some(Address::Status) if !message.is_status() => {
                backpressure.status(&message.payload, now, &desk.metrics);
            }
            Some(Address::Status) => {}
            Some(Address::Marker(_) | Address::Probe(_)) | None => {
                desk.unmatched(Unmatched::Forged);
            }
        }
    }
    done
}
