//! What was measured, second by second, and when something was broken or paused.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use ipc_ringbuf::{Code, Outcome};

use crate::client::{Tick, decode};
use crate::ledger::Account;
use crate::machine::Machine;
use crate::sampler::Usage;

/// Nanoseconds of a second.
const SECOND: u64 = 1_000_000_000;
/// Seconds that wait for what clients tell late.
const OPEN: u64 = 4;
/// Seconds after a pause, and after a fault of which nothing must be made anew, that are not calm yet.
pub(crate) const HEALING: u64 = 2;

/// One second.
#[derive(Clone, Debug, Default)]
pub(crate) struct Row {
    /// Since the start of the load.
    pub(crate) second: u64,
    /// Requests accepted.
    pub(crate) sent: u64,
    /// Completions of any code.
    pub(crate) done: u64,
    pub(crate) ok: u64,
    pub(crate) rejected: u64,
    pub(crate) unknown: u64,
    /// Requests that waited too long for the window.
    pub(crate) given_up: u64,
    /// Requests that found no gateway.
    pub(crate) refused: u64,
    /// Requests that the client library took for wrong.
    pub(crate) faulty: u64,
    /// Latencies of what was answered at 50, 99, 99.9 and 100 %, in microseconds.
    pub(crate) latency: [u64; 4],
    /// Largest lag of the generator, in microseconds.
    pub(crate) lag: u64,
    /// What the gateway used, when it was looked at.
    pub(crate) usage: Option<Usage>,
    /// What the processors did up to then.
    pub(crate) machine: Option<Machine>,
    /// The histograms of latency and lag, as text.
    pub(crate) latencies: String,
    pub(crate) lags: String,
}

/// Why a second is not like the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    /// A fault's name, or `quiescent`.
    pub(crate) what: &'static str,
    /// The first second.
    pub(crate) from: u64,
    /// The last second; none while it lasts.
    pub(crate) to: Option<u64>,
    /// Seconds after the last that are not calm yet.
    pub(crate) healing: u64,
}

/// A second that is still being told about.
#[derive(Clone, Debug, Default)]
struct Building {
    account: Account,
    given_up: u64,
    refused: u64,
    faulty: u64,
    latency: Option<Histogram<u64>>,
    lag: Option<Histogram<u64>>,
    usage: Option<Usage>,
    machine: Option<Machine>,
}

/// All seconds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Series {
    /// Second of the monotonic clock at which the load started.
    epoch: u64,
    building: BTreeMap<u64, Building>,
    /// Seconds that are complete, in order and without a gap.
    pub(crate) rows: Vec<Row>,
    pub(crate) spans: Vec<Span>,
    /// Sums over the run.
    pub(crate) total: Account,
    pub(crate) given_up: u64,
    pub(crate) refused: u64,
    pub(crate) faulty: u64,
    /// Lines of histories that could not be written.
    pub(crate) unwritten: u64,
}

impl Series {
    /// One that begins at this moment of the monotonic clock, in nanoseconds.
    pub(crate) fn starting(at: u64) -> Self {
        Self {
            epoch: at / SECOND,
            ..Self::default()
        }
    }

    /// The second that a moment of the monotonic clock is in.
    pub(crate) const fn second(&self, at: u64) -> u64 {
        (at / SECOND).saturating_sub(self.epoch)
    }

    /// Takes what a client has told.
    pub(crate) fn take(&mut self, tick: &Tick) {
        self.total.add(&tick.account);
        self.given_up += tick.given_up;
        self.refused += tick.refused;
        self.faulty += tick.faulty;
        self.unwritten += tick.unwritten;
        let oldest = self.rows.len() as u64;
        let second = self.second(tick.at).max(oldest);
        let building = self.building.entry(second).or_default();
        building.account.add(&tick.account);
        building.given_up += tick.given_up;
        building.refused += tick.refused;
        building.faulty += tick.faulty;
        add(&mut building.latency, &tick.latency);
        add(&mut building.lag, &tick.lag);
    }

    /// Takes what the gateway used.
    pub(crate) fn used(&mut self, second: u64, usage: Usage) {
        if second >= self.rows.len() as u64 {
            self.building.entry(second).or_default().usage = Some(usage);
        }
    }

    /// Takes what the processors did.
    pub(crate) fn worked(&mut self, second: u64, machine: Machine) {
        if second >= self.rows.len() as u64 {
            self.building.entry(second).or_default().machine = Some(machine);
        }
    }

    /// Completes the seconds of which nothing more is to be expected; returns how many rows there
    /// were before.
    pub(crate) fn complete(&mut self, now: u64) -> usize {
        let until = self.second(now).saturating_sub(OPEN);
        self.complete_until(until)
    }

    /// Completes all seconds before this one.
    pub(crate) fn complete_until(&mut self, until: u64) -> usize {
        let before = self.rows.len();
        while (self.rows.len() as u64) < until {
            let second = self.rows.len() as u64;
            let building = self.building.remove(&second).unwrap_or_default();
            self.rows.push(building.row(second));
        }
        before
    }

    /// Completes everything.
    pub(crate) fn finish(&mut self) -> usize {
        let last = self.building.keys().next_back().copied();
        self.complete_until(last.map_or(0, |last| last + 1))
    }

    /// Something begins that makes seconds unlike the others, and so many after its end.
    pub(crate) fn begin(&mut self, what: &'static str, healing: u64, now: u64) {
        let from = self.second(now);
        self.spans.push(Span {
            what,
            from,
            to: None,
            healing,
        });
    }

