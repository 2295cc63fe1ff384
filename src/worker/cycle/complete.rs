//! What a cycle gives back: answers, deadlines that have passed, and what clients are shown of it.

use ipc_ringbuf::code::Code;
use ipc_ringbuf::entry::Cqe;

use super::super::in_flight::Entry;
use super::super::session::Dirtied;
use super::Worker;
use crate::bridge::{Reply, Upstream};
use crate::clock::{Clock, Nanos};

/// Most answers taken in one cycle, so that submissions and deadlines get their turn.
const REPLIES_PER_CYCLE: usize = 1024;
/// How many answers ahead the lines are asked for that one is written to.
const AHEAD: usize = 4;
/// Nanoseconds by which a deadline is noticed too late that say the worker itself stood still.
const STALL_NS: u64 = 100_000_000;

impl<U: Upstream, C: Clock> Worker<U, C> {
    pub(super) fn take_replies(&mut self, now: Nanos) -> usize {
        if !self.upstream.has_replies() {
            return 0;
        }
        let mut answers = core::mem::take(&mut self.answers);
        let mut done = 0;
        while done < REPLIES_PER_CYCLE && self.upstream.has_replies() {
            self.upstream.receive_batch(&mut answers);
            done += answers.len();
            let mut ahead = answers.iter().skip(AHEAD);
            for reply in &answers {
                if let Some(next) = ahead.next() {
                    self.look_ahead(next);
                }
                match self.in_flight.remove(reply.token) {
                    Some(entry) => {
                        self.timers.disarm(reply.token.place());
                        self.complete(&entry, reply, now);
                    }
                    None => self.metrics.late_replies.increment(),
                }
            }
            // Together: to give a buffer back is an atomic operation, which waits until every store
            // before it is done. Among stores to lines that a client has, that is a miss each time.
            answers.clear();
        }
        self.answers = answers;
        done
    }

    /// Asks for the lines that this answer will be written to.
    #[inline]
    fn look_ahead(&mut self, reply: &Reply) {
        if let Some(entry) = self.in_flight.get(reply.token)
            && let Some(session) = self.sessions.at(entry.seat)
        {
            let bytes = reply.headers.len() + reply.payload.len();
            session.port.claim(entry.block, bytes);
        }
    }

    pub(super) fn expire(&mut self, now: Nanos) -> usize {
        let mut fired = core::mem::take(&mut self.fired);
        self.timers.expire(now, &mut fired);
        let done = fired.len();
        for place in fired.drain(..) {
            self.complete_place(place, Code::Timeout, now);
        }
        self.fired = fired;
        done
    }

    pub(super) fn complete_place(&mut self, place: u32, code: Code, now: Nanos) {
        if let Some(entry) = self.in_flight.remove_place(place) {
            // Only the code is used: the entry has been found by its place.
            let token = crate::bridge::Token::new(self.number, place, 0);
            self.complete(&entry, &Reply::bare(token, code), now);
        }
    }

    /// Gives a request its one completion.
    pub(super) fn complete(&mut self, entry: &Entry, reply: &Reply, now: Nanos) {
        if reply.code == Code::Timeout && now.since(entry.deadline) > STALL_NS {
            // This worker stood still: that nobody answered is not the upstream's fault.
            self.gates.abandoned(entry);
        } else {
            self.gates.left(entry, reply.code, now);
        }
        let session = self
            .sessions
            .at(entry.seat)
            .filter(|s| s.id == entry.session);
        let Some(session) = session else {
            self.metrics.abandoned.increment();
            return;
        };
        session.charges.complete();
        let upstream_ns = now.since(entry.accepted);
        let mut cqe = Cqe {
            ring_wait_ns: entry.ring_wait_ns,
            upstream_ns,
            retry_after_ms: reply.retry_after_ms,
            ..Cqe::bare(entry.user_data, reply.code)
        };
        let bytes = reply.headers.len() as u64 + reply.payload.len() as u64;
        let result = if session.port.fits(bytes) {
            session
                .port
                .complete(entry.block, cqe, &reply.headers, &reply.payload)
        } else {
            cqe.code = Code::BadReply;
            let note = Reply::too_large(reply.token, bytes).headers;
            let note = if session.port.fits(note.len() as u64) {
                &note[..]
            } else {
                &[]
            };
            session.port.complete(entry.block, cqe, note, &[])
        };
        match result {
            Ok(()) => {
                self.metrics.completed(cqe.code);
                self.metrics.completion.record(upstream_ns);
                if self.onlooker.is_there()
                    && let Some(latency) = session.figures.latency()
                {
                    latency.record(entry.ring_wait_ns.saturating_add(upstream_ns));
                }
                if let Some(times) = reply.times {
                    self.metrics.deliver.record(now.since(times.answered));
                }
                if session.completed() == Dirtied::Now {
                    self.dirty.push(entry.seat);
                }
                if let Some(tracer) = &mut self.tracer {
                    let (place, taken) =
                        (reply.token.place(), (entry.accepted, entry.ring_wait_ns));
                    tracer.complete(place, entry.route, taken, reply, cqe.code, now);
                }
            }
            Err(fault) => {
                self.metrics.abandoned.increment();
                self.violation(entry.seat, fault);
            }
        }
    }

    /// Shows what was completed in this cycle and rings each client once.
    pub(super) fn settle(&mut self, now: Nanos) {
        for seat in self.dirty.drain(..) {
            let Some(session) = self.sessions.at(seat) else {
                continue;
            };
            let woken = session.settle();
            if woken != 0 {
                self.metrics.client_wakes.add(woken.into());
            }
            if session.port.looks_full() {
                self.slow.suspect(now);
            }
        }
    }
}
