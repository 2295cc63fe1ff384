//! The sessions that one worker serves: a table of seats.

use std::fmt;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use std::time::Duration;

use ipc_ringbuf::error::PeerMisbehaved;
use ipc_ringbuf::port::{Cursors, Port, Rung, Submission, Watch};
use ipc_ringbuf::sys::{self, Bell};

use super::charges::Charges;
use super::mailbox::{NewSession, Rights};
use super::rings::{Look, Rings};
use crate::clock::Nanos;
use crate::metrics::session::SessionFigures;

/// Completions for which a client is woken before the cycle ends. For fewer it is not: clients with one
/// request each would be woken one by one and take the core from a worker that shares it.
const WORTH_WAKING: u32 = 8;
/// Submissions may wait for room this long before any is rejected for it: neither a burst is an
/// overload, nor a server or Router that the scheduler keeps waiting for some slices.
const PATIENCE: Duration = Duration::from_millis(40);
/// How long rejecting goes on after the last submission that had to wait.
const LINGER: Duration = Duration::from_millis(100);
/// Under overload a request that has more time than this may wait for room for half of the rest.
const HURRIED: Duration = Duration::from_millis(100);
/// What it may wait in any case.
const SHORT_WAIT: Duration = Duration::from_micros(250);

/// One session.
pub struct Session {
    /// Its number.
    pub id: u32,
    /// The gateway's end of its rings.
    pub port: Port,
    /// For each route whether it may be used.
    pub routes: Arc<[bool]>,
    /// The tenant that its requests are bound to.
    pub tenant: Option<Arc<str>>,
    /// What its requests count against its user's limit.
    pub charges: Charges,
    /// What is shown of it.
    pub figures: Arc<SessionFigures>,
    /// Completions, modulo 2^32, that were in `figures` when it was last shown.
    shown: u32,
    /// Whether completions were written since the client was last rung for.
    dirty: bool,
    /// Times that the client had to be woken since then.
    woken: u32,
    /// The submission at the head of the ring, taken out of it, while it waits for room.
    head: Option<Submission>,
    /// Since when submissions have waited for room.
    behind_since: Option<Nanos>,
    /// Until when those that wait too long are rejected.
    sheds_until: Nanos,
    /// Since when the completion ring has been full, and how far the client had come then.
    pub full: Option<(Nanos, u32)>,
    eventfd: OwnedFd,
    rings: Rings,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl Session {
    /// The next submission: the one that was put back, or the next in the ring.
    ///
    /// # Errors
    /// [`PeerMisbehaved`] as [`Port::pop`].
    #[inline]
    pub fn take(&mut self) -> Result<Option<Submission>, PeerMisbehaved> {
        if let Some(head) = self.head.take() {
            return Ok(Some(head));
        }
        let next = self.port.pop()?;
        if next.is_none() {
            self.behind_since = None;
        }
        Ok(next)
    }

    /// Puts a submission back that there is no room for; it is the next again.
    #[inline]
    pub fn put_back(&mut self, submission: Submission) {
        self.head = Some(submission);
    }

    /// Goes by other rights from now on.
    pub fn set_rights(&mut self, rights: Rights) {
        // The head is held and not charged yet.
        let open = self.port.held().saturating_sub(u32::from(self.waits()));
        self.charges.set_limit(rights.in_flight, open);
        self.routes = rights.routes;
        self.tenant = rights.tenant;
    }

    /// Whether the head waits for room among those on their way.
    #[must_use]
    pub const fn waits(&self) -> bool {
        self.head.is_some()
    }

    /// What waits now waits for the upstream to be measured, which says nothing about its load:
    /// patience begins anew.
    pub const fn waits_for_measuring(&mut self, now: Nanos) {
        self.behind_since = Some(now);
    }

    /// Whether a submission that there is no room for, and that has waited so long and has so much
    /// time in all, should be rejected.
    pub fn waits_too_long(&mut self, waited_ns: u64, allowed: Duration, now: Nanos) -> bool {
        let since = *self.behind_since.get_or_insert(now);
        let is_overload = now < self.sheds_until || now >= since.after(PATIENCE);
        if !is_overload {
            return false;
        }
        self.sheds_until = now.after(LINGER);
        let may_wait = (allowed.saturating_sub(HURRIED) / 2).max(SHORT_WAIT);
        Duration::from_nanos(waited_ns) >= may_wait
    }

    /// Whether its submissions wait for room for more than a moment.
    #[must_use]
    pub fn is_overloaded(&self, now: Nanos) -> bool {
        now < self.sheds_until
    }

    /// Whether a look at this session would find nothing: nothing submitted, nothing on its way, and
    /// nothing to be settled with the clock.
    ///
    /// # Errors
    /// [`PeerMisbehaved`] as [`Port::has_submissions`].
    #[inline]
    pub fn is_quiet(&mut self, now: Nanos) -> Result<bool, PeerMisbehaved> {
        let is_settled = self.port.held() == 0
            && self.head.is_none()
            && self.behind_since.is_none()
            && now >= self.sheds_until
            && self.rings.is_quiet();
        Ok(is_settled && !self.port.has_submissions()?)
    }

    /// Marks that a completion was written. If enough of them wait they are shown at once, and a client
    /// that sleeps is woken for a batch: it comes to itself while the rest is completed.
    #[inline]
    pub fn completed(&mut self) -> Dirtied {
        if self.port.publish_due() {
            let is_batch = self.port.staged() >= WORTH_WAKING;
            self.port.publish();
            if is_batch && self.port.ring() == Rung::Woken {
                self.woken += 1;
            }
        }
        if core::mem::replace(&mut self.dirty, true) {
            Dirtied::Before
        } else {
            Dirtied::Now
        }
    }

    /// Brings what is shown of it up to date.
    pub fn show(&mut self) {
        let completed = self.port.completed();
        let more = completed.wrapping_sub(core::mem::replace(&mut self.shown, completed));
        self.figures.completed.add(more.into());
        // The head was taken out of the ring and waits to be put on its way.
        let head = u32::from(self.waits());
        let held = self.port.held().saturating_sub(head);
        self.figures.in_flight.set(held.into());
        // A corrupt ring is for the cycle to end.
        if let Ok(waiting) = self.port.waiting() {
            self.figures.queued.set((waiting + head).into());
        }
    }

    /// Shows all completions and says where the rings stand, for another gateway to go on.
    pub fn suspend(&mut self) -> Cursors {
        let cursors = self.port.suspend(self.head.as_ref());
        let _ = self.port.ring();
        cursors
    }

    /// Shows all completions and wakes the client if it sleeps. Returns how often it had to be woken
    /// since this was called last.
    #[inline]
    pub fn settle(&mut self) -> u32 {
        self.dirty = false;
        self.charges.settle();
        self.port.publish();
        let last = u32::from(self.port.ring() == Rung::Woken);
        core::mem::take(&mut self.woken) + last
    }
}

/// Whether a session was marked before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dirtied {
    /// It was.
    Before,
    /// This was the first completion since the client was rung for.
    Now,
}

