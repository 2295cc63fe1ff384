//! How long to wait for what clients ask next before sending what some of them have asked.
//!
//! A client that waits for each answer asks again a moment after it. When several answers have come
//! together, their clients' next requests come one by one, and sending each as it comes takes the
//! batch apart: the server, the responder and this thread then work once for each request in place
//! of once for all. So the room yields the processor until as many have asked as were answered, for
//! a tenth of a millisecond at most. Whether clients do ask again so soon is learnt: a wait in vain
//! halves the next, a wait that was rewarded restores it, and one that has shrunk to nothing is tried
//! again now and then.

/// Longest wait.
const LONGEST_NS: u64 = 100_000;
/// A wait shorter than this brings nobody.
const SHORTEST_NS: u64 = 5_000;
/// Answers that are waited for; so many more make a batch that costs little by each.
const MOST: usize = 100;
/// Occasions that pass without a wait before one is tried again.
const PROBE_EVERY: u32 = 64;

/// The adaptive wait.
#[derive(Debug)]
pub(super) struct Gather {
    wait_ns: u64,
    /// Occasions since a wait was tried.
    passed: u32,
}

impl Default for Gather {
    fn default() -> Self {
        Self {
            wait_ns: LONGEST_NS,
            passed: 0,
        }
    }
}

impl Gather {
    /// How long to wait after so many answers, in nanoseconds, if at all.
    pub(super) fn wait_ns(&mut self, answers: usize) -> Option<u64> {
        // Alone, nobody is waited for.
        if !(2..MOST).contains(&answers) {
            return None;
        }
        if self.wait_ns >= SHORTEST_NS {
            return Some(self.wait_ns);
        }
        self.passed += 1;
        if self.passed < PROBE_EVERY {
            return None;
        }
        self.passed = 0;
        self.wait_ns = LONGEST_NS;
        Some(LONGEST_NS)
    }

    /// So many had asked at the end of the wait.
    pub(super) const fn waited(&mut self, answers: usize, asked: usize) {
        self.wait_ns = if asked >= answers.div_ceil(2) {
            LONGEST_NS
        } else {
            self.wait_ns / 2
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_answer_and_large_batches_are_not_waited_for() {
        let mut gather = Gather::default();
        for answers in [0, 1, MOST, usize::MAX] {
            assert_eq!(gather.wait_ns(answers), None);
        }
        assert_eq!(gather.wait_ns(2), Some(LONGEST_NS));
        assert_eq!(gather.wait_ns(MOST - 1), Some(LONGEST_NS));
    }

    #[test]
    fn waits_in_vain_end_and_are_tried_again() {
        let mut gather = Gather::default();
        let mut waited = 0;
        while let Some(wait) = gather.wait_ns(4) {
            waited += wait;
            gather.waited(4, 1);
        }
        assert!(waited < 2 * LONGEST_NS);
        let passed = (1..).take_while(|_| gather.wait_ns(4).is_none()).count();
        assert_eq!(passed + 2, PROBE_EVERY as usize);
        gather.waited(4, 1);
        assert_eq!(gather.wait_ns(4), Some(LONGEST_NS / 2));
        gather.waited(4, 2);
        assert_eq!(gather.wait_ns(4), Some(LONGEST_NS));
    }
}
