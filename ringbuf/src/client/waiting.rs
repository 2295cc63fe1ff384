//! How a client waits for completions.
//!
//! Yielding a few times and then sleeping is right for one request in flight, sleeping at once for
//! many (their completions come in batches, and whoever shares the core is better served), and
//! spinning only for those who own a core. The adaptive strategy learns which by doubling its
//! budget of yields each time they were rewarded and halving it each time they were not. A yield
//! that goes to somebody who computes comes back a time slice later, where a sleeper would have been
//! woken in its place; so the time of each is taken, and after a long one the client sleeps at once
//! for a while.

/// How [`Client::wait`](super::Client::wait) waits.
///
/// [`ClientBuilder`](super::ClientBuilder) shows how to choose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum WaitStrategy {
    /// Yield as long as that is rewarded, then sleep.
    #[default]
    Adaptive,
    /// Never sleep: for a thread with a core of its own.
    Spin,
    /// Sleep at once.
    Park,
}

/// Most yields before sleeping.
const MOST_YIELDS: u32 = 64;
/// Yields at start.
const FIRST_YIELDS: u32 = 16;
/// After this many sleeps in a row, yields are tried anew.
const PROBE_EVERY: u32 = 64;

/// A yield that takes longer, in nanoseconds, went to somebody who computes: a time slice is longer,
/// and 64 processes with one request each take less in turn.
const LONG_YIELD_NS: u64 = 1_000_000;

/// The adaptive budget.
#[derive(Debug)]
pub(crate) struct Budget {
    strategy: WaitStrategy,
    yields: u32,
    sleeps: u32,
}

impl Budget {
    pub(crate) const fn new(strategy: WaitStrategy) -> Self {
        Self {
            strategy,
            yields: FIRST_YIELDS,
            sleeps: 0,
        }
    }

    /// How many empty looks to make before sleeping.
    pub(crate) const fn looks(&self) -> u32 {
        match self.strategy {
            WaitStrategy::Adaptive => self.yields,
            WaitStrategy::Spin => u32::MAX,
            WaitStrategy::Park => 0,
        }
    }

    /// What a look does when it found nothing.
    pub(crate) fn pause(&self) {
        if self.strategy == WaitStrategy::Spin {
            core::hint::spin_loop();
        } else {
            std::thread::yield_now();
        }
    }

    /// Whether looks are to be timed.
    pub(crate) fn is_timed(&self) -> bool {
        self.strategy == WaitStrategy::Adaptive && self.yields > 0
    }

    /// A look with its yield has taken so many nanoseconds: whether to go on looking.
    pub(crate) const fn looked(&mut self, ns: u64) -> bool {
        if ns <= LONG_YIELD_NS {
            return true;
        }
        self.yields = 0;
        self.sleeps = 0;
        false
    }

    /// Looks were rewarded: a completion came before sleeping.
    pub(crate) fn rewarded(&mut self) {
        self.yields = self.yields.saturating_mul(2).clamp(1, MOST_YIELDS);
        self.sleeps = 0;
    }

    /// Looks were in vain: the client had to sleep.
    pub(crate) fn slept(&mut self) {
        self.yields /= 2;
        self.sleeps = self.sleeps.wrapping_add(1);
        if self.sleeps.is_multiple_of(PROBE_EVERY) {
            self.yields = FIRST_YIELDS;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rewards_double_the_yields_and_sleeps_halve_them() {
        let mut budget = Budget::new(WaitStrategy::Adaptive);
        budget.rewarded();
        assert_eq!(budget.looks(), 2 * FIRST_YIELDS);
        for _ in 0..10 {
            budget.rewarded();
        }
        assert_eq!(budget.looks(), MOST_YIELDS);
        budget.slept();
        assert_eq!(budget.looks(), MOST_YIELDS / 2);
    }

    #[test]
    fn after_a_long_yield_there_are_none_for_a_while() {
        let mut budget = Budget::new(WaitStrategy::Adaptive);
        assert!(budget.is_timed() && budget.looked(LONG_YIELD_NS));
        assert_eq!(budget.looks(), FIRST_YIELDS);
        assert!(!budget.looked(LONG_YIELD_NS + 1));
        for _ in 1..PROBE_EVERY {
            budget.slept();
            assert!(budget.looks() == 0 && !budget.is_timed());
        }
        budget.slept();
        assert_eq!(budget.looks(), FIRST_YIELDS);
    }

    #[test]
    fn spinning_and_parking_do_not_learn() {
        let (spin, park) = (
            Budget::new(WaitStrategy::Spin),
            Budget::new(WaitStrategy::Park),
        );
        assert_eq!((spin.looks(), park.looks()), (u32::MAX, 0));
        assert!(!spin.is_timed() && !park.is_timed());
    }
}
