//! The duty cycle of a worker. Sans-IO: it is stepped from outside, told the time, and touches
//! nothing but its sessions' rings, its mailbox and its upstream.
//!
//! `accept` is what it takes in, `complete` what it gives back, `show` what it lets others see.
//!
//! One cycle: mail, answers, submissions of every session in turn, answers that have come meanwhile,
//! deadlines, then everything that was completed is shown and its clients are rung for. Room is
//! reserved before a submission is taken: without room in the upstream's queue or the slab nothing is
//! popped, the ring fills, and the client sees `Full`. So an accepted request always has a place until
//! its one completion.

use std::collections::VecDeque;
use std::fmt;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use bytes::BytesMut;
use ipc_ringbuf::code::Code;
use ipc_ringbuf::doorbell;
use ipc_ringbuf::error::{EndReason, PeerMisbehaved};
use ipc_ringbuf::sys::{Bell, BellPage};

use super::gate::Gates;
use super::in_flight::InFlight;
use super::mailbox::{Mail, Mailbox, NewSession, Notice, Reload};
use super::onlooker::Onlooker;
use super::parts::Parts;
use super::rings::DEAF_LOOK;
use super::sessions::Sessions;
use super::slow::{Pace, SlowClients};
use super::timers::Timers;
use crate::bridge::{Duty, Reply, Upstream};
use crate::clock::{Clock, Nanos};
use crate::metrics::worker::WorkerMetrics;
use crate::route::Route;
use crate::trace::Tracer;

mod accept;
mod complete;
mod show;

/// How soon to look for room again while submissions wait for it.
const STARVED_LOOK: Duration = Duration::from_millis(1);
/// How far a worker is on its way to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Serving,
    /// Accepts nothing; finishes what is in flight.
    Draining,
    /// Has said that nothing is in flight.
    Drained,
    /// Takes nothing; finishes what is in flight.
    Pausing,
    /// Has said that nothing is in flight, and takes nothing.
    Paused,
    /// Has nothing left to do.
    Finished,
}

/// One worker.
pub struct Worker<U, C> {
    number: u8,
    upstream: U,
    clock: C,
    routes: Arc<[Route]>,
    gates: Gates,
    metrics: Arc<WorkerMetrics>,
    mailbox: Mailbox,
    bell: Bell,
    /// Rings `bell`; given to the upstream before sleeping.
    waker: Waker,
    page: Arc<BellPage>,
    burst: u32,
    sessions: Sessions,
    in_flight: InFlight,
    timers: Timers,
    phase: Phase,
    /// Seat that is served first in this cycle.
    first: usize,
    /// Seats with completions that their clients were not rung for yet.
    dirty: Vec<u32>,
    /// Timers that fired in this cycle.
    fired: Vec<u32>,
    /// What answers are taken in; empty between cycles.
    answers: VecDeque<Reply>,
    /// What bodies are copied into.
    batch: BytesMut,
    /// Notices for which the queue had no room.
    untold: VecDeque<Notice>,
    /// Sessions that had requests on their way in the cycle before, and in this one so far.
    active: u32,
    counted: u32,
    /// Requests that the upstream's queue and the slab hold.
    capacity: (usize, u32),
    /// Until when `overload_active` is shown.
    overloaded_until: Nanos,
    slow: SlowClients,
    onlooker: Onlooker,
    /// What traces; none unless there is somebody to send traces to.
    tracer: Option<Box<Tracer>>,
    /// When to look again although nobody rings: submissions or notices wait for room, and room
    /// makes no sound; or a session is not listened to.
    look_again: Nanos,
}

impl<U, C> fmt::Debug for Worker<U, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker")
            .field("number", &self.number)
            .field("phase", &self.phase)
            .finish_non_exhaustive()
    }
}

