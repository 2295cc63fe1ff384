//! Clients that take no completions.
//!
//! A completion always has a place, so a client that takes none costs the others nothing but the
//! memory it holds. When its completion ring is full and it takes nothing for a good while, it is
//! taken for stopped and its session ends. A client that has nothing to take, or room left, may
//! rest for as long as it likes.

use std::time::Duration;

use ipc_ringbuf::error::PeerMisbehaved;

use super::session::Session;
use crate::clock::Nanos;

/// Longest time between two looks at full rings.
const LOOK: Duration = Duration::from_millis(100);

/// What a look at a session has shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// Its completion ring is not full.
    Fine,
    /// It is full, but not for long enough.
    Slow,
    /// It has been full for too long.
    Stopped,
}

/// When to look for clients that take nothing.
#[derive(Debug)]
pub struct SlowClients {
    timeout: Duration,
    /// When to look next; never while no ring is taken for full.
    due: Nanos,
    looked_at: Nanos,
    full_ns: u64,
}

impl SlowClients {
    /// Gives a client this long.
    #[must_use]
    pub const fn new(timeout: Duration) -> Self {
        Self {
            timeout,
            due: Nanos::NEVER,
            looked_at: Nanos(0),
            full_ns: 0,
        }
    }

    /// A completion ring looks full. That is soon looked into, and not at once: the ring of a client
    /// that has much on its way looks full again and again, and a look is one at all sessions.
    #[inline]
    pub fn suspect(&mut self, now: Nanos) {
        if self.due == Nanos::NEVER {
            self.looked(true, now);
        }
    }

    /// When to look next.
    #[must_use]
    pub const fn due(&self) -> Nanos {
        self.due
    }

    /// Whether it is time to look.
    #[inline]
    #[must_use]
    pub fn is_due(&self, now: Nanos) -> bool {
        self.due <= now
    }

    /// Looks at one session.
    ///
    /// # Errors
    /// [`PeerMisbehaved`] when its client's cursor is impossible.
    pub fn look(&mut self, session: &mut Session, now: Nanos) -> Result<Pace, PeerMisbehaved> {
        if !session.port.looks_full() {
            session.full = None;
            return Ok(Pace::Fine);
        }
        let Some(taken) = session.port.full_at()? else {
            session.full = None;
            return Ok(Pace::Fine);
        };
        match session.full {
            Some((since, before)) if before == taken => {
                self.full_ns = self.full_ns.saturating_add(now.since(self.looked_at));
                let is_over = now >= since.after(self.timeout);
                Ok(if is_over { Pace::Stopped } else { Pace::Slow })
            }
            // Full again, but it took something meanwhile.
            _ => {
                session.full = Some((now, taken));
                Ok(Pace::Slow)
            }
        }
    }

    /// All sessions have been looked at; `any` says whether a ring is full.
    pub fn looked(&mut self, any: bool, now: Nanos) {
        self.looked_at = now;
        self.due = if any {
            now.after(LOOK.min(self.timeout / 4))
        } else {
            Nanos::NEVER
        };
    }

    /// Nanoseconds that rings were full with nothing taken, of all sessions together.
    #[must_use]
    pub const fn full_ns(&self) -> u64 {
        self.full_ns
    }
}
