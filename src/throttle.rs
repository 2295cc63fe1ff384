//! An allowance for each of many: so many at once, then one more each while.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

use crate::clock::Nanos;

/// Keys that are remembered; beyond, all are forgotten, so that the table stays small.
const MOST: usize = 4096;

/// The allowances, by key.
///
/// ```
/// use std::time::Duration;
/// use ipc_gateway::{clock::Nanos, throttle::Throttle};
///
/// let mut throttle = Throttle::new(2, Duration::from_secs(1));
/// let now = Nanos(0);
/// assert!(throttle.allows("a", now) && throttle.allows("a", now));
/// assert!(!throttle.allows("a", now) && throttle.allows("b", now));
/// assert!(throttle.allows("a", now.after(Duration::from_secs(1))));
/// ```
#[derive(Debug)]
pub struct Throttle<K> {
    allowances: HashMap<K, Allowance>,
    burst: u32,
    refill_ns: u64,
}

#[derive(Debug)]
struct Allowance {
    left: u32,
    refilled: Nanos,
}

impl<K: Eq + Hash> Throttle<K> {
    /// Allows `burst` at once for each key, and one more after each `refill`.
    #[must_use]
    pub fn new(burst: u32, refill: Duration) -> Self {
        Self {
            allowances: HashMap::new(),
            burst,
            refill_ns: u64::try_from(refill.as_nanos()).map_or(u64::MAX, |nanos| nanos.max(1)),
        }
    }

    /// Whether one more is allowed for this key now; if so, it is used up.
    pub fn allows(&mut self, key: K, now: Nanos) -> bool {
        if self.allowances.len() >= MOST {
            self.allowances.clear();
        }
        let allowance = self.allowances.entry(key).or_insert(Allowance {
            left: self.burst,
            refilled: now,
        });
        let earned = now.since(allowance.refilled) / self.refill_ns;
        if earned > 0 {
            let earned = u32::try_from(earned).unwrap_or(self.burst);
            allowance.left = allowance.left.saturating_add(earned).min(self.burst);
            allowance.refilled = now;
        }
        let allowed = allowance.left > 0;
        allowance.left = allowance.left.saturating_sub(1);
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_allowed_then_one_for_each_refill() {
        let mut throttle = Throttle::new(20, Duration::from_millis(200));
        let mut allowed = |key, at| {
            let all = (0..100).filter(|_| throttle.allows(key, Nanos(at)));
            all.count()
        };
        assert_eq!(allowed(1, 0), 20);
        assert_eq!(allowed(2, 0), 20);
        assert_eq!(allowed(1, 199_999_999), 0);
        assert_eq!(allowed(1, 400_000_000), 2);
        assert_eq!(allowed(1, 1_000_000_000_000), 20);
    }
}
