//! A latency histogram that one thread writes without a lock and another reads.
//!
//! Buckets are those of Prometheus's native histograms with schema 2: four for each doubling of the
//! duration in seconds, each about 19 % wider than the one before. They go from 2^-22 s (238 ns) to
//! 2^12 s (68 min), which is above the longest timeout; what is shorter or longer is counted in a
//! bucket below and one above. Every fourth bound is a power of two and serves the classic buckets
//! too, so the two forms never contradict each other.

use super::Counter;

/// Buckets for each doubling are two to this power.
pub const SCHEMA: i32 = 2;
/// Buckets for each doubling.
const PARTS: usize = 1 << SCHEMA;
/// The lowest bound in seconds is two to this power.
const LOWEST: i32 = -22;
/// Doublings that the buckets cover.
const DOUBLINGS: usize = 34;
/// Buckets between the lowest and the highest bound.
pub const BUCKETS: usize = DOUBLINGS * PARTS;
/// What is at or below the lowest bound comes before them, what is above the highest after.
const PLACES: usize = BUCKETS + 2;
/// The lowest bound, in seconds.
pub const ZERO_THRESHOLD: f64 = 1.0 / (1_u32 << -LOWEST) as f64;
/// Bits of an `f64` behind the exponent.
const FRACTION_BITS: u32 = f64::MANTISSA_DIGITS - 1;
/// The quarters of a doubling begin at these fractions, and in the first three lies a bound: 2 to
/// the power of 1/4, 2/4 and 3/4. The fourth has none.
const BOUNDS: [u64; PARTS] = [
    fraction(1.189_207_115_002_721),
    fraction(core::f64::consts::SQRT_2),
    fraction(1.681_792_830_507_429),
    u64::MAX,
];
/// What the upper bits of the lowest bound are, less one.
const FIRST: u64 = ((1023 - LOWEST.unsigned_abs() as u64) << SCHEMA) - 1;

const fn fraction(bound: f64) -> u64 {
    bound.to_bits() & ((1 << FRACTION_BITS) - 1)
}

/// Counts by duration, and the sum of the durations.
#[derive(Debug)]
pub struct Histogram {
    places: [Counter; PLACES],
    sum_ns: Counter,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            places: core::array::from_fn(|_| Counter::default()),
            sum_ns: Counter::default(),
        }
    }
}

impl Histogram {
    /// Counts one duration.
    #[inline]
    pub fn record(&self, nanos: u64) {
        if let Some(counter) = self.places.get(place(nanos)) {
            counter.increment();
        }
        self.sum_ns.add(nanos);
    }

    /// Sum of all durations, in nanoseconds.
    #[must_use]
    pub fn sum_ns(&self) -> u64 {
        self.sum_ns.get()
    }
}

/// Where a duration is counted.
#[inline]
fn place(nanos: u64) -> usize {
    // Exact enough: a bound is a matter of a few nanoseconds in a million seconds.
    let signed = i64::try_from(nanos).unwrap_or(i64::MAX);
    #[expect(clippy::cast_precision_loss, reason = "see above")]
    let seconds = signed as f64 * 1e-9;
    // A bound belongs to the bucket below it.
    let bits = seconds.to_bits().saturating_sub(1);
    // { exponent, quarter of the doubling }
    let quarter = bits >> (FRACTION_BITS - SCHEMA.unsigned_abs());
    let within = bits & ((1 << FRACTION_BITS) - 1);
    let part = usize::try_from(quarter).unwrap_or(0) % PARTS;
    let bound = BOUNDS.get(part).copied().unwrap_or(u64::MAX);
    let place = (quarter + u64::from(within > bound)).saturating_sub(FIRST);
    usize::try_from(place).unwrap_or(PLACES).min(PLACES - 1)
}

/// What several histograms have counted together.
#[derive(Clone, Debug)]
pub struct Counts {
    places: [u64; PLACES],
    sum_ns: u64,
}

