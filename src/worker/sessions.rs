//! The sessions that one worker serves: a table of seats.

use std::os::fd::AsFd;

use ipc_ringbuf::port::Watch;
use ipc_ringbuf::sys::{self, Bell};

use super::mailbox::NewSession;
use super::rings::Look;
use super::session::Session;
use crate::clock::Nanos;

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
        let session = Session::from(new);
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
