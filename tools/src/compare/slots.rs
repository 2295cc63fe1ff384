//! The requests of one client process: who is outstanding since when, what each must be answered
//! with, and the latency of those that count. The same for every contender.

use bytes::Bytes;
use hdrhistogram::Histogram;

use crate::orders::{Interval, Report};
use ipc_tools::stage::{Failure, While as _};

/// Different bodies; a prime, so that neighbours in any power of two differ.
const BODIES: usize = 61;
/// Longest latency that is told apart, in nanoseconds: ten minutes.
const LONGEST: u64 = 600_000_000_000;
/// Decimal digits of a latency.
const DIGITS: u8 = 3;

/// Requests of one window.
#[derive(Debug)]
pub(crate) struct Slots {
    bodies: Vec<Bytes>,
    /// When the request of each slot began, in nanoseconds; 0 where there is none.
    began: Vec<u64>,
    free: Vec<usize>,
    interval: Interval,
    latency: Histogram<u64>,
    /// The newest latency and how often in a row it occurred, not yet in `latency`: requests of one
    /// batch begin together and often end together.
    run: (u64, u64),
}

impl Slots {
    /// A window of this many requests of `payload` bytes.
    ///
    /// # Errors
    /// The histogram's.
    pub(crate) fn new(window: usize, payload: usize, interval: Interval) -> Result<Self, Failure> {
        let latency = Histogram::new_with_bounds(1, LONGEST, DIGITS);
        Ok(Self {
            bodies: (0..BODIES).map(|number| body(number, payload)).collect(),
            began: vec![0; window],
            free: (0..window).rev().collect(),
            interval,
            latency: latency.or_say("cannot make a histogram")?,
            run: (0, 0),
        })
    }

    /// Whether requests are still sent at `now`.
    pub(crate) const fn goes_on(&self, now: u64) -> bool {
        now < self.interval.stop
    }

    pub(crate) const fn outstanding(&self) -> usize {
        self.began.len() - self.free.len()
    }

    /// Begins a request in a free slot, if there is one.
    #[inline]
    pub(crate) fn begin(&mut self, now: u64) -> Option<usize> {
        let slot = self.free.pop()?;
        if let Some(began) = self.began.get_mut(slot) {
            *began = now;
        }
        Some(slot)
    }

    /// Takes back a request that was not sent.
    pub(crate) fn take_back(&mut self, slot: usize) {
        if let Some(began) = self.began.get_mut(slot) {
            *began = 0;
            self.free.push(slot);
        }
    }

    /// What the request of this slot says.
    #[inline]
    pub(crate) fn body(&self, slot: usize) -> &Bytes {
        static NONE: Bytes = Bytes::new();
        self.bodies.get(slot % BODIES).unwrap_or(&NONE)
    }

    /// Counts an answer.
    ///
    /// # Errors
    /// It is an answer to nothing, or not the one to this request.
    #[inline]
    pub(crate) fn finish(&mut self, slot: usize, answer: &[u8], now: u64) -> Result<(), Failure> {
        let began = self
            .began
            .get_mut(slot)
            .filter(|began| **began != 0)
            .ok_or_else(|| {
                Failure::Failed(format!(
                    "an answer came to request {slot}, which is not outstanding"
                ))
            })?;
        let since = core::mem::take(began);
        if *answer != **self.body(slot) {
            return Err(Failure::Failed(format!(
                "the answer to request {slot} has {} bytes that are not those of the request",
                answer.len()
            )));
        }
        self.free.push(slot);
        if (self.interval.begin..self.interval.end).contains(&now) {
            let latency = now.saturating_sub(since);
            if self.run.0 == latency {
                self.run.1 += 1;
            } else {
                self.settle();
                self.run = (latency, 1);
            }
        }
        Ok(())
    }

    fn settle(&mut self) {
        let (latency, count) = core::mem::take(&mut self.run);
        if count > 0 {
            self.latency.saturating_record_n(latency, count);
        }
    }

    /// What has been measured.
    ///
    /// # Errors
    /// Answers are missing.
    pub(crate) fn report(&mut self) -> Result<Report, Failure> {
        self.settle();
        match self.outstanding() {
            0 => Ok(Report::Done(
                self.latency
                    .iter_recorded()
                    .map(|value| (value.value_iterated_to(), value.count_at_value()))
                    .collect(),
            )),
            lost => Err(Failure::Failed(format!(
                "{lost} requests were never answered"
            ))),
        }
    }
}

/// Printable bytes that differ from those of every other number.
fn body(number: usize, payload: usize) -> Bytes {
    let text = format!("{number:04}");
    text.bytes()
        .chain((number..).map(|at| b'a' + u8::try_from(at % 26).unwrap_or(0)))
        .take(payload)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Interval = Interval {
        begin: 100,
        end: 200,
        stop: 300,
    };

    #[test]
    fn only_what_completes_within_the_interval_counts() {
        let mut slots = Slots::new(3, 64, INTERVAL).unwrap();
        for (sent, done) in [(90, 99), (95, 100), (190, 199), (150, 200)] {
            let slot = slots.begin(sent).unwrap();
            let body = slots.body(slot).clone();
            assert_eq!(slots.outstanding(), 1);
            slots.finish(slot, &body, done).unwrap();
        }
        let Report::Done(latency) = slots.report().unwrap() else {
            panic!("it failed");
        };
        assert_eq!(latency, [(5, 1), (9, 1)]);
        assert!(slots.goes_on(299) && !slots.goes_on(300));
    }

    #[test]
    fn a_wrong_a_strange_and_a_missing_answer_fail() {
        let mut slots = Slots::new(2, 64, INTERVAL).unwrap();
        assert!(slots.finish(0, b"", 120).is_err());
        let (first, second) = (slots.begin(1).unwrap(), slots.begin(1).unwrap());
        assert_eq!(slots.begin(1), None);
        let wrong = slots.body(second).clone();
        assert!(slots.finish(first, &wrong, 120).is_err());
        let lost = slots.report().unwrap_err();
        assert_eq!(lost.to_string(), "2 requests were never answered");
    }

    #[test]
    fn bodies_differ_and_have_the_size_asked_for() {
        let mut seen: Vec<Bytes> = (0..BODIES).map(|number| body(number, 64)).collect();
        assert!(seen.iter().all(|body| body.len() == 64));
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), BODIES);
    }
}