impl<U: Upstream, C: Clock> Worker<U, C> {
    /// A worker without sessions.
    ///
    /// # Errors
    /// The operating system's, when the bell cannot be shared.
    pub fn new(parts: Parts<U, C>) -> std::io::Result<Self> {
        let now = parts.clock.now();
        let gates = Gates::new(
            &parts.routes,
            parts.admissions,
            Arc::clone(&parts.metrics),
            parts.number,
            (
                parts.max_queue_delay,
                parts.max_in_flight,
                parts.first_generation,
            ),
            now,
        );
        Ok(Self {
            capacity: (parts.upstream.room(), parts.max_in_flight),
            waker: Waker::from(Arc::new(parts.bell.ringer()?)),
            number: parts.number,
            upstream: parts.upstream,
            clock: parts.clock,
            routes: parts.routes,
            gates,
            metrics: parts.metrics,
            mailbox: parts.mailbox,
            bell: parts.bell,
            page: parts.page,
            burst: parts.burst.max(1),
            sessions: Sessions::default(),
            in_flight: InFlight::new(parts.number, parts.max_in_flight, parts.first_generation),
            timers: Timers::new(now),
            phase: Phase::Serving,
            first: 0,
            dirty: Vec::new(),
            fired: Vec::new(),
            answers: VecDeque::new(),
            batch: BytesMut::new(),
            untold: VecDeque::new(),
            look_again: Nanos::NEVER,
            active: 0,
            counted: 0,
            overloaded_until: Nanos(0),
            slow: SlowClients::new(parts.slow_client_timeout),
            onlooker: Onlooker::default(),
            tracer: None,
        })
    }

    /// The same with a tracer.
    #[must_use]
    pub fn traced(mut self, tracer: Option<Tracer>) -> Self {
        self.tracer = tracer.map(Box::new);
        self
    }

    /// One cycle. Returns how much was done: 0 when there was nothing to do.
    pub fn do_work(&mut self) -> usize {
        let now = self.clock.now();
        let mut done = self.read_mail(now);
        done += self.take_replies(now);
        done += self.poll_sessions(now);
        if self.upstream.has_replies() {
            // Whoever answers at once need not wait for the next cycle. How long it took is learnt from,
            // so it must not be taken from a clock that was read before it was asked.
            done += self.take_replies(self.clock.now());
        }
        done += self.expire(now);
        self.settle(now);
        self.end_slow_clients(now);
        self.finish_drain();
        self.metrics.cycles.increment();
        self.metrics.in_flight.set(u64::from(self.in_flight.len()));
        self.metrics.timers.set(self.timers.armed() as u64);
        if self.onlooker.is_there() {
            self.metrics.busy_ns.add(self.onlooker.cycle(done, now));
        }
        done
    }

    /// Requests in flight.
    #[must_use]
    pub const fn in_flight(&self) -> u32 {
        self.in_flight.len()
    }

    /// The next deadline of a request in flight, to a tick; never without one.
    #[must_use]
    pub fn next_deadline(&self) -> Nanos {
        self.timers.next_due()
    }

    /// Sleeps until rung or until the moment something is due. Call after
    /// [`prepare_to_sleep`](Duty::prepare_to_sleep) has said `true`, and [`awake`](Duty::awake)
    /// afterwards.
    pub fn sleep(&mut self)
    where
        U: Send,
        C: Send,
    {
        // An upper bound, so that a worker whose clock was stopped looks around now and then.
        let most = Duration::from_secs(1);
        let due = self.next_due().until(self.clock.now());
        self.sessions.note(&self.bell.wait(due.min(most)));
    }

    fn read_mail(&mut self, now: Nanos) -> usize {
        let mut done = 0;
        while let Some(notice) = self.untold.pop_front() {
            if let Err(notice) = self.mailbox.tell(notice) {
                self.untold.push_front(notice);
                break;
            }
        }
        while let Some(mail) = self.mailbox.take() {
            done += 1;
            match mail {
                Mail::Attach(new) => self.attach(*new, now),
                Mail::Reload(new) => self.reload(*new, now),
                Mail::Show(look) => self.show(look, now),
                Mail::Detach { session, reason } => {
                    if let Some(seat) = self.sessions.seat_of(session) {
                        self.end_session(seat, reason, None);
                    }
                }
                Mail::Drain if self.phase == Phase::Serving => self.phase = Phase::Draining,
                Mail::Pause if self.phase == Phase::Serving => self.phase = Phase::Pausing,
                Mail::Drain | Mail::Pause => {}
                Mail::HandOver => self.hand_over(now),
                Mail::Stop => self.stop(now),
            }
        }
        done
    }

