//! What each kind of event leaves behind, in bytes: a leak that hours of sound traffic would not
//! show is plain after some million timeouts.
//!
//! | file | what it is |
//! |---|---|
//! | `kind` | the kinds of events, and how each is made |
//! | `judge` | resident memory over events, and what that comes to |

mod judge;
mod kind;

use std::io;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::args::EventsArgs;
use crate::evidence::{Evidence, Sink};
use crate::part::{Interrupt, SoakError};
use crate::sampler::{Counters, resident};
use crate::stage::{Build, CONNECTIONS, Stage};
use crate::verdict::{Check, Verdict};
use crate::{complain, report, say};

use kind::{Kind, Maker};

/// Rounds after the warm-up; resident memory is read after each.
const ROUNDS: u64 = 8;
/// Part of the events that are made before the first reading.
const WARM_UP: u64 = 4;
/// Series of rounds of which each must show a leak. What the allocator keeps steps up now and then and
/// stays there, by more than nine readings that happen to rise can tell from a leak; a leak goes on in
/// the next series too.
const SERIES: u32 = 3;
/// Longest time for the gateway to come to rest.
const REST: Duration = Duration::from_secs(20);
/// Quotas that do not get in the way, and requests that are sent although nobody answers.
const CONFIG: &str = "[workers]\nmax_queue_delay = \"0s\"\n\n\
                      [control.quota]\nattach_rate = 1000000\n";

/// Runs all kinds; returns the page and the verdict.
pub(crate) fn run(args: &EventsArgs) -> Result<(String, Verdict), SoakError> {
    let told = configuration(args);
    let artifact = report::begin(&args.artifacts, "soak-events", &args.programs, told)?;
    let evidence = Evidence::of(&artifact);
    complain(&format!("evidence in {}", evidence.directory().display()));
    let interrupt = Interrupt::listen()?;
    let readings = evidence.sink("events.csv");
    readings.line("kind,events,rss_bytes");
    let mut checks = Vec::new();
    for kind in Kind::ALL {
        let count = kind.count(args);
        if count == 0 {
            continue;
        }
        match measure(kind, count, args, &evidence, &readings, &interrupt) {
            Ok(check) => checks.push(check),
            Err(SoakError::Interrupted) => {
                let text = "it was interrupted";
                let required = kind.required(args.limit);
                checks.push(Check::new(kind.id(), Verdict::Inconclusive, required, text));
                break;
            }
            Err(error @ SoakError::Start(..)) => return Err(error),
            Err(error) => {
                let (required, text) = (kind.required(args.limit), error.to_string());
                checks.push(Check::new(kind.id(), Verdict::Fail, required, text));
            }
        }
    }
    readings.flush();
    let head = format!("## ipc-soak events, scale {}\n", args.scale);
    let tail = "Files: events.csv (resident memory after each round), logs of each process.\n";
    Ok(report::conclude(artifact, &evidence, checks, &head, tail))
}

fn configuration(args: &EventsArgs) -> Value {
    let counts = Kind::ALL.map(|kind| (kind.name(), kind.count(args)));
    let counts: serde_json::Map<String, Value> = counts
        .into_iter()
        .map(|(name, count)| (name.to_owned(), Value::from(count)))
        .collect();
    json!({ "scale": args.scale, "limit_bytes": args.limit, "counts": counts })
}

/// Makes so many events of a kind on a gateway of their own.
fn measure(
    kind: Kind,
    count: u64,
    args: &EventsArgs,
    evidence: &Evidence,
    readings: &Sink,
    interrupt: &Interrupt,
) -> Result<Check, SoakError> {
    let config = tempfile::NamedTempFile::new()?;
    std::fs::write(config.path(), CONFIG)?;
    let logs = evidence.directory().join(kind.name());
    if let Err(error) = std::fs::create_dir(&logs) {
        evidence.failed(kind.name(), error);
    }
    let logs = evidence.inside(kind.name());
    let build = Build {
        programs: &args.programs,
        evidence: Some(&logs),
        router: kind.router_flags(),
        silent: kind == Kind::Timeouts,
        proxied: kind == Kind::Reconnects,
        config: Some(config.path()),
    };
    let mut stage = Stage::build(&build, interrupt)?;
    let mut maker = Maker::start(kind, &stage, args, interrupt)?;
    maker.make((count / WARM_UP).max(1), &mut stage, interrupt)?;
    at_rest(&stage, maker.sessions(), interrupt)?;
    let mut check = confirmed(|| {
        let points = series(kind, count, &mut stage, &mut maker, readings, interrupt)?;
        Ok(judge::judge(kind, args.limit, &points))
    })?;
    maker.end(interrupt)?;
    let ended = stage.end(interrupt)?;
    if !ended.in_order || ended.panics > 0 {
        check.verdict = Verdict::Fail;
        let what = format!("; gateway {}, {} panics", ended.how, ended.panics);
        check.found.push_str(&what);
    }
    say(&format!(
        "{}: {} ({})",
        kind.name(),
        check.found,
        check.verdict
    ));
    Ok(check)
}

