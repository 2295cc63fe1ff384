//! Yielding the processor to whoever else wants it, unless somebody keeps it.
//!
//! Among processes that work for a moment and wait, a yield comes back soon, and what it let run is
//! often what was waited for. Beside one that only computes, a yield comes back when that one's time
//! slice is over, milliseconds later; who sleeps instead is woken in its place. So the time of each
//! yield is taken, and after two long ones in a row there are none for a while. (One can be long by
//! chance, when very many work for a moment.)

use crate::clock::{Clock as _, System};

/// A yield that takes longer, in nanoseconds, went to somebody who computes: a time slice is longer,
/// and 64 processes with one request each take less in turn.
const LONG_NS: u64 = 1_000_000;
/// Short yields in a row after which nobody is taken to compute any more.
const MANY_SHORT: u32 = 256;
/// Long yields in a row after which there are none.
const MOST_LONG: u32 = 2;
/// Sleeps until a yield is tried again; twice as many each time that this was in vain, up to a limit, since
/// each trial costs a time slice.
const PROBE_EVERY: u32 = 64;
const PROBE_SELDOM: u32 = 4096;

/// Whether yields are worth their time.
#[derive(Debug)]
pub(super) struct Yields {
    /// Sleeps without yields that are still to come.
    barred: u32,
    /// Long yields in a row.
    long: u32,
    /// Short yields in a row.
    short: u32,
    /// Sleeps without yields, the next time.
    next: u32,
}

impl Default for Yields {
    fn default() -> Self {
        Self {
            barred: 0,
            long: 0,
            short: 0,
            next: PROBE_EVERY,
        }
    }
}

impl Yields {
    /// Whether there are yields now.
    pub(super) const fn allowed(&self) -> bool {
        self.barred == 0
    }

    /// Yields once, and says whether to go on yielding.
    pub(super) fn yield_now(&mut self) -> bool {
        if !self.allowed() {
            return false;
        }
        let before = System.now();
        std::thread::yield_now();
        self.took(System.now().since(before))
    }

    fn took(&mut self, ns: u64) -> bool {
        if ns <= LONG_NS {
            self.long = 0;
            // Not at once: now and then one is short beside whoever computes.
            self.short += 1;
            if self.short == MANY_SHORT {
                self.short = 0;
                self.next = PROBE_EVERY;
            }
            return true;
        }
        self.short = 0;
        self.long += 1;
        // One is enough where it has been so before.
        if self.long == MOST_LONG || self.next > PROBE_EVERY {
            self.long = 0;
            self.barred = self.next;
            self.next = (self.next * 2).min(PROBE_SELDOM);
        }
        false
    }

    /// The room has slept.
    pub(super) const fn slept(&mut self) {
        self.barred = self.barred.saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_two_long_yields_in_a_row_there_are_none_for_a_while() {
        let mut yields = Yields::default();
        assert!(!yields.took(LONG_NS + 1) && yields.allowed());
        assert!(yields.took(LONG_NS) && yields.allowed());
        assert!(!yields.took(LONG_NS + 1) && yields.allowed());
        assert!(!yields.took(LONG_NS + 1) && !yields.allowed());
        assert!(!yields.yield_now());
        let mut none = PROBE_EVERY;
        for _ in 0..10 {
            for _ in 1..none {
                yields.slept();
                assert!(!yields.allowed());
            }
            yields.slept();
            assert!(yields.allowed());
            // One is enough now, and a short one before it proves nothing.
            none = (none * 2).min(PROBE_SELDOM);
            assert!(yields.took(LONG_NS) && !yields.took(LONG_NS + 1));
            assert!(!yields.allowed());
        }
        assert_eq!(none, PROBE_SELDOM);
        for _ in 0..none {
            yields.slept();
        }
        for _ in 0..MANY_SHORT {
            assert!(yields.took(LONG_NS));
        }
        assert!(!yields.took(LONG_NS + 1) && yields.allowed());
    }
}