/// What is looked at of a seat in each cycle: little, and side by side, because most sessions have
/// nothing to do most of the time.
#[derive(Debug, Default)]
struct Spot {
    /// None while the seat is free.
    watch: Option<Watch>,
    /// Whether the session is to be looked at whatever the watch says: it has something on its way or
    /// something to be settled with the clock, or its client has rung.
    is_awake: bool,
}

impl Spot {
    #[inline]
    fn needs_look(&self) -> bool {
        self.is_awake || self.watch.as_ref().is_some_and(|watch| !watch.is_still())
    }
}

/// The table. A seat is used again after its session has left.
#[derive(Debug, Default)]
pub struct Sessions {
    seats: Vec<Option<Session>>,
    /// For each seat.
    spots: Vec<Spot>,
    taken: usize,
    /// Sessions that are not listened to.
    deaf: usize,
}

impl Sessions {
    /// Seats a session and lets its client ring the worker.
    ///
    /// # Errors
    /// The operating system's when the eventfd cannot be watched; the session is then dropped.
    pub fn add(&mut self, new: NewSession, bell: &Bell) -> std::io::Result<()> {
        let free = self.seats.iter().position(Option::is_none);
        let at = free.unwrap_or(self.seats.len());
        bell.watch(new.eventfd.as_fd(), at as u64)?;
        let NewSession {
            id,
            port,
            carried,
            eventfd,
            routes,
            tenant,
            charges,
            figures,
        } = new;
        let session = Session {
            id,
            shown: port.completed(),
            port,
            routes,
            tenant,
            charges,
            figures,
            dirty: false,
            woken: 0,
            head: carried,
            behind_since: None,
            sheds_until: Nanos(0),
            full: None,
            eventfd,
            rings: Rings::default(),
        };
        self.taken += 1;
        let spot = Spot {
            watch: Some(session.port.watch()),
            is_awake: true,
        };
        match (self.seats.get_mut(at), self.spots.get_mut(at)) {
            (Some(seat), Some(old)) => (*seat, *old) = (Some(session), spot),
            _ => {
                self.seats.push(Some(session));
                self.spots.push(spot);
            }
        }
        Ok(())
    }

