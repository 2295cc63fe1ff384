//! How often a user may attach: a token bucket for each, kept as the moment at which it is full.

use std::collections::HashMap;
use std::time::Duration;

use crate::clock::Nanos;

/// The time for which an unused allowance is saved up.
const SAVED: Duration = Duration::from_secs(1);
/// Users that are remembered before those with a full bucket are forgotten.
const MOST: usize = 4096;

/// The buckets.
#[derive(Debug, Default)]
pub(super) struct AttachRates {
    /// When each user's bucket is full again; absent means that it is.
    full_at: HashMap<u32, Nanos>,
}

impl AttachRates {
    /// Whether this user, who may attach `rate` times a second, may attach now. If so, it counts.
    pub(super) fn allows(&mut self, uid: u32, rate: u32, now: Nanos) -> bool {
        let each = SAVED / rate.max(1);
        if self.full_at.len() >= MOST {
            self.full_at.retain(|_, full| *full > now);
        }
        let full = self.full_at.entry(uid).or_insert(now);
        let next = (*full).max(now).after(each);
        let allowed = next <= now.after(SAVED);
        if allowed {
            *full = next;
        }
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seconds_worth_at_once_then_the_rate_for_each_user_alone() {
        let mut rates = AttachRates::default();
        let mut attached = |uid, at| {
            let tries = (0..100).filter(|_| rates.allows(uid, 5, Nanos(at)));
            tries.count()
        };
        assert_eq!(attached(1, 0), 5);
        assert_eq!(attached(2, 0), 5);
        assert_eq!(attached(1, 199_999_999), 0);
        assert_eq!(attached(1, 400_000_000), 2);
        assert_eq!(attached(1, 60_000_000_000), 5);
    }

    #[test]
    fn users_with_a_full_bucket_are_forgotten() {
        let mut rates = AttachRates::default();
        for uid in 0..20_000 {
            assert!(rates.allows(uid, 1, Nanos(u64::from(uid) * 1_000_000)));
        }
        assert!(rates.full_at.len() <= MOST, "{}", rates.full_at.len());
    }
}