    /// What has begun last under this name is over.
    pub(crate) fn end(&mut self, what: &str, now: u64) {
        let to = self.second(now);
        let begun = self.spans.iter_mut().rev();
        let mut begun = begun.filter(|span| span.what == what && span.to.is_none());
        if let Some(span) = begun.next() {
            span.to = Some(to);
        }
    }

    /// Whether nothing was broken, paused or healing in a second.
    pub(crate) fn is_calm(&self, second: u64) -> bool {
        !self.spans.iter().any(|span| {
            let to = span.to.map_or(u64::MAX, |to| to + span.healing);
            (span.from..=to).contains(&second)
        })
    }

    /// The calm rows from one second to before another.
    pub(crate) fn calm(&self, from: u64, to: u64) -> impl Iterator<Item = &Row> {
        let inside = move |row: &&Row| (from..to).contains(&row.second);
        self.rows
            .iter()
            .filter(inside)
            .filter(|row| self.is_calm(row.second))
    }

    /// Requests answered OK a second over runs of so many calm seconds, with the second they begin at.
    pub(crate) fn windows(&self, length: usize, from: u64, to: u64) -> Vec<(u64, f64)> {
        let rows: Vec<&Row> = self.calm(from, to).collect();
        let runs = rows.chunk_by(|one, next| one.second + 1 == next.second);
        let windows = runs.flat_map(|run| run.chunks_exact(length));
        windows
            .filter_map(|window| {
                let ok: u64 = window.iter().map(|row| row.ok).sum();
                #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
                let rate = ok as f64 / length as f64;
                Some((window.first()?.second, rate))
            })
            .collect()
    }
}

/// The sum of the latencies of some rows.
pub(crate) fn merged<T: AsRef<str>>(texts: impl Iterator<Item = T>) -> Option<Histogram<u64>> {
    let mut sum = None;
    texts.for_each(|text| add(&mut sum, text.as_ref()));
    sum
}

fn add(sum: &mut Option<Histogram<u64>>, text: &str) {
    let Some(histogram) = decode(text) else {
        return;
    };
    match sum {
        // All have the same bounds.
        Some(sum) => sum.add(&histogram).unwrap_or_default(),
        None => *sum = Some(histogram),
    }
}

impl Building {
    fn row(self, second: u64) -> Row {
        let latency = self.latency.as_ref().filter(|latency| !latency.is_empty());
        let at = |quantile| latency.map_or(0, |latency| latency.value_at_quantile(quantile));
        Row {
            second,
            sent: self.account.sent,
            done: self.account.completed(),
            ok: self.account.count(Code::Ok),
            rejected: self.account.class(Outcome::Rejected),
            unknown: self.account.class(Outcome::Unknown),
            given_up: self.given_up,
            refused: self.refused,
            faulty: self.faulty,
            latency: [at(0.5), at(0.99), at(0.999), at(1.0)],
            lag: self.lag.as_ref().map_or(0, Histogram::max),
            usage: self.usage,
            machine: self.machine,
            latencies: latency.map_or_else(String::new, crate::client::encode),
            lags: self
                .lag
                .as_ref()
                .map_or_else(String::new, crate::client::encode),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tick(second: u64, ok: u64) -> Tick {
        let mut tick = Tick {
            at: second * SECOND + SECOND - 1,
            ..Tick::default()
        };
        tick.account.sent = ok;
        tick.account.codes.insert("OK".to_owned(), ok);
        tick
    }

    #[test]
    fn a_window_is_worth_what_was_answered() {
        let mut series = Series::starting(0);
        for second in 0..10 {
            let mut tick = tick(second, 6);
            tick.account.codes.insert("OVERLOADED".to_owned(), 4);
            series.take(&tick);
        }
        series.finish();
        assert_eq!(series.rows[3].done, 10);
        assert_eq!(series.windows(10, 0, 10), [(0, 6.0)]);
    }

    #[test]
    fn what_comes_late_is_counted_once_and_windows_have_no_fault_in_them() {
        let mut series = Series::starting(100 * SECOND);
        for second in 0..40 {
            series.take(&tick(100 + second, 10));
        }
        series.complete(130 * SECOND);
        assert_eq!(series.rows.len(), 26);
        series.take(&tick(101, 5));
        series.begin("nats-kill", 2, 112 * SECOND);
        series.end("nats-kill", 114 * SECOND);
        series.finish();
        assert_eq!(series.rows.len(), 40);
        assert_eq!(series.total.sent, 405);
        assert_eq!(series.rows.iter().map(|row| row.ok).sum::<u64>(), 405);
        assert!(series.is_calm(11) && !series.is_calm(12) && !series.is_calm(16));
        let windows = series.windows(5, 0, 40);
        let starts: Vec<u64> = windows.iter().map(|window| window.0).collect();
        assert_eq!(starts, [0, 5, 17, 22, 27, 32]);
        assert_eq!(windows[0].1, 10.0);
    }

    #[test]
    fn what_heals_by_itself_in_longer_is_given_longer_from_its_end() {
        let mut series = Series::starting(0);
        series.begin("server killed", 4, 10 * SECOND);
        assert!(!series.is_calm(1000));
        series.end("server killed", 11 * SECOND);
        let calm: Vec<u64> = (8..18).filter(|second| series.is_calm(*second)).collect();
        assert_eq!(calm, [8, 9, 16, 17]);
    }
}
