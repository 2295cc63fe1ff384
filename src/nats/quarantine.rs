//! Routes whose replies have ended a connection: each sends on a line of its own for a while.
//!
//! A reply that the library cannot read takes its connection with it, and everything that is on
//! it. When one route had requests there, its responder is at fault; when several had, each may be.
//! All of them are moved to lines of their own, so that the next such reply hits nobody else and
//! says whose it is. A route that stays well is moved back.

use core::time::Duration;

use crate::clock::Nanos;

/// Lines for such routes. When all are taken, further routes stay on the shared ones.
pub(super) const LINES: usize = 4;
/// Time that a route stays after its last malformed reply.
const TERM: Duration = Duration::from_secs(300);
/// Time until the next look at a route that could not be released.
const AGAIN: Duration = Duration::from_millis(100);

#[derive(Clone, Copy, Debug)]
struct Stay {
    route: u16,
    until: Nanos,
}

/// Which route is on which of the lines.
#[derive(Debug, Default)]
pub(super) struct Quarantine {
    stays: [Option<Stay>; LINES],
}

impl Quarantine {
    /// The line of a route, if it has one.
    pub(super) fn line_of(&self, route: u16) -> Option<usize> {
        self.stays
            .iter()
            .position(|stay| stay.is_some_and(|stay| stay.route == route))
    }

    /// Takes a route in, or keeps it longer. `None` when all lines are taken.
    pub(super) fn admit(&mut self, route: u16, now: Nanos) -> Option<usize> {
        let free = || self.stays.iter().position(Option::is_none);
        let line = self.line_of(route).or_else(free)?;
        let until = now.after(TERM);
        *self.stays.get_mut(line)? = Some(Stay { route, until });
        Some(line)
    }

    /// When the next route may be released.
    pub(super) fn due(&self) -> Nanos {
        let until = |stay: &Stay| stay.until;
        let stays = self.stays.iter().flatten();
        stays.map(until).min().unwrap_or(Nanos::NEVER)
    }

    /// Releases the routes that stayed well. `is_free` says whether nothing waits on a line any
    /// more. Returns the lines that are free now.
    pub(super) fn release(&mut self, now: Nanos, is_free: impl Fn(usize) -> bool) -> Vec<usize> {
        let mut released = Vec::new();
        for (line, slot) in self.stays.iter_mut().enumerate() {
            let Some(stay) = slot else { continue };
            if stay.until > now {
                continue;
            }
            if is_free(line) {
                *slot = None;
                released.push(line);
            } else {
                stay.until = now.after(AGAIN);
            }
        }
        released
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_have_lines_of_their_own_as_long_as_there_are_any() {
        let mut quarantine = Quarantine::default();
        for route in 10..14 {
            assert_eq!(
                quarantine.admit(route, Nanos(0)),
                Some(usize::from(route - 10))
            );
        }
        assert_eq!(quarantine.admit(11, Nanos(0)), Some(1));
        assert_eq!(quarantine.admit(99, Nanos(0)), None);
        assert_eq!(quarantine.line_of(12), Some(2));
        assert_eq!(quarantine.line_of(99), None);
    }

    #[test]
    fn who_stays_well_is_released_when_nothing_waits() {
        let mut quarantine = Quarantine::default();
        quarantine.admit(7, Nanos(0));
        let early = Nanos(0).after(TERM - Duration::from_nanos(1));
        assert!(quarantine.release(early, |_| true).is_empty());
        let due = quarantine.due();
        assert!(quarantine.release(due, |_| false).is_empty());
        assert!(quarantine.due() > due);
        assert_eq!(quarantine.release(quarantine.due(), |_| true), [0]);
        assert_eq!(
            (quarantine.line_of(7), quarantine.due()),
            (None, Nanos::NEVER)
        );
    }
}
