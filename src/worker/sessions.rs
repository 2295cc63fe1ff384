//! The sessions that one worker serves: a table of seats.

use core::ops::Range;
use std::os::fd::AsFd;

use ipc_ringbuf::port::Watch;
use ipc_ringbuf::sys::{self, Bell};

use super::awake::Awake;
use super::mailbox::NewSession;
use super::rings::Look;
use super::session::Session;
use crate::clock::Nanos;

/// Sessions at rest that a cycle looks at: all of them, unless there are more. Each look costs some ten
/// instructions and, if its client lives on another core, a line of cache.
const LOOKED_AT: usize = 128;

/// The table. A seat is used again after its session has left.
#[derive(Debug, Default)]
pub struct Sessions {
    seats: Vec<Option<Session>>,
    /// For each seat that is taken: all that is looked at of a session at rest, side by side, because
    /// most sessions have nothing to do most of the time.
    watches: Vec<Option<Watch>>,
    /// Seats that are looked at whatever the watch says: something was submitted, is on its way or is
    /// to be settled with the clock, or the client has rung.
    awake: Awake,
    /// The seat at which the next look at those at rest begins.
    next_look: usize,
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
        let session = Session::from(new);
        self.taken += 1;
        self.awake.insert(at);
        let watch = Some(session.port.watch());
        match (self.seats.get_mut(at), self.watches.get_mut(at)) {
            (Some(seat), Some(old)) => (*seat, *old) = (Some(session), watch),
            _ => {
                self.seats.push(Some(session));
                self.watches.push(watch);
            }
        }
        Ok(())
    }

    /// Unseats a session.
    pub fn remove(&mut self, seat: u32, bell: &Bell) -> Option<Session> {
        let session = self.seats.get_mut(seat as usize)?.take()?;
        self.awake.remove(seat as usize);
        if let Some(watch) = self.watches.get_mut(seat as usize) {
            *watch = None;
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
                self.awake.insert(seat);
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

    /// Looks at some of the sessions at rest, those next in turn; what has submitted something is awake
    /// from now on. Called again and again it comes to all. Returns whether a round begins: then those
    /// that have nothing to do may be laid to [rest](Self::rest), so that a client that is awake at
    /// its end has this round's time to submit more.
    #[inline]
    pub fn rouse_some(&mut self) -> bool {
        let (from, seats) = (self.next_look, self.watches.len());
        let end = seats.min(from + LOOKED_AT);
        self.rouse(from..end);
        self.next_look = if end == seats { 0 } else { end };
        from == 0
    }

    /// Looks at all of them: before the worker sleeps, and before it ends.
    pub fn rouse_all(&mut self) {
        self.rouse(0..self.watches.len());
    }

    #[inline]
    fn rouse(&mut self, seats: Range<usize>) {
        let from = seats.start;
        for (at, watch) in self
            .watches
            .get(seats)
            .unwrap_or_default()
            .iter()
            .enumerate()
        {
            if watch.as_ref().is_some_and(|watch| !watch.is_still()) {
                self.awake.insert(from + at);
            }
        }
    }

    /// The first of these seats whose session may have something to do.
    #[inline]
    #[must_use]
    pub fn next_awake(&self, seats: Range<usize>) -> Option<usize> {
        self.awake.first_of(seats)
    }

    /// Looks at a session that [is quiet](Session::is_quiet) no more until something is submitted or
    /// its client rings.
    #[inline]
    pub fn rest(&mut self, seat: u32) {
        let at = seat as usize;
        if let (Some(Some(session)), Some(Some(watch))) =
            (self.seats.get(at), self.watches.get_mut(at))
        {
            watch.renew(&session.port);
            self.awake.remove(at);
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
