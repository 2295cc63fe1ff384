//! Completions by code, and a histogram of their latency.

use core::time::Duration;
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
    /// Time from submission to rejection, in nanoseconds.
    rejected: Histogram<u64>,
    /// Time within which an answer is of use, in nanoseconds; what was `OK` within it.
    in_time_ns: Option<u64>,
    in_time: u64,
    /// Requests that the client had no room for.
    refused: u64,
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
    /// Counts nothing so far. With a time, what was answered within it is counted too.
    pub(super) fn new(in_time: Option<Duration>) -> Result<Self, hdrhistogram::CreationError> {
        let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        Ok(Self {
            codes: BTreeMap::new(),
            latency: Histogram::new_with_bounds(1, LONGEST, DIGITS)?,
            rejected: Histogram::new_with_bounds(1, LONGEST, DIGITS)?,
            in_time_ns: in_time.map(nanos),
            in_time: 0,
            refused: 0,
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

    /// Counts a request that the client had no room for: refused at once.
    #[inline]
    pub(super) const fn refuse(&mut self) {
        self.refused += 1;
    }

    /// Notes how long after its submission a request was rejected.
    #[inline]
    pub(super) fn rejected(&mut self, after: Duration) {
        let nanos = u64::try_from(after.as_nanos()).unwrap_or(u64::MAX);
        self.rejected.saturating_record(nanos.max(1));
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
            if code == Code::Ok && self.in_time_ns.is_some_and(|limit| nanos <= limit) {
                self.in_time += length;
            }
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
        for (nanos, count) in &counts.rejected {
            self.rejected.saturating_record_n(*nanos, *count);
        }
        self.in_time += counts.in_time;
        self.refused += counts.refused;
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
            latency: buckets(&self.latency),
            rejected: buckets(&self.rejected),
            in_time: self.in_time,
            refused: self.refused,
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

    /// What was `OK` in time, when a time was given.
    pub(super) fn in_time(&self) -> Option<u64> {
        self.in_time_ns.map(|_| self.in_time)
    }

    /// Requests that the client had no room for.
    pub(super) const fn refused(&self) -> u64 {
        self.refused
    }

    /// The time from submission to rejection, in nanoseconds, that this part of the rejections
    /// does not exceed.
    pub(super) fn rejected_quantile(&self, part: f64) -> u64 {
        self.rejected.value_at_quantile(part)
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
    /// The same of the times to rejection.
    rejected: Vec<(u64, u64)>,
    in_time: u64,
    refused: u64,
}

fn buckets(histogram: &Histogram<u64>) -> Vec<(u64, u64)> {
    histogram
        .iter_recorded()
        .map(|step| (step.value_iterated_to(), step.count_at_value()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_the_same_after_the_way_through_a_pipe() {
        let mut one = Tally::new(None).unwrap();
        for now in [10, 10, 20, 4_000_000] {
            one.count(Code::Ok, 5, now);
        }
        one.count(Code::Timeout, 5, 4_000_000);
        assert_eq!(one.total(), 5);
        let sent = serde_json::to_string(&one.into_counts()).unwrap();
        let counts: Counts = serde_json::from_str(&sent).unwrap();
        let mut sum = Tally::new(None).unwrap();
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
