//! How a client waits for completions.
//!
//! Yielding a few times and then sleeping is right for one request in flight, sleeping at once for
//! many (their completions come in batches, and whoever shares the core is better served), and
//! spinning only for those who own a core. The adaptive strategy learns which by doubling its
//! budget of yields each time they were rewarded and halving it each time they were not.

/// How [`Client::wait`](super::Client::wait) waits.
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
