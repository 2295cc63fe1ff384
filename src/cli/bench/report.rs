//! What is printed: the report, and progress while it is measured.

use core::fmt::{self, Write as _};
use core::time::Duration;
use std::io::{self, Write as _};

use ipc_ringbuf::Outcome;
use serde_json::{Map, Value, json};

use super::args::BenchArgs;
use super::crew::Measured;
use crate::clock::Nanos;

/// The names of the percentiles in JSON and in text, and the part of all completions.
const QUANTILES: [(&str, &str, f64); 4] = [
    ("p50", "p50", 0.5),
    ("p90", "p90", 0.9),
    ("p99", "p99", 0.99),
    ("p999", "p99.9", 0.999),
];

/// What was asked for, and what was measured.
#[derive(Debug)]
pub(super) struct Report<'a> {
    args: &'a BenchArgs,
    measured: &'a Measured,
}

impl<'a> Report<'a> {
    pub(super) const fn new(args: &'a BenchArgs, measured: &'a Measured) -> Self {
        Self { args, measured }
    }

    /// Whether every request did what its route promises.
    pub(super) fn all_succeeded(&self) -> bool {
        self.measured
            .tally
            .codes()
            .all(|(code, count)| code.is_success() || count == 0)
    }

    fn outcome(&self, outcome: Outcome) -> u64 {
        let codes = self.measured.tally.codes();
        let of_it = codes.filter(|(code, _)| code.outcome() == outcome);
        of_it.map(|(_, count)| count).sum()
    }

    fn seconds(&self) -> f64 {
        self.measured.elapsed.as_secs_f64()
    }

    /// Requests a second.
    fn rate(&self) -> f64 {
        let seconds = self.seconds();
        if seconds > 0.0 {
            float(self.measured.tally.total()) / seconds
        } else {
            0.0
        }
    }

    /// The report as JSON.
    pub(super) fn json(&self) -> Value {
        let tally = &self.measured.tally;
        let codes: Map<_, _> = tally
            .codes()
            .map(|(code, count)| (code.name().to_owned(), count.into()))
            .collect();
        let micros = |nanos: u64| Value::from(float(nanos) / 1e3);
        let mut latency: Map<_, _> = QUANTILES
            .iter()
            .map(|(name, _, part)| ((*name).to_owned(), micros(tally.quantile(*part))))
            .collect();
        latency.insert("max".to_owned(), micros(tally.longest()));
        let mut report = json!({
            "requests": tally.total(),
            "answered": self.outcome(Outcome::Answered),
            "rejected": self.outcome(Outcome::Rejected),
            "unknown": self.outcome(Outcome::Unknown),
            "codes": codes,
            "seconds": self.seconds(),
            "rate": self.rate(),
            "latency_us": latency,
            "clients": self.args.clients,
            "window": self.args.window,
            "wait": self.args.wait,
            "burst": self.args.burst,
            "payload": self.args.payload,
        });
        if let (Some(in_time), Some(fields)) = (tally.in_time(), report.as_object_mut()) {
            fields.insert("in_time".to_owned(), in_time.into());
            fields.insert("refused".to_owned(), tally.refused().into());
            let rejected = json!({
                "p50": micros(tally.rejected_quantile(0.5)),
                "p99": micros(tally.rejected_quantile(0.99)),
            });
            fields.insert("rejected_after_us".to_owned(), rejected);
        }
        report
    }

