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

/// Nanoseconds for each look at a session at rest. A look that finds nothing costs some ten instructions
/// and, with a thousand sessions, a line and a page that are in no near cache: 20 ns where it was
/// measured. So looking takes a twentieth of the time at most, and no session waits longer for its turn
/// than this for each.
const LOOK_NS: u64 = 400;
/// Looks in a cycle that took no time.
const FEWEST_LOOKS: usize = 8;

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
    /// When looks at those at rest were made last.
    looked_at: Nanos,
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

    /// Looks at some of the sessions at rest, those next in turn: as many as the time since the last call
    /// allows for. What has submitted something is awake from now on. Returns whether a round ends:
    /// then those that have nothing to do may be laid to [rest](Self::rest). A client that submits
    /// again and again so stays awake and does not wait for its turn each time.
    #[inline]
    pub fn rouse_some(&mut self, now: Nanos) -> bool {
        let seats = self.watches.len();
        let passed = now.since(core::mem::replace(&mut self.looked_at, now));
        let allowed = usize::try_from(passed / LOOK_NS).unwrap_or(usize::MAX);
        let end = self.next_look + allowed.max(FEWEST_LOOKS).min(seats);
        self.rouse(self.next_look..end.min(seats));
        self.rouse(0..end.saturating_sub(seats));
        self.next_look = if end < seats { end } else { end - seats };
        end >= seats
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
