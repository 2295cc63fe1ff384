//! Throughput and latency over time.

use super::warm_up;
use crate::args::{Rate, SoakArgs};
use crate::run::Measured;
use crate::series::merged;
use crate::stats::{mean, p_of_fall, theil_sen, variation};
use crate::verdict::{Check, Verdict};

/// Seconds of a window of throughput.
const WINDOW: usize = 10;
/// Fewest windows that tell something.
const WINDOWS: usize = 12;
/// Fewest calm seconds of a quarter that tell something about its tail.
const CALM: usize = 60;
/// A fall over the run, as a part, that is too small to be one.
const NEGLIGIBLE: f64 = 0.001;
/// How much later than due a request may be sent, in microseconds, and the part that may be later.
const LAG: (u64, f64) = (50_000, 0.01);

/// The checks.
pub(super) fn checks(found: &Measured, args: &SoakArgs) -> Vec<Check> {
    let generator = generator(found, args);
    let is_void = generator.verdict != Verdict::Pass;
    let mut checks = vec![generator];
    let mut timed = vec![
        throughput(found, args),
        trend(found, args),
        quarters(found, args),
        latency(found, args),
    ];
    if is_void {
        for check in &mut timed {
            check.verdict = Verdict::Inconclusive;
            check
                .found
                .push_str("; void, because the generator fell behind");
        }
    }
    checks.append(&mut timed);
    checks
}

/// Whether what was offered was offered when it should have been, where there was room for it: a window
/// that stays full is not the generator's doing, and counts as not served.
fn generator(found: &Measured, args: &SoakArgs) -> Check {
    let required = format!(
        "at most {} % of the requests are sent {} ms after they are due and there is room for them, \
         while nothing is broken",
        LAG.1 * 100.0,
        LAG.0 / 1000
    );
    if args.rate == Rate::Max {
        let text = "nothing is due: the windows are kept full";
        return Check::new("steady.generator", Verdict::Pass, required, text);
    }
    let rows = || found.series.calm(0, u64::MAX);
    let Some(lag) = merged(rows().map(|row| row.lags.as_str())) else {
        return Check::new(
            "steady.generator",
            Verdict::Inconclusive,
            required,
            "nothing was sent",
        );
    };
    let late = lag.count_between(LAG.0, u64::MAX);
    #[expect(clippy::cast_precision_loss, reason = "a part of a whole")]
    let late = late as f64 / (lag.len() as f64).max(1.0);
    let verdict = if late <= LAG.1 {
        Verdict::Pass
    } else {
        Verdict::Inconclusive
    };
    let at = |quantile| lag.value_at_quantile(quantile);
    let text = format!(
        "lag p50 {} us, p99 {} us, p99.9 {} us, most {} us; {:.3} % late",
        at(0.5),
        at(0.99),
        at(0.999),
        lag.max(),
        late * 100.0,
    );
    Check::new("steady.generator", verdict, required, text)
}

/// Windows after the warm-up.
fn windows(found: &Measured, args: &SoakArgs) -> Vec<(u64, f64)> {
    let end = args.duration.0.as_secs();
    // Throughput is warm long before memory is.
    let from = warm_up(args.duration.0).min(60);
    found.series.windows(WINDOW, from, end)
}

fn throughput(found: &Measured, args: &SoakArgs) -> Check {
    let rates: Vec<f64> = windows(found, args)
        .into_iter()
        .map(|window| window.1)
        .collect();
    let required = "the rates of answers in windows of 10 s vary by at most 5 %";
    let (verdict, text) = match variation(&rates) {
        Some(variation) if rates.len() >= WINDOWS => {
            let text = format!(
                "{:.2} % of {:.0}/s over {} windows",
                variation * 100.0,
                mean(&rates).unwrap_or(0.0),
                rates.len()
            );
            (Verdict::of(variation <= 0.05), text)
        }
        _ => (Verdict::Inconclusive, too_few(rates.len())),
    };
    Check::new("steady.throughput", verdict, required, text)
}

fn too_few(count: usize) -> String {
    format!("{count} windows without a fault; {WINDOWS} are needed")
}

fn trend(found: &Measured, args: &SoakArgs) -> Check {
    let windows = windows(found, args);
    let rates: Vec<f64> = windows.iter().map(|window| window.1).collect();
    let required = format!(
        "the rates do not fall: Mann-Kendall p > 0.05, or by less than {} % over the run",
        NEGLIGIBLE * 100.0
    );
    if rates.len() < WINDOWS {
        let text = too_few(rates.len());
        return Check::new("steady.trend", Verdict::Inconclusive, required, text);
    }
    let p = p_of_fall(&rates);
    #[expect(clippy::cast_precision_loss, reason = "seconds of a run")]
    let points: Vec<(f64, f64)> = windows
        .iter()
        .map(|(second, rate)| (*second as f64, *rate))
        .collect();
    let slope = theil_sen(&points).map_or(0.0, |slope| slope.slope);
    let change = slope * args.duration.0.as_secs_f64() / mean(&rates).unwrap_or(1.0);
    let holds = p > 0.05 || change > -NEGLIGIBLE;
    let text = format!("p {p:.3}, {:+.3} % over the run", change * 100.0);
    Check::new("steady.trend", Verdict::of(holds), required, text)
}

/// Seconds of a quarter, from 0.
fn quarter(args: &SoakArgs, number: u64) -> (u64, u64) {
    let seconds = args.duration.0.as_secs();
    (seconds * number / 4, seconds * (number + 1) / 4)
}

fn quarters(found: &Measured, args: &SoakArgs) -> Check {
    let required = "the last quarter's rate is at least 98 % of the second's";
    let rate = |number| {
        let (from, to) = quarter(args, number);
        let windows = found.series.windows(WINDOW, from, to);
        let rates: Vec<f64> = windows.into_iter().map(|window| window.1).collect();
        mean(&rates).filter(|_| rates.len() >= WINDOWS / 4)
    };
    let (verdict, text) = match (rate(1), rate(3)) {
        (Some(second), Some(last)) => {
            let part = last / second;
            let text = format!("{:.2} %: {last:.0}/s after {second:.0}/s", part * 100.0);
            (Verdict::of(part >= 0.98), text)
        }
        _ => (
            Verdict::Inconclusive,
            "too few windows without a fault".to_owned(),
        ),
    };
    Check::new("steady.quarters", verdict, required, text)
}

fn latency(found: &Measured, args: &SoakArgs) -> Check {
    let required = "the last quarter's p99.9 is at most 1.2 times the second's";
    let tail = |number| {
        let (from, to) = quarter(args, number);
        let rows = || found.series.calm(from, to);
        let merged = merged(rows().map(|row| row.latencies.as_str()))?;
        (rows().count() >= CALM).then_some(merged)
    };
    let (verdict, text) = match (tail(1), tail(3)) {
        (Some(second), Some(last)) => {
            let at = |histogram: &hdrhistogram::Histogram<u64>| histogram.value_at_quantile(0.999);
            #[expect(clippy::cast_precision_loss, reason = "microseconds")]
            let times = at(&last) as f64 / (at(&second) as f64).max(1.0);
            let text = format!("{times:.2}: {} us after {} us", at(&last), at(&second));
            (Verdict::of(times <= 1.2), text)
        }
        _ => {
            let text = format!("a quarter has fewer than {CALM} seconds without a fault");
            (Verdict::Inconclusive, text)
        }
    };
    Check::new("steady.latency", verdict, required, text)
}
