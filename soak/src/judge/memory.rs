//! Memory: the slope of what is resident, and the allocator's figure at quiescent points.
//!
//! Judged is `RssAnon`, the part of resident memory that is heap and stacks: where a leak is. The rest of
//! it is of files and of sessions. The sessions' is held to equality at each quiescent point, and to be
//! seen beside: RSS, PSS and `RssShmem` are in `metrics.csv`, the charts and the text of the check.

use std::time::Duration;

use super::warm_up;
use crate::args::SoakArgs;
use crate::quiescent::Point;
use crate::run::Measured;
use crate::sampler::Usage;
use crate::stats::{Slope, block_medians, mean, median, theil_sen_of_dependent};
use crate::storm::Fault;
use crate::verdict::{Check, Verdict};

/// Bytes of a page: the least that resident memory grows by.
const PAGE: f64 = 4096.0;
/// Seconds of which the median is one point of the slope: a reading resembles the one a second before,
/// and tells nothing new.
const BLOCK: f64 = 60.0;
/// Blocks at either end whose median is the level there.
const ENDS: usize = 3;
/// Part of resident memory that a day may add.
const A_DAY: f64 = 0.02;
/// Bytes that an hour may add.
const AN_HOUR: f64 = 1_048_576.0;
/// Hours that memory must be watched for.
const SETTLED: f64 = 1.0 / 6.0;
/// What memory at rest may rise by, whatever can be told of its slope: a part, and bytes; the larger
/// holds.
const GROSS: (f64, u64) = (0.25, 16 << 20);
/// Bytes by which the allocator's figure at rest may lie above the first.
const ALLOCATED: u64 = 64 * 1024;
/// What has to be done where the gateway has no such figure.
const COUNTED: &str = "the gateway does not count what it allocates: it is built to with cargo build \
                       --release -p ipc-gateway --features counted";

/// The checks.
pub(super) fn checks(found: &Measured, args: &SoakArgs) -> Vec<Check> {
    vec![resident(found, args), allocated(found, args)]
}

/// When a gateway was there first, and when its warm-up is over. One that was started later warms up
/// later.
fn warm(found: &Measured, args: &SoakArgs, pid: u32) -> (u64, u64) {
    let mut used = found.series.rows.iter();
    let born = used.find(|row| row.usage.is_some_and(|usage| usage.pid == pid));
    let born = born.map_or(0, |row| row.second);
    let length = args.duration.0.saturating_sub(Duration::from_secs(born));
    (born, born + warm_up(length))
}

/// The slope of the memory of the gateway that lived last, and its rise at rest.
fn resident(found: &Measured, args: &SoakArgs) -> Check {
    let rows = &found.series.rows;
    let used = rows.iter().filter_map(|row| Some((row.second, row.usage?)));
    let last = used.clone().map(|(_, usage)| usage.pid).next_back();
    let (born, from) = warm(found, args, last.unwrap_or(0));
    let used = used.filter(|(second, usage)| Some(usage.pid) == last && *second >= from);
    let series = |pick: fn(&Usage) -> u64| -> Vec<(f64, f64)> {
        let points = used.clone();
        #[expect(
            clippy::cast_precision_loss,
            reason = "bytes and seconds are far below 2^52"
        )]
        let points = points.map(|(second, usage)| (second as f64, pick(&usage) as f64));
        points.collect()
    };
    let required = format!(
        "heap and stacks (RssAnon) rise by less than 2 % of resident memory a day and less than \
         1 MiB/h, at 95 % confidence and where as little could be told, after a warm-up of {} s; at \
         rest by at most {} % or {} MiB, whichever is more",
        from - born,
        GROSS.0 * 100.0,
        GROSS.1 >> 20
    );
    let whole = series(|usage| usage.resident);
    let level = mean(&whole.iter().map(|point| point.1).collect::<Vec<_>>());
    let judged = level.and_then(|level| judge_series(&series(|usage| usage.anonymous), level));
    let (mut verdict, mut text) =
        judged.unwrap_or_else(|| (Verdict::Inconclusive, "too few samples".to_owned()));
    let points = found.points.iter();
    let points = points.filter(|point| Some(point.pid) == last && point.second >= from);
    let points: Vec<&Point> = points.collect();
    if let [first, .., last] = points.as_slice() {
        if is_gross(first.anonymous, last.anonymous) {
            verdict = Verdict::Fail;
        }
        text.push_str(&format!(
            "; at rest {} KiB at {} s and {} KiB at {} s",
            first.anonymous >> 10,
            first.second,
            last.anonymous >> 10,
            last.second
        ));
    }
    let beside = [
        ("RSS", whole),
        ("PSS", series(|usage| usage.proportional)),
        ("RssShmem, of the sessions", series(|usage| usage.shared)),
    ];
    let beside = beside.iter().filter_map(|(name, points)| {
        let slope = course(points)?.slope;
        Some(format!("{name} {}", per_hour(slope)))
    });
    let beside = beside.collect::<Vec<_>>().join(", ");
    if !beside.is_empty() {
        text.push_str(&format!("; beside it, not judged: {beside}"));
    }
    Check::new("steady.memory", verdict, required, text)
}

