//! What a cycle takes in: from a session's ring, past every check, to the upstream.

use core::time::Duration;

use bytes::BytesMut;
use ipc_ringbuf::code::Code;
use ipc_ringbuf::entry::{Cqe, Sqe};
use ipc_ringbuf::error::PeerMisbehaved;
use ipc_ringbuf::port::Submission;

use super::super::charges::OverLimit;
use super::super::in_flight::Entry;
use super::super::rings::Look;
use super::super::session::{Dirtied, Session};
use super::super::validate::{Verdict, allowed, validate, validate_headers};
use super::{Phase, Worker};
use crate::bridge::{Request, Upstream};
use crate::clock::{Clock, Nanos};
use crate::metrics::worker::WorkerMetrics;
use crate::router_contract::has_idempotency_key;

/// How long `overload_active` is shown after the last sign of it.
const OVERLOAD_SHOWN: Duration = Duration::from_secs(1);
/// Bytes of the buffer that the bodies of a batch share.
const BATCH_BYTES: usize = 64 * 1024;
/// Bytes of bodies after which a session's turn is over: others have theirs.
const TURN_BYTES: usize = 1024 * 1024;

impl<U: Upstream, C: Clock> Worker<U, C> {
    pub(super) fn poll_sessions(&mut self, now: Nanos) -> usize {
        let seats = self.sessions.seats();
        if seats == 0 || self.is_paused() {
            return 0;
        }
        let may_rest = self.sessions.rouse_some(now);
        let mut done = 0;
        for turn in [self.first..seats, 0..self.first] {
            let (mut at, end) = (turn.start, turn.end);
            while let Some(awake) = self.sessions.next_awake(at..end) {
                at = awake + 1;
                let Ok(seat) = u32::try_from(awake) else {
                    break;
                };
                let Some(session) = self.sessions.at(seat) else {
                    continue;
                };
                let before = done;
                let polled = match session.is_quiet(now) {
                    Ok(true) => {
                        if may_rest {
                            self.sessions.rest(seat);
                        }
                        continue;
                    }
                    Ok(false) => self.poll_session(seat, now, &mut done),
                    Err(fault) => Err(fault),
                };
                match polled {
                    Ok(more) => self.looked(seat, done - before + more, now),
                    Err(fault) => self.violation(seat, fault),
                }
            }
        }
        self.active = core::mem::take(&mut self.counted);
        let is_overload = u64::from(now < self.overloaded_until);
        if self.metrics.overload_active.get() != is_overload {
            self.metrics.overload_active.set(is_overload);
        }
        // Also for a session that was ended in its turn: what it had handed over is on its way.
        if done > 0 {
            // Whoever was last in this cycle is not last when something is taken again. Cycles in
            // which there was no room for anybody do not count, or room that comes in step with
            // them would always go to the same seat.
            self.first = (self.first + 1) % seats;
            self.upstream.flush();
        }
        done
    }

    /// How many requests of a session that has so many on their way there is room for. The last
    /// eighth is for those that have less than their share.
    pub(super) fn room(&self, held: u32) -> usize {
        let (outbound, slab) = self.capacity;
        let room = self.upstream.room();
        let places = self.in_flight.room() as usize;
        let (held, active) = (held as usize, self.active as usize);
        if active < 2 {
            return room.min(places);
        }
        let left = |room: usize, capacity: usize| {
            let reserve = if held >= capacity / active {
                capacity / 8
            } else {
                0
            };
            room.saturating_sub(reserve)
        };
        left(room, outbound).min(left(places, slab as usize))
    }

