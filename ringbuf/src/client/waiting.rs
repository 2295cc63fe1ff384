//! How a client waits for completions.
//!
//! Yielding a few times and then sleeping is right for one request in flight, sleeping at once for
//! many (their completions come in batches, and whoever shares the core is better served), and
//! spinning only for those who own a core. The adaptive strategy learns which by how often yields are
//! rewarded: each reward adds to its trust in them, each sleep takes twice as much. How many there
//! are it does not learn: a wait that takes 50 yields is in vain with 30. A yield that goes to
//! somebody who computes comes back a time slice later, where a sleeper would have been woken in its
//! place; so the time of each is taken, and after a long one the client sleeps at once for a while.

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

/// Yields before sleeping, while they are trusted.
const YIELDS: u32 = 64;
/// Trust at start, and the most there can be.
const MOST_TRUST: u32 = 8;
/// What a wait that yields have ended adds to it.
const REWARD: u32 = 1;
/// What a sleep takes: yields go on as long as two of three waits are rewarded.
const DISAPPOINTMENT: u32 = 2;
/// After this many sleeps in a row, yields are tried anew; after twice as many for each long yield in a
/// row, up to a limit: beside somebody who computes, each trial costs a time slice.
const PROBE_EVERY: u32 = 64;
const PROBE_SELDOM: u32 = 4096;
/// With so much trust: once, unless it is rewarded.
const PROBE_TRUST: u32 = 2;

/// A yield that takes longer, in nanoseconds, went to somebody who computes: a time slice is longer,
/// and 64 processes with one request each take less in turn.
const LONG_YIELD_NS: u64 = 1_000_000;

/// The adaptive budget.
#[derive(Debug)]
pub(crate) struct Budget {
    strategy: WaitStrategy,
    /// How far yields are trusted to be rewarded: at 0 there are none.
    trust: u32,
    /// Sleeps since the last reward.
    sleeps: u32,
    /// Sleeps after which yields are tried anew.
    probe_every: u32,
}

impl Budget {
    pub(crate) const fn new(strategy: WaitStrategy) -> Self {
        Self {
            strategy,
            trust: MOST_TRUST,
            sleeps: 0,
            probe_every: PROBE_EVERY,
        }
    }

    /// How many empty looks to make before sleeping.
    pub(crate) const fn looks(&self) -> u32 {
        match self.strategy {
            WaitStrategy::Adaptive if self.trust > 0 => YIELDS,
            WaitStrategy::Adaptive | WaitStrategy::Park => 0,
            WaitStrategy::Spin => u32::MAX,
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
        self.strategy == WaitStrategy::Adaptive && self.trust > 0
    }

    /// A look with its yield has taken so many nanoseconds: whether to go on looking.
    pub(crate) const fn looked(&mut self, ns: u64) -> bool {
        if ns <= LONG_YIELD_NS {
            return true;
        }
        self.trust = 0;
        self.sleeps = 0;
        if self.probe_every < PROBE_SELDOM {
            self.probe_every *= 2;
        }
        false
    }

    /// Looks were rewarded: a completion came before sleeping.
    pub(crate) fn rewarded(&mut self) {
        self.trust = (self.trust + REWARD).min(MOST_TRUST);
        self.sleeps = 0;
        self.probe_every = (self.probe_every / 2).max(PROBE_EVERY);
    }

    /// Looks were in vain: the client had to sleep.
    pub(crate) const fn slept(&mut self) {
        self.trust = self.trust.saturating_sub(DISAPPOINTMENT);
        self.sleeps = self.sleeps.wrapping_add(1);
        if self.sleeps.is_multiple_of(self.probe_every) {
            self.trust = PROBE_TRUST;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn yields_go_on_while_two_of_three_waits_are_rewarded() {
        let mut budget = Budget::new(WaitStrategy::Adaptive);
        for _ in 0..100 {
            assert_eq!(budget.looks(), YIELDS);
            budget.slept();
            budget.rewarded();
            budget.rewarded();
        }
        // Every other is too few.
        let mut waits = 0;
        while budget.looks() > 0 {
            budget.slept();
            budget.rewarded();
            budget.slept();
            waits += 1;
        }
        assert!(waits <= MOST_TRUST, "{waits}");
    }

    #[test]
    fn without_trust_one_wait_in_many_is_a_probe_and_a_reward_restores_it() {
        let mut budget = Budget::new(WaitStrategy::Adaptive);
        while budget.looks() > 0 {
            budget.slept();
        }
        let probes = (0..10 * PROBE_EVERY).filter(|_| {
            budget.slept();
            budget.looks() > 0
        });
        assert_eq!(probes.count(), 10);
        for _ in 0..PROBE_EVERY {
            budget.slept();
            if budget.looks() > 0 {
                break;
            }
        }
        budget.rewarded();
        budget.slept();
        assert_eq!(budget.looks(), YIELDS);
    }

    #[test]
    fn after_a_long_yield_there_are_none_for_a_while() {
        let mut budget = Budget::new(WaitStrategy::Adaptive);
        assert!(budget.is_timed() && budget.looked(LONG_YIELD_NS));
        assert_eq!(budget.looks(), YIELDS);
        // For twice as long each time, up to a limit; and not so long again after a reward.
        let mut none = PROBE_EVERY;
        for _ in 0..10 {
            none = (none * 2).min(PROBE_SELDOM);
            assert!(!budget.looked(LONG_YIELD_NS + 1));
            for _ in 1..none {
                budget.slept();
                assert!(budget.looks() == 0 && !budget.is_timed());
            }
            budget.slept();
            assert_eq!(budget.looks(), YIELDS);
        }
        assert_eq!(none, PROBE_SELDOM);
        for _ in 0..10 {
            budget.rewarded();
        }
        assert_eq!(budget.probe_every, PROBE_EVERY);
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