impl Counts {
    /// The sum over these histograms. They are read while they are written: each count is one
    /// that was true at some moment of the reading.
    pub fn of<'h, I: IntoIterator<Item = &'h Histogram>>(histograms: I) -> Self {
        let mut counts = Self {
            places: [0; PLACES],
            sum_ns: 0,
        };
        for histogram in histograms {
            for (total, counter) in counts.places.iter_mut().zip(&histogram.places) {
                *total += counter.get();
            }
            counts.sum_ns = counts.sum_ns.wrapping_add(histogram.sum_ns());
        }
        counts
    }

    /// What has been counted since these, which were read earlier.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let mut counts = self.clone();
        for (count, before) in counts.places.iter_mut().zip(&earlier.places) {
            *count = count.saturating_sub(*before);
        }
        counts.sum_ns = self.sum_ns.wrapping_sub(earlier.sum_ns);
        counts
    }

    /// The duration, in seconds, that this share of the durations is not above; none without any.
    /// Durations are taken to be spread evenly over the logarithm of their bucket.
    #[must_use]
    pub fn quantile(&self, share: f64) -> Option<f64> {
        let count = self.count();
        if count == 0 {
            return None;
        }
        let rank = (share * count as f64).clamp(f64::MIN_POSITIVE, count as f64);
        let mut below = 0.0;
        let mut place = f64::from(LOWEST) * PARTS as f64 - 1.0;
        for &here in &self.places {
            let here = here as f64;
            if below + here >= rank {
                place += (rank - below) / here;
                break;
            }
            below += here;
            place += 1.0;
        }
        let highest = f64::from(LOWEST) * PARTS as f64 + BUCKETS as f64;
        Some((place.min(highest) / PARTS as f64).exp2())
    }

    /// Durations counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.places.iter().sum()
    }

    /// Sum of the durations, in nanoseconds.
    #[must_use]
    pub const fn sum_ns(&self) -> u64 {
        self.sum_ns
    }

    /// Durations at or below [`ZERO_THRESHOLD`].
    #[must_use]
    pub const fn zero(&self) -> u64 {
        self.places[0]
    }

    /// Classic buckets: each upper bound in seconds, a power of two, and the count between it and
    /// the bound before. The last bound is infinite.
    pub fn classic(&self) -> impl Iterator<Item = (f64, u64)> + '_ {
        let mut bound = ZERO_THRESHOLD;
        let whole = self.places.iter().skip(1).take(BUCKETS);
        let whole: Vec<u64> = whole.copied().collect();
        let doublings = whole.chunks(PARTS).map(|parts| parts.iter().sum::<u64>());
        let doublings: Vec<(f64, u64)> = doublings
            .map(|count| {
                bound *= 2.0;
                (bound, count)
            })
            .collect();
        let above = self.places.last().copied().unwrap_or(0);
        core::iter::once((ZERO_THRESHOLD, self.zero()))
            .chain(doublings)
            .chain(core::iter::once((f64::INFINITY, above)))
    }

    /// Native buckets, without empty ones at either end: the index of the first and the counts.
    /// Bucket `i` ends at 2 to the power of `i / 4` seconds. What is above the highest bound is in
    /// the bucket after it.
    #[must_use]
    pub fn native(&self) -> (i32, &[u64]) {
        let above_zero = self.places.get(1..).unwrap_or_default();
        let is_filled = |count: &u64| *count > 0;
        let Some(first) = above_zero.iter().position(is_filled) else {
            return (0, &[]);
        };
        let last = above_zero.iter().rposition(is_filled).unwrap_or(first);
        let index = i32::try_from(first).unwrap_or(0) + (LOWEST << SCHEMA) + 1;
        (index, above_zero.get(first..=last).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(nanos: &[u64]) -> Counts {
        let histogram = Histogram::default();
        for &nanos in nanos {
            histogram.record(nanos);
        }
        Counts::of([&histogram])
    }

    #[test]
    fn a_duration_is_in_the_bucket_that_ends_at_or_above_it() {
        let mut nanos: u64 = 239;
        while nanos < 4_096_000_000_000 {
            let seconds = nanos as f64 / 1e9;
            let counts = counted(&[nanos]);
            let (index, buckets) = counts.native();
            assert_eq!(buckets, [1], "{nanos}");
            let upper = (f64::from(index) / 4.0).exp2();
            let lower = (f64::from(index - 1) / 4.0).exp2();
            assert!(lower < seconds && seconds <= upper, "{nanos}: {index}");
            let classic = counts.classic().find(|(_, count)| *count > 0).unwrap();
            assert!(classic.0 >= seconds && classic.0 / 2.0 < seconds, "{nanos}");
            nanos += nanos / 50 + 1;
        }
    }

    #[test]
    fn bounds_belong_to_the_bucket_below() {
        for (seconds, index) in [(1, 0), (2, 4), (4, 8), (1024, 40)] {
            let at = seconds * 1_000_000_000;
            assert_eq!(counted(&[at]).native().0, index);
            assert_eq!(counted(&[at + 1]).native().0, index + 1);
        }
    }

    #[test]
    fn what_is_too_short_or_too_long_is_counted_too() {
        let counts = counted(&[0, 1, 238, u64::MAX, 5_000_000_000_000]);
        assert_eq!((counts.zero(), counts.count()), (3, 5));
        assert_eq!(counts.native(), (49, &[2][..]));
        let last = counts.classic().last().unwrap();
        assert!(last.0.is_infinite() && last.1 == 2);
        assert_eq!(counted(&[]).native(), (0, &[][..]));
    }

    #[test]
    fn a_quantile_is_off_by_a_bucket_at_most() {
        assert_eq!(counted(&[]).quantile(0.5), None);
        let nanos: Vec<u64> = (1..=1000).map(|n| n * 1_000).collect();
        let counts = counted(&nanos);
        for (share, exact) in [(0.5, 500e-6), (0.99, 990e-6), (1.0, 1000e-6), (0.001, 1e-6)] {
            let found = counts.quantile(share).unwrap();
            assert!((0.83..1.2).contains(&(found / exact)), "{share}: {found}");
        }
        // One of a thousand is longer: not the 99th percentile, but the longest.
        let mut nanos = vec![1_000; 999];
        nanos.push(1_000_000_000);
        let counts = counted(&nanos);
        assert!(counts.quantile(0.99).unwrap() < 1.2e-6);
        assert!(counts.quantile(1.0).unwrap() > 0.83);
        // What is beyond the buckets is at their ends.
        assert!(counted(&[0, 1]).quantile(0.99).unwrap() <= ZERO_THRESHOLD);
        assert_eq!(counted(&[u64::MAX]).quantile(0.99), Some(4096.0));
    }

    #[test]
    fn what_was_counted_earlier_can_be_taken_away() {
        let histogram = Histogram::default();
        for _ in 0..100 {
            histogram.record(1_000_000);
        }
        let earlier = Counts::of([&histogram]);
        assert_eq!(earlier.since(&earlier).quantile(0.5), None);
        histogram.record(1_000);
        let since = Counts::of([&histogram]).since(&earlier);
        assert_eq!((since.count(), since.sum_ns()), (1, 1_000));
        assert!(since.quantile(0.99).unwrap() < 2e-6);
    }

    #[test]
    fn classic_and_native_buckets_hold_the_same() {
        let all: Vec<u64> = (0..44).map(|power| 3 << power).collect();
        let counts = counted(&all);
        let classic: u64 = counts.classic().map(|(_, count)| count).sum();
        let native: u64 = counts.native().1.iter().sum();
        assert_eq!((classic, native + counts.zero()), (44, 44));
        let bounds: Vec<f64> = counts.classic().map(|(bound, _)| bound).collect();
        assert_eq!(bounds.len(), DOUBLINGS + 2);
        assert!(bounds.windows(2).all(|pair| pair[0] < pair[1]));
        assert!(bounds.contains(&1.0) && bounds.contains(&4096.0));
    }
}