/// Whether memory at rest has risen by what no warm-up explains.
fn is_gross(first: u64, last: u64) -> bool {
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "bytes are far below 2^52"
    )]
    let part = (first as f64 * GROSS.0) as u64;
    last > first + part.max(GROSS.1)
}

/// What readings a second come to.
#[derive(Clone, Copy, Debug)]
struct Course {
    /// An hour.
    slope: Slope,
    /// What the medians of blocks rise or fall by where they do.
    step: f64,
    /// From the first blocks to the last.
    rise: f64,
}

/// The course of readings a second, from the medians of blocks.
fn course(points: &[(f64, f64)]) -> Option<Course> {
    let blocks = block_medians(points, BLOCK);
    let few = ENDS.min(blocks.len());
    let level = |blocks: &[(f64, f64)]| {
        let mut values: Vec<f64> = blocks.iter().map(|block| block.1).collect();
        values.sort_unstable_by(f64::total_cmp);
        median(&values)
    };
    let (first, _) = blocks.split_at_checked(few)?;
    let (_, last) = blocks.split_at_checked(blocks.len() - few)?;
    let values = blocks.iter().zip(blocks.iter().skip(1));
    let mut steps: Vec<f64> = values
        .map(|(one, next)| (next.1 - one.1).abs())
        .filter(|step| *step > 0.0)
        .collect();
    steps.sort_unstable_by(f64::total_cmp);
    let step = median(&steps).unwrap_or(0.0).max(PAGE);
    let hours: Vec<(f64, f64)> = blocks.iter().map(|(x, y)| (x / 3600.0, *y)).collect();
    Some(Course {
        slope: theil_sen_of_dependent(&hours)?,
        step,
        rise: level(last)? - level(first)?,
    })
}

/// Both limits must hold, and as little as the limit must have been to be told: half of the interval,
/// and one step of the allocator, are at most the limit. A step near the end moves no median of slopes,
/// so the end may not lie above the start by more than the limit allows either.
fn judge_series(points: &[(f64, f64)], resident: f64) -> Option<(Verdict, String)> {
    let hours = (points.last()?.0 - points.first()?.0) / 3600.0;
    let level = mean(&points.iter().map(|point| point.1).collect::<Vec<_>>())?;
    let Course { slope, step, rise } = course(points)?;
    let daily = A_DAY * resident / 24.0;
    let limit = daily.min(AN_HOUR);
    let half = (slope.high - slope.low) / 2.0;
    let detectable = half.max(step / hours.max(f64::MIN_POSITIVE));
    let verdict = if hours < SETTLED {
        // What the process takes once for good is not told from what it takes again and again.
        Verdict::Inconclusive
    } else if slope.low > limit {
        Verdict::Fail
    } else if slope.high <= limit && detectable <= limit && rise <= limit * hours {
        Verdict::Pass
    } else {
        Verdict::Inconclusive
    };
    let text = format!(
        "RssAnon {} at {:.0} KiB over {:.0} min, from medians of {BLOCK} s; limit {:.1} KiB/h (2 % of \
         RSS a day is {:.1}, 1 MiB/h is 1024); the least that could be told is {:.1} KiB/h",
        per_hour(slope),
        level / 1024.0,
        hours * 60.0,
        limit / 1024.0,
        daily / 1024.0,
        detectable / 1024.0,
    );
    Some((verdict, text))
}

