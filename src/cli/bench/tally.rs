//! Completions by code, and a histogram of their latency.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use ipc_ringbuf::Code;
use serde::{Deserialize, Serialize};

/// Longest latency that is told apart, in nanoseconds: an hour.
const LONGEST: u64 = 3_600_000_000_000;
/// Decimal digits of a latency.
const DIGITS: u8 = 3;

/// What completed.
#[derive(Debug)]
pub(super) struct Tally {
    codes: BTreeMap<Code, u64>,
    latency: Histogram<u64>,
    /// The newest completions that are alike, not yet in the two above: pipelined requests are
    /// submitted and completed in batches.
    run: Run,
    total: u64,
}

/// Completions of one code that began at one moment and are taken at another.
#[derive(Clone, Copy, Debug)]
struct Run {
    code: Code,
    began: u64,
    now: u64,
    length: u64,
}

impl Tally {
    pub(super) fn new() -> Result<Self, hdrhistogram::CreationError> {
        Ok(Self {
            codes: BTreeMap::new(),
            latency: Histogram::new_with_bounds(1, LONGEST, DIGITS)?,
            run: Run {
                code: Code::Ok,
                began: 0,
                now: 0,
                length: 0,
            },
            total: 0,
        })
    }

    /// Counts a completion taken at `now` of a request that began at `began`, both in nanoseconds
    /// of the monotonic clock.
    #[inline]
    pub(super) fn count(&mut self, code: Code, began: u64, now: u64) {
        self.total += 1;
        let run = &mut self.run;
        if run.code == code && run.began == began && run.now == now {
            run.length += 1;
            return;
        }
        self.settle();
        self.run = Run {
            code,
            began,
            now,
            length: 1,
        };
    }

    /// Completions counted.
    pub(super) const fn total(&self) -> u64 {
        self.total
    }

    fn settle(&mut self) {
        let Run {
            code,
            began,
            now,
            length,
        } = self.run;
        if length > 0 {
            self.run.length = 0;
            *self.codes.entry(code).or_default() += length;
            let nanos = now.saturating_sub(began).max(1);
            self.latency.saturating_record_n(nanos, length);
        }
    }

    /// Adds what a client process has counted.
    pub(super) fn add(&mut self, counts: &Counts) {
        for (number, count) in &counts.codes {
            // Both sides are the same program, so every number is known.
            if let Some(code) = Code::from_number(*number) {
                *self.codes.entry(code).or_default() += count;
                self.total += count;
            }
        }
        for (nanos, count) in &counts.latency {
            self.latency.saturating_record_n(*nanos, *count);
        }
    }

    /// Everything counted, in a form to send.
    pub(super) fn into_counts(mut self) -> Counts {
        self.settle();
        Counts {
            codes: self
                .codes
                .iter()
                .map(|(code, count)| (code.number(), *count))
                .collect(),
            latency: self
                .latency
                .iter_recorded()
                .map(|step| (step.value_iterated_to(), step.count_at_value()))
                .collect(),
        }
    }

    /// Completions by code, in the order of the codes' numbers.
    pub(super) fn codes(&self) -> impl Iterator<Item = (Code, u64)> + '_ {
        self.codes.iter().map(|(code, count)| (*code, *count))
    }

    /// The latency in nanoseconds that this part (0 to 1) of the completions does not exceed.
    pub(super) fn quantile(&self, part: f64) -> u64 {
        self.latency.value_at_quantile(part)
    }

    /// The longest latency, in nanoseconds.
    pub(super) fn longest(&self) -> u64 {
        self.latency.max()
    }
}

/// A [`Tally`] on its way between processes.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Counts {
    /// Number of the code, completions.
    codes: Vec<(u16, u64)>,
    /// Nanoseconds, completions: the histogram's buckets that are not empty.
    latency: Vec<(u64, u64)>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_the_same_after_the_way_through_a_pipe() {
        let mut one = Tally::new().unwrap();
        for now in [10, 10, 20, 4_000_000] {
            one.count(Code::Ok, 5, now);
        }
        one.count(Code::Timeout, 5, 4_000_000);
        assert_eq!(one.total(), 5);
        let sent = serde_json::to_string(&one.into_counts()).unwrap();
        let counts: Counts = serde_json::from_str(&sent).unwrap();
        let mut sum = Tally::new().unwrap();
        sum.add(&counts);
        sum.add(&counts);
        assert_eq!(sum.total(), 10);
        let codes: Vec<_> = sum.codes().collect();
        assert_eq!(codes, [(Code::Ok, 8), (Code::Timeout, 2)]);
        assert_eq!(sum.quantile(0.4), 5);
        assert_eq!(sum.quantile(0.6), 15);
        assert!(sum.longest().abs_diff(4_000_000) < 4000);
    }
}
