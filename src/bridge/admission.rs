//! How much of each route's traffic is let in.

use ipc_ringbuf::primitive::{AtomicU64, Ordering};

/// How much of a route's traffic is let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Everything.
    Open,
    /// Every second request; the others are rejected as `OVERLOADED`.
    Half {
        /// Milliseconds after which to try again.
        retry_after_ms: u32,
    },
    /// Nothing: all are rejected as `OVERLOADED`.
    Closed {
        /// Milliseconds after which to try again.
        retry_after_ms: u32,
    },
    /// A closure has run out: some probes first, and everything once one is answered.
    Probing {
        /// Which closure: counts from 1.
        closure: u32,
    },
}

/// The admission of every route, written by the side that hears of backpressure and read by the
/// workers. One word a route.
#[derive(Debug)]
pub struct Admissions {
    words: Vec<AtomicU64>,
}

impl Admissions {
    /// All open.
    #[must_use]
    pub fn new(routes: usize) -> Self {
        Self {
            words: (0..routes).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    /// Sets the admission of one route; a number that is no route is ignored.
    pub fn set(&self, route: u16, admission: Admission) {
        // { retry_after_ms or closure: 32, state: 2 }
        let word = match admission {
            Admission::Open => 0,
            Admission::Half { retry_after_ms } => (u64::from(retry_after_ms) << 2) | 1,
            Admission::Closed { retry_after_ms } => (u64::from(retry_after_ms) << 2) | 2,
            Admission::Probing { closure } => (u64::from(closure) << 2) | 3,
        };
        if let Some(slot) = self.words.get(usize::from(route)) {
            slot.store(word, Ordering::Relaxed);
        }
    }

    /// The admission of one route.
    #[must_use]
    pub fn of(&self, route: u16) -> Admission {
        let word = self
            .words
            .get(usize::from(route))
            .map_or(0, |w| w.load(Ordering::Relaxed));
        let retry_after_ms = u32::try_from(word >> 2).unwrap_or(u32::MAX);
        match word & 3 {
            1 => Admission::Half { retry_after_ms },
            2 => Admission::Closed { retry_after_ms },
            3 => Admission::Probing {
                closure: retry_after_ms,
            },
            _ => Admission::Open,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn admission_survives_its_word() {
        let admissions = Admissions::new(1);
        for admission in [
            Admission::Half { retry_after_ms: 7 },
            Admission::Closed {
                retry_after_ms: u32::MAX,
            },
            Admission::Open,
        ] {
            admissions.set(0, admission);
            assert_eq!(admissions.of(0), admission);
        }
        assert_eq!(admissions.of(9), Admission::Open);
    }
}
