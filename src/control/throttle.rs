//! Fewer log lines about a client that makes many: each user has an allowance for each kind of
//! line, refilled over time.

use std::collections::HashMap;
use std::time::Duration;

use crate::clock::Nanos;

/// Lines that may come at once.
const BURST: u32 = 20;
/// Time in which one more is allowed.
const REFILL: Duration = Duration::from_millis(200);
/// Users and kinds of line that are remembered; beyond, all are forgotten, so that the table stays
/// small.
const MOST: usize = 4096;

/// The allowances.
#[derive(Debug, Default)]
pub(super) struct Throttle {
    allowances: HashMap<(&'static str, u32), Allowance>,
}

#[derive(Debug)]
struct Allowance {
    left: u32,
    refilled: Nanos,
}

impl Throttle {
    /// Whether a line of this kind about this user may be written now.
    pub(super) fn allows(&mut self, kind: &'static str, uid: u32, now: Nanos) -> bool {
        if self.allowances.len() >= MOST {
            self.allowances.clear();
        }
        let allowance = self.allowances.entry((kind, uid)).or_insert(Allowance {
            left: BURST,
            refilled: now,
        });
        let refill = u64::try_from(REFILL.as_nanos()).unwrap_or(u64::MAX);
        let earned = now.since(allowance.refilled) / refill;
        if earned > 0 {
            let earned = u32::try_from(earned).unwrap_or(BURST);
            allowance.left = allowance.left.saturating_add(earned).min(BURST);
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
    fn a_burst_is_written_then_one_line_for_each_refill() {
        let mut throttle = Throttle::default();
        let mut written = |uid, at| {
            let lines = (0..100).filter(|_| throttle.allows("x", uid, Nanos(at)));
            lines.count()
        };
        assert_eq!(written(1, 0), 20);
        assert_eq!(written(2, 0), 20);
        assert_eq!(written(1, 199_999_999), 0);
        assert_eq!(written(1, 400_000_000), 2);
        assert_eq!(written(1, 1_000_000_000_000), 20);
    }
}