    /// Unseats a session.
    pub fn remove(&mut self, seat: u32, bell: &Bell) -> Option<Session> {
        let session = self.seats.get_mut(seat as usize)?.take()?;
        if let Some(spot) = self.spots.get_mut(seat as usize) {
            *spot = Spot::default();
        }
        if session.rings.is_deaf() {
            self.deaf -= 1;
        } else {
            bell.forget(session.eventfd.as_fd());
        }
        self.taken -= 1;
        Some(session)
    }

    /// Notes which sessions have rung since the bell was last asked.
    pub fn note(&mut self, rung: &sys::Rings) {
        for key in rung.keys() {
            let seat = usize::try_from(key).unwrap_or(usize::MAX);
            if let Some(Some(session)) = self.seats.get_mut(seat) {
                session.rings.ring();
                if let Some(spot) = self.spots.get_mut(seat) {
                    spot.is_awake = true;
                }
            }
        }
    }

    /// Says that a session was looked at and how much was taken; listens to it no longer, or
    /// again, if that follows from it. Returns whether it had rung in vain.
    #[inline]
    pub fn looked(&mut self, seat: u32, taken: usize, bell: &Bell, now: Nanos) -> Look {
        let Some(session) = self.at(seat) else {
            return Look::Fine;
        };
        let look = session.rings.looked(taken, now);
        match look {
            Look::Fine | Look::InVain => {}
            Look::Exhausted => {
                bell.forget(session.eventfd.as_fd());
                self.deaf += 1;
            }
            Look::Forgiven => {
                // Cannot fail but for want of memory; then the session is looked at all the same,
                // whenever the worker is awake.
                bell.watch(session.eventfd.as_fd(), u64::from(seat)).ok();
                self.deaf -= 1;
            }
        }
        look
    }

    /// Whether there are sessions that must be looked at by the clock.
    #[must_use]
    pub const fn has_deaf(&self) -> bool {
        self.deaf > 0
    }

    /// The seat of a session.
    #[must_use]
    pub fn seat_of(&self, id: u32) -> Option<u32> {
        let at = self
            .seats
            .iter()
            .position(|s| s.as_ref().is_some_and(|s| s.id == id))?;
        u32::try_from(at).ok()
    }

    /// The first of these seats whose session may have something to do.
    #[inline]
    #[must_use]
    pub fn next_awake(&self, seats: core::ops::Range<usize>) -> Option<usize> {
        let from = seats.start;
        let found = self.spots.get(seats)?.iter().position(Spot::needs_look)?;
        Some(from + found)
    }

    /// The session at a seat, which is looked at from now on until it [rests](Self::rest).
    #[inline]
    pub fn wake(&mut self, seat: u32) -> Option<&mut Session> {
        let session = self.seats.get_mut(seat as usize)?.as_mut()?;
        self.spots.get_mut(seat as usize)?.is_awake = true;
        Some(session)
    }

    /// Looks at a session that [is quiet](Session::is_quiet) no more until something is submitted or
    /// its client rings.
    #[inline]
    pub fn rest(&mut self, seat: u32) {
        let at = seat as usize;
        if let (Some(Some(session)), Some(spot)) = (self.seats.get(at), self.spots.get_mut(at))
            && let Some(watch) = &mut spot.watch
        {
            watch.renew(&session.port);
            spot.is_awake = false;
        }
    }

    /// The session at a seat.
    #[inline]
    pub fn at(&mut self, seat: u32) -> Option<&mut Session> {
        self.seats.get_mut(seat as usize)?.as_mut()
    }

    /// Number of seats, free ones included.
    #[must_use]
    pub const fn seats(&self) -> usize {
        self.seats.len()
    }

    /// Number of sessions.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.taken
    }

    /// Whether there is no session.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.taken == 0
    }
}
