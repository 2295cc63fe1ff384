//! How long to wait before the next attempt to connect: full jitter under a ceiling that doubles,
//! so that many gateways do not come back at once.

use core::time::Duration;

/// A random source and the two limits.
#[derive(Debug)]
pub(super) struct Backoff {
    shortest: Duration,
    longest: Duration,
    state: u64,
}

impl Backoff {
    /// Ceilings from `shortest` to `longest`; `seed` should differ between processes.
    pub(super) fn new((shortest, longest): (Duration, Duration), seed: u64) -> Self {
        Self {
            shortest,
            longest: longest.max(shortest),
            state: seed | 1,
        }
    }

    /// The wait before attempt number `attempt`, counted from 0.
    pub(super) fn wait(&mut self, attempt: u32) -> Duration {
        let factor = 1_u32.checked_shl(attempt.min(31)).unwrap_or(u32::MAX);
        self.jitter(self.shortest.saturating_mul(factor).min(self.longest))
    }

    /// A random time up to `ceiling`.
    pub(super) fn jitter(&mut self, ceiling: Duration) -> Duration {
        // xorshift64: good enough to spread attempts.
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        let nanos = u64::try_from(ceiling.as_nanos()).unwrap_or(u64::MAX);
        Duration::from_nanos(self.state % nanos.saturating_add(1).max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_stay_under_a_ceiling_that_doubles() {
        let limits = (Duration::from_millis(50), Duration::from_secs(5));
        let mut backoff = Backoff::new(limits, 7);
        for _ in 0..1000 {
            assert!(backoff.wait(0) <= Duration::from_millis(50));
            assert!(backoff.wait(3) <= Duration::from_millis(400));
            assert!(backoff.wait(u32::MAX) <= Duration::from_secs(5));
        }
        assert!((0..1000).any(|_| backoff.wait(20) > Duration::from_secs(4)));
    }
}
