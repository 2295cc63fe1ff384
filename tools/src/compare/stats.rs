//! Medians and spread of a few rounds, and percentiles of merged latencies.

/// Middle, least and most of some figures.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

/// The spread of these; zeros when there are none.
pub(crate) fn spread(figures: impl IntoIterator<Item = f64>) -> Spread {
    let mut sorted: Vec<f64> = figures.into_iter().collect();
    sorted.sort_by(f64::total_cmp);
    let (Some(&min), Some(&max)) = (sorted.first(), sorted.last()) else {
        return Spread::default();
    };
    let upper = sorted.len() / 2;
    let lower = (sorted.len() - 1) / 2;
    let at = |index: usize| sorted.get(index).copied().unwrap_or(0.0);
    Spread {
        median: f64::midpoint(at(lower), at(upper)),
        min,
        max,
    }
}

/// How often each latency occurred.
#[derive(Debug, Default)]
pub(crate) struct Latencies(std::collections::BTreeMap<u64, u64>);

impl Latencies {
    pub(crate) fn add(&mut self, counts: &[(u64, u64)]) {
        for &(nanos, count) in counts {
            *self.0.entry(nanos).or_default() += count;
        }
    }

    pub(crate) fn count(&self) -> u64 {
        self.0.values().sum()
    }

    /// The least latency that at least this many per mille do not exceed, in microseconds.
    pub(crate) fn per_mille(&self, part: u64) -> f64 {
        let wanted = (self.count() * part).div_ceil(1000).max(1);
        let mut seen = 0;
        for (&nanos, &count) in &self.0 {
            seen += count;
            if seen >= wanted {
                return nanos as f64 / 1000.0;
            }
        }
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_or_between_the_two_middles() {
        let of = |figures: &[f64]| spread(figures.iter().copied());
        let odd = of(&[3.0, 1.0, 9.0]);
        assert_eq!((odd.median, odd.min, odd.max), (3.0, 1.0, 9.0));
        assert_eq!(of(&[4.0, 1.0, 2.0, 9.0]).median, 3.0);
        assert_eq!(of(&[7.0]).median, 7.0);
        assert_eq!(of(&[]), Spread::default());
    }

    #[test]
    fn percentiles_are_found_in_merged_counts() {
        let mut latencies = Latencies::default();
        latencies.add(&[(1000, 90), (5000, 5)]);
        latencies.add(&[(1000, 4), (9000, 1)]);
        assert_eq!(latencies.count(), 100);
        let parts = [500, 940, 950, 990, 999].map(|part| latencies.per_mille(part));
        assert_eq!(parts, [1.0, 1.0, 5.0, 5.0, 9.0]);
        assert_eq!(Latencies::default().per_mille(500), 0.0);
    }
}