    fn attach(&mut self, new: NewSession, now: Nanos) {
        let session = new.id;
        // One that another gateway has left may be of a client that takes nothing, and nothing more
        // completes for it.
        if new.port.looks_full() {
            self.slow.suspect(now);
        }
        if self.sessions.add(new, &self.bell).is_err() {
            self.tell(Notice::Ended {
                session,
                reason: EndReason::Overloaded,
                fault: None,
            });
        }
        self.metrics.sessions.set(self.sessions.len() as u64);
    }

    /// What has been accepted goes on; everything after goes by these routes and rights.
    #[cold]
    fn reload(&mut self, mut new: Reload, now: Nanos) {
        self.gates.renew(&new.routes, now);
        self.routes = new.routes;
        for seat in 0..self.sessions.seats() {
            let Ok(seat) = u32::try_from(seat) else { break };
            if let Some(session) = self.sessions.at(seat)
                && let Some(rights) = new.rights.remove(&session.id)
            {
                session.set_rights(rights);
            }
        }
        self.tell(Notice::Reloaded {
            worker: self.number,
        });
    }

    /// Ends the sessions of clients that have left their full completion rings alone for too long.
    fn end_slow_clients(&mut self, now: Nanos) {
        if !self.slow.is_due(now) {
            return;
        }
        let mut any = false;
        for seat in 0..self.sessions.seats() {
            let Ok(seat) = u32::try_from(seat) else { break };
            let Some(session) = self.sessions.at(seat) else {
                continue;
            };
            match self.slow.look(session, now) {
                Ok(Pace::Fine) => {}
                Ok(Pace::Slow) => any = true,
                Ok(Pace::Stopped) => self.end_session(seat, EndReason::SlowClient, None),
                Err(fault) => self.violation(seat, fault),
            }
        }
        self.metrics.cq_full_ns.set(self.slow.full_ns());
        self.slow.looked(any, now);
    }

    #[cold]
    fn violation(&mut self, seat: u32, fault: PeerMisbehaved) {
        self.metrics.violated(fault);
        self.end_session(seat, EndReason::RingCorrupt, Some(fault));
    }

    #[cold]
    fn end_session(&mut self, seat: u32, reason: EndReason, fault: Option<PeerMisbehaved>) {
        let Some(session) = self.sessions.remove(seat, &self.bell) else {
            return;
        };
        if session.port.held() > 0 {
            let places: Vec<u32> = self.in_flight.of_session(session.id).collect();
            for place in places {
                self.timers.disarm(place);
                if let Some(entry) = self.in_flight.remove_place(place) {
                    self.gates.abandoned(&entry);
                }
                self.metrics.abandoned.increment();
            }
        }
        session.port.close(reason);
        let id = session.id;
        drop(session);
        self.metrics.sessions.set(self.sessions.len() as u64);
        self.tell(Notice::Ended {
            session: id,
            reason,
            fault,
        });
    }

    /// Completes what is in flight and lets go of every session.
    #[cold]
    fn hand_over(&mut self, now: Nanos) {
        self.complete_all(now);
        for seat in 0..self.sessions.seats() {
            let Ok(seat) = u32::try_from(seat) else { break };
            let Some(mut session) = self.sessions.remove(seat, &self.bell) else {
                continue;
            };
            self.tell(Notice::HandedOver {
                session: session.id,
                cursors: session.suspend(),
            });
        }
        self.metrics.sessions.set(0);
        self.phase = Phase::Finished;
        // For good: whoever comes next cannot write this page, and clients that always ring need
        // not know of another.
        doorbell::arm(self.page.word(), doorbell::ASLEEP);
    }

    /// Completes what is in flight as unknown.
    fn complete_all(&mut self, now: Nanos) {
        let places: Vec<u32> = self.in_flight.places().collect();
        for place in places {
            self.timers.disarm(place);
            self.complete_place(place, Code::GatewayRestarted, now);
        }
        self.settle(now);
    }

