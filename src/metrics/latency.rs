//! A latency histogram that one thread writes without a lock and another reads.
//!
//! Buckets are powers of two in nanoseconds, from 256 ns to about 137 s: the resolution of a
//! dashboard. Percentiles with three digits come from the clients' side (`bench`).

use super::Counter;

/// Number of buckets; the last one has no upper bound.
pub const BUCKETS: usize = 31;
/// Upper bound of the first bucket is two to this power.
const FIRST: u32 = 8;

/// Counts by power of two, and their sum.
#[derive(Debug)]
pub struct Histogram {
    buckets: Vec<Counter>,
    sum_ns: Counter,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            buckets: (0..BUCKETS).map(|_| Counter::default()).collect(),
            sum_ns: Counter::default(),
        }
    }
}

impl Histogram {
    /// Counts one duration.
    #[inline]
    pub fn record(&self, nanos: u64) {
        let bits = u64::BITS - nanos.leading_zeros();
        let at = (bits.saturating_sub(FIRST) as usize).min(BUCKETS - 1);
        if let Some(bucket) = self.buckets.get(at) {
            bucket.increment();
        }
        self.sum_ns.add(nanos);
    }

    /// Each bucket's upper bound in nanoseconds (`None` for the last) and its count.
    pub fn buckets(&self) -> impl Iterator<Item = (Option<u64>, u64)> + '_ {
        let bounds = (FIRST..).map(|power| 1_u64.checked_shl(power));
        let last = self.buckets.len().saturating_sub(1);
        self.buckets
            .iter()
            .zip(bounds)
            .enumerate()
            .map(move |(at, (bucket, bound))| (bound.filter(|_| at != last), bucket.get()))
    }

    /// Sum of all durations, in nanoseconds.
    #[must_use]
    pub fn sum_ns(&self) -> u64 {
        self.sum_ns.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_fall_into_the_bucket_whose_bound_is_above_them() {
        let histogram = Histogram::default();
        for nanos in [0, 255, 256, 511, 1 << 20, u64::MAX] {
            histogram.record(nanos);
        }
        let filled: Vec<_> = histogram
            .buckets()
            .filter(|(_, count)| *count > 0)
            .collect();
        assert_eq!(
            filled,
            [
                (Some(256), 2),
                (Some(512), 2),
                (Some(1 << 21), 1),
                (None, 1)
            ]
        );
    }
}