    /// Takes what one session has submitted, and adds to `done` for each. Returns how many have come since
    /// the last look of those that there is no room for: what rang for them has not rung in vain.
    pub(super) fn poll_session(
        &mut self,
        seat: u32,
        now: Nanos,
        done: &mut usize,
    ) -> Result<usize, PeerMisbehaved> {
        let Some(held) = self.sessions.at(seat).map(|session| session.port.held()) else {
            return Ok(0);
        };
        let burst = self.room(held).min(self.burst as usize);
        let Some(session) = self.sessions.at(seat) else {
            return Ok(0);
        };
        let (mut taken, mut copied) = (0, 0);
        while taken < burst && copied < TURN_BYTES {
            let Some(submission) = session.take()? else {
                break;
            };
            let accepted = match submission.sqe {
                Ok(_) if self.phase != Phase::Serving => Err(Code::Draining.into()),
                Err(fault) => Err(fault.code().into()),
                Ok(sqe) => {
                    // The submission itself is among those held.
                    let others = session.port.held().saturating_sub(1);
                    if self.gates.has_room(sqe.route, others, self.active, now) {
                        Ok(sqe)
                    } else {
                        let route = self.routes.get(usize::from(sqe.route));
                        let time = route.map_or(Duration::ZERO, |route| allowed(&sqe, route));
                        let waited = ring_wait(&sqe, now);
                        if self.gates.is_measuring(sqe.route, now) {
                            session.waits_for_measuring(now);
                        }
                        if Duration::from_nanos(waited) >= time {
                            Err(Code::ExpiredUnsent.into())
                        } else if session.waits_too_long(waited, time, now) {
                            Err(self.gates.shed(sqe.route))
                        } else {
                            session.put_back(submission);
                            break;
                        }
                    }
                }
            };
            taken += 1;
            *done += 1;
            self.metrics.accepted.increment();
            let outcome = accepted.and_then(|sqe| {
                let max_payload = self.upstream.max_payload();
                let time = validate(&sqe, session, &self.routes, max_payload)?;
                let bytes = (sqe.header_len + sqe.payload_len) as usize;
                let start = self.batch.len();
                if self.batch.capacity() - start < bytes {
                    self.batch.reserve(BATCH_BYTES);
                }
                copied += bytes;
                session
                    .port
                    .copy_body(submission.block, &sqe, &mut self.batch);
                validate_headers(&sqe, &self.batch, session)?;
                // The time allowed runs from submission: what a client claims of that can only
                // shorten it.
                let waited = ring_wait(&sqe, now);
                let deadline = Nanos(now.0.saturating_sub(waited)).after(time);
                if deadline <= now {
                    return Err(Code::ExpiredUnsent.into());
                }
                let charged = session.charges.charge();
                charged.map_err(|OverLimit| Verdict::from(Code::Quota))?;
                match self.gates.admit(sqe.route, now) {
                    Ok(pass) => Ok((sqe, waited, deadline, pass)),
                    Err(verdict) => {
                        session.charges.complete();
                        Err(verdict)
                    }
                }
            });
            match outcome {
                Ok((sqe, ring_wait_ns, deadline, pass)) => {
                    let body = self.batch.split().freeze();
                    let entry = Entry {
                        seat,
                        session: session.id,
                        block: submission.block,
                        route: sqe.route,
                        pass,
                        user_data: sqe.user_data,
                        accepted: now,
                        ring_wait_ns,
                        deadline,
                    };
                    self.metrics.ring_wait.record(entry.ring_wait_ns);
                    let Some(token) = self.in_flight.insert(entry) else {
                        break;
                    };
                    self.timers.arm(token.place(), entry.deadline);
                    let (body, header_len) = match &mut self.tracer {
                        None => (body, sqe.header_len),
                        Some(tracer) => {
                            let most = self.upstream.max_payload();
                            tracer.begin(token.place(), body, sqe.header_len, most)
                        }
                    };
                    let headers = body.get(..header_len as usize).unwrap_or_default();
                    let request = Request {
                        token,
                        route: sqe.route,
                        session: session.id,
                        // Without a key its receiver could not tell that it has it already.
                        idempotent: sqe.idempotent && has_idempotency_key(headers),
                        accepted: now,
                        deadline: entry.deadline,
                        body,
                        header_len,
                        tenant: session.tenant.clone(),
                    };
                    // Room was reserved above, and this end is the only one that sends.
                    let sent = self.upstream.send(request);
                    debug_assert!(sent.is_ok(), "room was reserved");
                }
                Err(verdict) => {
                    if self.batch.capacity() > BATCH_BYTES {
                        // A small body would keep all of it.
                        self.batch = BytesMut::new();
                    }
                    self.batch.clear();
                    let waited = submission.sqe.map_or(0, |sqe| ring_wait(&sqe, now));
                    reject(session, &submission, verdict, waited, &self.metrics)?;
                    if session.completed() == Dirtied::Now {
                        self.dirty.push(seat);
                    }
                }
            }
        }
        if session.port.held() > 0 {
            self.counted += 1;
        }
        if session.is_overloaded(now) {
            self.overloaded_until = now.after(OVERLOAD_SHOWN);
        }
        if burst > 0 && !session.waits() {
            session.found_room();
            return Ok(0);
        }
        session.newly_waiting()
    }

    /// Settles what a session's rings have cost.
    #[inline]
    pub(super) fn looked(&mut self, seat: u32, taken: usize, now: Nanos) {
        match self.sessions.looked(seat, taken, &self.bell, now) {
            Look::Fine | Look::Forgiven => {}
            Look::InVain => self.metrics.rings_in_vain.increment(),
            Look::Exhausted => {
                self.metrics.rings_in_vain.increment();
                self.metrics.sessions_deafened.increment();
            }
        }
    }
}

/// How long a submission waited in the ring, if what the client claims is plausible.
fn ring_wait(sqe: &Sqe, now: Nanos) -> u64 {
    if sqe.submitted_ns == 0 {
        0
    } else {
        now.since(Nanos(sqe.submitted_ns))
    }
}

/// Completes a submission that goes no further.
fn reject(
    session: &mut Session,
    submission: &Submission,
    verdict: Verdict,
    ring_wait_ns: u64,
    metrics: &WorkerMetrics,
) -> Result<(), PeerMisbehaved> {
    let cqe = Cqe {
        ring_wait_ns,
        retry_after_ms: verdict.retry_after_ms,
        ..Cqe::bare(submission.user_data, verdict.code)
    };
    let completed = session.port.complete(submission.block, cqe, &[], &[]);
    match completed {
        Ok(()) => metrics.completed(verdict.code),
        Err(_) => metrics.abandoned.increment(),
    }
    completed
}