    #[cold]
    fn stop(&mut self, now: Nanos) {
        // What came since the last look was never sent, and can be told so.
        self.phase = Phase::Draining;
        self.sessions.rouse_all();
        self.poll_sessions(now);
        self.complete_all(now);
        for seat in 0..self.sessions.seats() {
            let Ok(seat) = u32::try_from(seat) else { break };
            self.end_session(seat, EndReason::Draining, None);
        }
        self.phase = Phase::Finished;
    }

    fn finish_drain(&mut self) {
        let next = match self.phase {
            Phase::Draining => Phase::Drained,
            Phase::Pausing => Phase::Paused,
            _ => return,
        };
        if self.in_flight.is_empty() {
            self.phase = next;
            self.tell(Notice::Drained {
                worker: self.number,
            });
        }
    }

    fn tell(&mut self, notice: Notice) {
        if let Err(notice) = self.mailbox.tell(notice) {
            self.untold.push_back(notice);
        }
    }

    /// Whether submissions are left where they are.
    const fn is_paused(&self) -> bool {
        matches!(self.phase, Phase::Pausing | Phase::Paused | Phase::Finished)
    }

    /// Whether there is work, without doing any.
    fn has_work(&mut self) -> bool {
        if self.mailbox.has_mail() || self.upstream.has_replies() {
            return true;
        }
        let (mut takes, mut waits) = (false, false);
        let seats = if self.is_paused() {
            0
        } else {
            self.sessions.rouse_all();
            self.sessions.seats()
        };
        let mut at = 0;
        while let Some(awake) = self.sessions.next_awake(at..seats) {
            at = awake + 1;
            let Ok(seat) = u32::try_from(awake) else {
                break;
            };
            let Some(session) = self.sessions.at(seat) else {
                continue;
            };
            let held = session.port.held();
            match session.port.has_submissions() {
                // One whose head waits for room needs an answer first, not a look at its ring.
                _ if session.waits() => waits = true,
                Ok(false) => {}
                // What the cycle would not take is no work: it needs room, which makes no sound. Nor
                // would it look into a ring that is corrupt; with room it ends that session.
                Ok(true) | Err(_) if self.room(held) == 0 => waits = true,
                Ok(true) | Err(_) => takes = true,
            }
        }
        self.look_again = if !takes && waits || !self.untold.is_empty() {
            self.clock.now().after(STARVED_LOOK)
        } else if self.sessions.has_deaf() {
            self.clock.now().after(DEAF_LOOK)
        } else {
            Nanos::NEVER
        };
        takes
    }
}

impl<U: Upstream + Send, C: Clock + Send> Duty for Worker<U, C> {
    fn do_work(&mut self) -> usize {
        Self::do_work(self)
    }

    fn prepare_to_sleep(&mut self) -> bool {
        // The clients' bell, then the upstream's; then one more look.
        doorbell::arm(self.page.word(), doorbell::ASLEEP);
        self.upstream.arm(&self.waker);
        if self.has_work() {
            self.awake();
            return false;
        }
        self.metrics.sleeps.increment();
        self.metrics.asleep.set(1);
        true
    }

    fn awake(&mut self) {
        if self.phase != Phase::Finished {
            doorbell::disarm(self.page.word());
        }
        self.upstream.disarm();
        self.metrics.asleep.set(0);
        // Take the rings, so that the bell's descriptor is not readable for old ones.
        self.sessions.note(&self.bell.wait(Duration::ZERO));
    }

    fn bell(&self) -> BorrowedFd<'_> {
        self.bell.fd()
    }

    fn next_due(&self) -> Nanos {
        // While it is paused nothing is taken, and nothing is looked at.
        let shown = if self.is_paused() || self.metrics.overload_active.get() == 0 {
            Nanos::NEVER
        } else {
            self.overloaded_until
        };
        self.timers
            .next_due()
            .min(self.look_again)
            .min(self.slow.due())
            .min(shown)
    }

    fn finished(&self) -> bool {
        self.phase == Phase::Finished && self.untold.is_empty()
    }
}