    /// The report for people, several lines without the last newline.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        self.write(&mut text).ok();
        text.truncate(text.trim_end().len());
        text
    }

    fn write(&self, text: &mut String) -> fmt::Result {
        let (args, tally) = (self.args, &self.measured.tally);
        let kind = match (args.threads, args.clients) {
            (true, 1) => "client thread",
            (true, _) => "client threads",
            (false, 1) => "client process",
            (false, _) => "client processes",
        };
        writeln!(
            text,
            "{} {kind}, window {}, {}-byte payloads, route {}",
            args.clients, args.window, args.payload, args.route
        )?;
        let total = Grouped(tally.total());
        let (seconds, rate) = (self.seconds(), Grouped(whole(self.rate())));
        writeln!(
            text,
            "throughput  {rate} requests/s: {total} in {seconds:.2} s"
        )?;
        if let Some(asked) = args.rate {
            let unsent = Grouped(self.measured.unsent);
            let asked = Grouped(asked);
            writeln!(
                text,
                "asked for   {asked} requests/s: {unsent} due and not sent"
            )?;
        }
        if let (Some(in_time), Some(limit)) = (tally.in_time(), args.timeout) {
            let (in_time, refused) = (Grouped(in_time), Grouped(tally.refused()));
            writeln!(
                text,
                "in time     {in_time} OK within {limit:?}; {refused} refused by the client"
            )?;
            let [half, most] = [0.5, 0.99].map(|part| Time(tally.rejected_quantile(part)));
            writeln!(text, "rejected    after p50 {half}, p99 {most}")?;
        }
        write!(text, "latency    ")?;
        for (_, name, part) in QUANTILES {
            write!(text, " {name} {},", Time(tally.quantile(part)))?;
        }
        writeln!(text, " max {}", Time(tally.longest()))?;
        let outcomes = Outcome::ALL.map(|of| format!("{of} {}", Grouped(self.outcome(of))));
        writeln!(text, "outcomes    {}", outcomes.join(", "))?;
        let codes: Vec<_> = tally
            .codes()
            .map(|(code, count)| format!("{code} {}", Grouped(count)))
            .collect();
        write!(text, "codes       {}", codes.join(", "))
    }
}

/// The line on a terminal that says how it goes, once a second.
#[derive(Debug)]
pub(super) struct Progress {
    start: Nanos,
    to_terminal: bool,
    /// When it was last written, and the total then.
    last: (Nanos, u64),
    written: bool,
}

impl Progress {
    pub(super) const fn new(start: Nanos, to_terminal: bool) -> Self {
        Self {
            start,
            to_terminal,
            last: (start, 0),
            written: false,
        }
    }

    /// Writes the line if it is time to.
    pub(super) fn show(&mut self, now: Nanos, total: impl FnOnce() -> u64) {
        let since = now.since(self.last.0);
        if !self.to_terminal || since < 1_000_000_000 {
            return;
        }
        let total = total();
        let new = total.saturating_sub(self.last.1);
        let rate = Grouped(whole(float(new) * 1e9 / float(since)));
        let seconds = Duration::from_nanos(now.since(self.start)).as_secs();
        self.last = (now, total);
        self.written = true;
        // Nobody is left to tell when standard error is closed.
        write!(io::stderr(), "\r\x1b[K{seconds} s  {rate} requests/s").ok();
    }

    /// Takes the line away.
    pub(super) fn clear(&self) {
        if self.written {
            write!(io::stderr(), "\r\x1b[K").ok();
        }
    }
}

/// A number with its digits in groups of three.
struct Grouped(u64);

impl fmt::Display for Grouped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.0.to_string();
        for (at, digit) in digits.char_indices() {
            if at > 0 && (digits.len() - at).is_multiple_of(3) {
                f.write_char(',')?;
            }
            f.write_char(digit)?;
        }
        Ok(())
    }
}

/// Nanoseconds, in the unit that suits people.
struct Time(u64);

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = float(self.0);
        match self.0 {
            0..10_000 => write!(f, "{:.2} us", nanos / 1e3),
            10_000..10_000_000 => write!(f, "{:.0} us", nanos / 1e3),
            10_000_000..10_000_000_000 => write!(f, "{:.0} ms", nanos / 1e6),
            _ => write!(f, "{:.1} s", nanos / 1e9),
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "for people: 53 bits are enough")]
const fn float(number: u64) -> f64 {
    number as f64
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "`as` saturates, and no rate is negative"
)]
const fn whole(number: f64) -> u64 {
    number.round() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_grouped_and_times_have_a_unit() {
        let numbers = [0, 999, 1000, 1_234_567].map(|number| Grouped(number).to_string());
        assert_eq!(numbers, ["0", "999", "1,000", "1,234,567"]);
        let times = [812, 81_000, 12_000_000, 60_000_000_000].map(|nanos| Time(nanos).to_string());
        assert_eq!(times, ["0.81 us", "81 us", "12 ms", "60.0 s"]);
    }
}