/// The first series that passes, or the last. A failure that the next series does not show, and does
/// not clear either, leaves it open.
fn confirmed(mut series: impl FnMut() -> Result<Check, SoakError>) -> Result<Check, SoakError> {
    let mut check = series()?;
    for before in 1..SERIES {
        if check.verdict != Verdict::Fail {
            break;
        }
        complain(&format!("{}: {}; once more", check.name, check.found));
        check = series()?;
        let what = format!("; it rose by more than it may in {before} series before");
        check.found.push_str(&what);
    }
    Ok(check)
}

/// Makes so many events in rounds; returns resident memory after so many.
fn series(
    kind: Kind,
    count: u64,
    stage: &mut Stage,
    maker: &mut Maker,
    readings: &Sink,
    interrupt: &Interrupt,
) -> Result<Vec<(u64, u64)>, SoakError> {
    let first = resident(stage.gateway.pid())?;
    let mut points = vec![(0, first)];
    let (mut made, begun) = (0, Instant::now());
    for round in 1..=ROUNDS {
        made += maker.make((count / ROUNDS).max(1), stage, interrupt)?;
        at_rest(stage, maker.sessions(), interrupt)?;
        let now = resident(stage.gateway.pid())?;
        points.push((made, now));
        readings.line(&format!("{},{made},{now}", kind.name()));
        progress(kind, round, made, count, begun.elapsed());
    }
    Ok(points)
}

/// Says how far it is, and how long it takes still.
fn progress(kind: Kind, round: u64, made: u64, count: u64, elapsed: Duration) {
    let left = elapsed.mul_f64(f64::from(u32::try_from(ROUNDS - round).unwrap_or(0)))
        / u32::try_from(round).unwrap_or(1);
    let left = crate::progress::clock(left);
    complain(&format!("{}: {made} of {count}, {left} left", kind.name()));
}

/// Waits until nothing is on its way and what has ended is gone.
fn at_rest(stage: &Stage, sessions: u64, interrupt: &Interrupt) -> Result<(), SoakError> {
    let rests = interrupt.until(REST, || {
        let counters = Counters::take(&stage.socket)?;
        Ok(counters.books.in_flight == 0
            && counters.books.sessions == sessions
            && counters.sum("ipcgw_timers") == 0
            && counters.sum("ipcgw_returning_bytes") == 0
            && counters.sum("ipcgw_pending_clients") == 0
            && counters.sum("ipcgw_nats_connected") == CONNECTIONS)
    })?;
    match rests {
        Some(_) => Ok(()),
        None => Err(SoakError::Os(io::Error::other(format!(
            "the gateway did not come to rest within {REST:?}"
        )))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How often a series is made that ends with these verdicts, and what it comes to.
    fn series(verdicts: &[Verdict]) -> (usize, Verdict, String) {
        let mut made = 0;
        let check = confirmed(|| {
            let verdict = verdicts[made];
            made += 1;
            Ok(Check::new("events.timeouts", verdict, String::new(), ""))
        });
        let check = check.unwrap();
        (made, check.verdict, check.found)
    }

    #[test]
    fn a_leak_goes_on_in_every_series_and_a_step_does_not() {
        use Verdict::{Fail, Inconclusive, Pass};
        let (made, verdict, _) = series(&[Fail, Fail, Fail]);
        assert_eq!((made, verdict), (3, Fail));
        let (made, verdict, found) = series(&[Fail, Pass]);
        assert_eq!((made, verdict), (2, Pass));
        assert!(found.contains("in 1 series before"), "{found}");
        let (made, verdict, _) = series(&[Fail, Fail, Inconclusive]);
        assert_eq!((made, verdict), (3, Inconclusive));
        assert_eq!(series(&[Inconclusive]).0, 1);
    }
}
