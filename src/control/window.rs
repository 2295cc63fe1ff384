//! Latencies of the last seconds, from counts that only grow.

use std::time::Duration;

use crate::clock::Nanos;
use crate::metrics::latency::Counts;

/// How far back to look at least, once so much time has passed.
const LENGTH: Duration = Duration::from_secs(5);

/// What has been counted since the older of two moments, which lies between [`LENGTH`] and twice
/// that back when it is looked at often enough.
#[derive(Debug)]
pub(super) struct Window {
    older: Counts,
    newer: Counts,
    turned: Nanos,
}

impl Window {
    /// One that begins now, when this much is counted.
    pub(super) fn new(counts: &Counts, now: Nanos) -> Self {
        Self {
            older: counts.clone(),
            newer: counts.clone(),
            turned: now,
        }
    }

    /// What has been counted in the window when this much is counted in all.
    pub(super) fn look(&mut self, counts: &Counts, now: Nanos) -> Counts {
        if now >= self.turned.after(LENGTH) {
            self.older = core::mem::replace(&mut self.newer, counts.clone());
            self.turned = now;
        }
        counts.since(&self.older)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::latency::Histogram;

    #[test]
    fn what_is_older_than_twice_its_length_is_forgotten() {
        let histogram = Histogram::default();
        let second = |n: u64| Nanos(n * 1_000_000_000);
        let counts = || Counts::of([&histogram]);
        histogram.record(1);
        let mut window = Window::new(&counts(), second(0));
        // One each second, and how many of them are in the window.
        let seen: Vec<u64> = (1..=16)
            .map(|n| {
                histogram.record(1_000);
                window.look(&counts(), second(n)).count()
            })
            .collect();
        assert_eq!(seen, [1, 2, 3, 4, 5, 6, 7, 8, 9, 5, 6, 7, 8, 9, 5, 6]);
    }
}