/// A slope in words.
fn per_hour(slope: Slope) -> String {
    let kib = |bytes: f64| bytes / 1024.0;
    let (middle, low, high) = (kib(slope.slope), kib(slope.low), kib(slope.high));
    format!("{middle:+.1} KiB/h ({low:+.1} to {high:+.1})")
}

/// When every kind of fault that a gateway outlives has come and healed since it was there; none if one
/// has not.
fn tried(found: &Measured, args: &SoakArgs, born: u64) -> Option<u64> {
    let kinds = Fault::of(args.faults).iter();
    let mut kinds = kinds.filter(|fault| **fault != Fault::GatewayRestarted);
    kinds.try_fold(born, |latest, fault| {
        let spans = found.series.spans.iter();
        let mut spans = spans.filter(|span| span.what == fault.name() && span.from >= born);
        Some(latest.max(spans.find_map(|span| span.to)?))
    })
}

/// What the allocator has handed out, at rest: the same at each point of a gateway's life. Buffers grow
/// once to what they need, with the load and with each kind of fault, so the first point after the
/// warm-up and one fault of each kind is what the others are held to.
fn allocated(found: &Measured, args: &SoakArgs) -> Check {
    let required = format!(
        "at each quiescent point the allocator's figure is at most {} KiB above that of the first one \
         after the warm-up and one fault of each kind, of the same process",
        ALLOCATED >> 10
    );
    let check = |verdict, text| Check::new("steady.allocated", verdict, required, text);
    if found.points.iter().all(|point| point.allocated.is_none()) {
        let none = found.points.is_empty();
        let text = if none { "there was no point" } else { COUNTED };
        return check(Verdict::Inconclusive, text.to_owned());
    }
    let (mut verdict, mut said) = (Verdict::Inconclusive, Vec::new());
    for life in found.points.chunk_by(|one, next| one.pid == next.pid) {
        let Some(pid) = life.first().map(|point| point.pid) else {
            continue;
        };
        let (born, from) = warm(found, args, pid);
        let from = tried(found, args, born).map_or(u64::MAX, |tried| from.max(tried));
        let points = life.iter().filter(|point| point.second >= from);
        let points: Vec<(u64, u64)> = points
            .filter_map(|point| Some((point.second, point.allocated?)))
            .collect();
        let (judged, text) = judge_points(&points);
        // Of lives that cannot tell and one that can, the latter counts.
        verdict = match (verdict, judged) {
            (Verdict::Fail, _) | (_, Verdict::Fail) => Verdict::Fail,
            (Verdict::Pass, _) | (_, Verdict::Pass) => Verdict::Pass,
            _ => Verdict::Inconclusive,
        };
        said.push(format!("process {pid}: {text}"));
    }
    check(verdict, said.join("; "))
}

/// Of one process: seconds, and bytes at each. What falls is no leak: a connection that is not there, or
/// a new one, has smaller buffers.
fn judge_points(points: &[(u64, u64)]) -> (Verdict, String) {
    let [(_, first), rest @ ..] = points else {
        let text = "no point after the warm-up and one fault of each kind";
        return (Verdict::Inconclusive, text.to_owned());
    };
    let bytes = || rest.iter().map(|(_, bytes)| *bytes);
    let (Some(least), Some(most)) = (bytes().min(), bytes().max()) else {
        let text = "only one point after the warm-up and one fault of each kind";
        return (Verdict::Inconclusive, text.to_owned());
    };
    let text = format!(
        "{first} bytes at first, {least} to {most} at the {} points after it",
        rest.len()
    );
    (Verdict::of(most.saturating_sub(*first) <= ALLOCATED), text)
}

#[cfg(test)]
mod tests;
