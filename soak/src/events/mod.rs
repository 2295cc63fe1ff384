//! What each kind of event leaves behind, in bytes: a leak that hours of sound traffic would not
//! show is plain after some million timeouts.
//!
//! | file | what it is |
//! |---|---|
//! | `kind` | the kinds of events, and how each is made |
//! | `judge` | memory over events, and what that comes to |

mod judge;
mod kind;

use std::io;
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

use crate::args::{EventsArgs, LIMIT};
use crate::evidence::{Evidence, Sink};
use crate::part::{Interrupt, SoakError};
use crate::sampler::{Counters, resident};
use crate::stage::{Build, CONNECTIONS, Stage};
use crate::verdict::{Check, Verdict};
use crate::{complain, report, say};

use kind::{Kind, Maker};

/// Rounds after the warm-up; memory is read after each.
const ROUNDS: u64 = 8;
/// Part of the events that are made before the first reading.
const WARM_UP: u64 = 4;
/// Series of rounds of which each must show a leak, where resident memory is all there is. What the
/// allocator keeps steps up now and then and stays there, by more than nine readings that happen to rise
/// can tell from a leak; a leak goes on in the next series too.
const SERIES: u32 = 3;
/// Bytes by which what is allocated may differ between two looks at a gateway at rest.
const STEADY: u64 = 1024;
/// Time between two such looks.
const LOOK: Duration = Duration::from_millis(100);
/// Longest time for the gateway to come to rest.
const REST: Duration = Duration::from_secs(20);
/// Names of the figures of a check: what it was held to, and by what memory was measured.
const LIMIT_BYTES: &str = "limit_bytes";
const GAUGE: &str = "gauge";
/// Quotas that do not get in the way, and requests that are sent although nobody answers.
const CONFIG: &str = "[workers]\nmax_queue_delay = \"0s\"\n\n\
                      [control.quota]\nattach_rate = 1000000\n";

/// By what memory is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gauge {
    /// What the allocator has handed out and not got back, where the gateway counts it.
    Allocated,
    /// Resident memory, which moves in steps of the allocator's.
    Resident,
}

impl Gauge {
    /// The best that this gateway has.
    fn of(stage: &Stage) -> io::Result<Self> {
        let counted = Counters::take(&stage.socket)?.allocated().is_some();
        Ok(if counted {
            Self::Allocated
        } else {
            Self::Resident
        })
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Allocated => "what is allocated",
            Self::Resident => "resident memory",
        }
    }

    /// The same for programs.
    const fn key(self) -> &'static str {
        match self {
            Self::Allocated => "allocated",
            Self::Resident => "resident",
        }
    }

    /// Bytes by which it differs at rest from one time to the next without any leak: of what is
    /// allocated, the buffers of whoever looks; of what is resident, what the allocator takes at once,
    /// so much of which may be unused when the first reading is made.
    const fn noise(self) -> f64 {
        match self {
            Self::Allocated => 4096.0,
            Self::Resident => 2_097_152.0,
        }
    }
}

/// Runs all kinds; returns the page and the verdict.
pub(crate) fn run(args: &EventsArgs) -> Result<(String, Verdict), SoakError> {
    let told = configuration(args);
    let artifact = report::begin(&args.artifacts, "soak-events", &args.programs, told)?;
    let evidence = Evidence::of(&artifact);
    complain(&format!("evidence in {}", evidence.directory().display()));
    let interrupt = Interrupt::listen()?;
    let readings = evidence.sink("events.csv");
    readings.line("kind,events,rss_bytes,allocated_bytes");
    let mut checks = Vec::new();
    for kind in Kind::ALL {
        let count = kind.count(args);
        if count == 0 {
            let required = kind.required(args.limit, Gauge::Allocated);
            checks.push(Check::new(
                kind.id(),
                Verdict::Inconclusive,
                required,
                "not tried",
            ));
            continue;
        }
        match measure(kind, count, args, &evidence, &readings, &interrupt) {
            Ok(check) => checks.push(check),
            Err(SoakError::Interrupted) => {
                let text = "it was interrupted";
                let required = kind.required(args.limit, Gauge::Allocated);
                checks.push(Check::new(kind.id(), Verdict::Inconclusive, required, text));
                break;
            }
            Err(error @ SoakError::Start(..)) => return Err(error),
            Err(error) => {
                let required = kind.required(args.limit, Gauge::Allocated);
                let text = error.to_string();
                checks.push(Check::new(kind.id(), Verdict::Fail, required, text));
            }
        }
    }
    readings.flush();
    let raised = if args.limit > LIMIT {
        format!(
            ", with a limit of {} bytes, raised from {LIMIT}",
            args.limit
        )
    } else {
        String::new()
    };
    let results: Map<String, Value> = checks
        .iter()
        .map(|check| (check.name.to_owned(), check.figures.clone().into()))
        .collect();
    evidence.write("results.json", format!("{:#}\n", Value::from(results)));
    let head = format!(
        "## ipc-soak events, scale {}{raised}\n\n{}\n",
        args.scale,
        limits(&checks)
    );
    let tail = "Files: events.csv (memory after each round), results.json (the limit of each kind, and by \
                what memory was measured), logs of each process.\n";
    Ok(report::conclude(artifact, &evidence, checks, &head, tail))
}

/// What each kind was held to, as a line of the summary.
fn limits(checks: &[Check]) -> String {
    let held: Vec<String> = checks
        .iter()
        .filter_map(|check| {
            let limit = check.figures.get(LIMIT_BYTES)?;
            let gauge = check.figures.get(GAUGE)?.as_str()?;
            let (_, kind) = check.name.split_once('.')?;
            Some(format!("{kind} {limit} ({gauge})"))
        })
        .collect();
    if held.is_empty() {
        return "No kind was measured.".to_owned();
    }
    format!(
        "Most bytes that one event may leave behind, and by what memory was measured: {}. So few \
         reconnects as are made cannot show less.",
        held.join(", ")
    )
}

fn configuration(args: &EventsArgs) -> Value {
    let counts = Kind::ALL.map(|kind| (kind.name(), kind.count(args)));
    let counts: Map<String, Value> = counts
        .into_iter()
        .map(|(name, count)| (name.to_owned(), Value::from(count)))
        .collect();
    json!({
        "scale": args.scale,
        "limit_bytes": args.limit,
        "limit_default_bytes": LIMIT,
        "counts": counts,
    })
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
    let gauge = Gauge::of(&stage)?;
    let mut made = || {
        let points = series(
            kind, count, gauge, &mut stage, &mut maker, readings, interrupt,
        )?;
        Ok(judge::judge(kind, args.limit, gauge, &points))
    };
    let mut check = match gauge {
        Gauge::Allocated => made()?,
        Gauge::Resident => confirmed(made)?,
    };
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

/// The first series unless it fails; then more of them. A failure that the next series does not show
/// leaves it open: it is no pass by having been repeated.
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
        if check.verdict != Verdict::Fail {
            check.verdict = Verdict::Inconclusive;
            check.found.push_str(", and not in this one");
        }
    }
    Ok(check)
}

/// Makes so many events in rounds; returns memory after so many.
fn series(
    kind: Kind,
    count: u64,
    gauge: Gauge,
    stage: &mut Stage,
    maker: &mut Maker,
    readings: &Sink,
    interrupt: &Interrupt,
) -> Result<Vec<(u64, u64)>, SoakError> {
    let read = |made, stage: &Stage, maker: &Maker| -> Result<(u64, u64), SoakError> {
        let allocated = at_rest(stage, maker.sessions(), interrupt)?;
        let resident = resident(stage.gateway.pid())?;
        let counted = allocated.map_or_else(String::new, |bytes| bytes.to_string());
        readings.line(&format!("{},{made},{resident},{counted}", kind.name()));
        let bytes = match gauge {
            Gauge::Allocated => allocated.unwrap_or(0),
            Gauge::Resident => resident,
        };
        Ok((made, bytes))
    };
    let mut points = vec![read(0, stage, maker)?];
    let (mut made, begun) = (0, Instant::now());
    for round in 1..=ROUNDS {
        made += maker.make((count / ROUNDS).max(1), stage, interrupt)?;
        points.push(read(made, stage, maker)?);
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

/// Waits until nothing is on its way, what has ended is gone, and what is allocated does not change any
/// more; returns the latter.
fn at_rest(stage: &Stage, sessions: u64, interrupt: &Interrupt) -> Result<Option<u64>, SoakError> {
    let (begun, mut last) = (Instant::now(), None);
    loop {
        let counters = Counters::take(&stage.socket)?;
        let rests = counters.books.in_flight == 0
            && counters.books.sessions == sessions
            && counters.sum("ipcgw_timers") == 0
            && counters.sum("ipcgw_returning_bytes") == 0
            && counters.sum("ipcgw_pending_clients") == 0
            && counters.sum("ipcgw_nats_connected") == CONNECTIONS;
        let allocated = counters.allocated();
        let is_steady = match (allocated, last) {
            (Some(now), Some(last)) => u64::abs_diff(now, last) <= STEADY,
            (now, _) => now.is_none(),
        };
        if rests && is_steady {
            return Ok(allocated);
        }
        if begun.elapsed() > REST {
            return Err(SoakError::Os(io::Error::other(format!(
                "the gateway did not come to rest within {REST:?}"
            ))));
        }
        last = allocated.filter(|_| rests);
        interrupt.pause(LOOK)?;
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
    fn a_leak_goes_on_in_every_series_and_a_failure_is_no_pass_by_repetition() {
        use Verdict::{Fail, Inconclusive, Pass};
        let (made, verdict, _) = series(&[Fail, Fail, Fail]);
        assert_eq!((made, verdict), (3, Fail));
        let (made, verdict, found) = series(&[Fail, Pass]);
        assert_eq!((made, verdict), (2, Inconclusive));
        assert!(
            found.contains("in 1 series before, and not in this one"),
            "{found}"
        );
        for last in [Pass, Inconclusive] {
            let (made, verdict, _) = series(&[Fail, Fail, last]);
            assert_eq!((made, verdict), (3, Inconclusive));
        }
        assert_eq!(series(&[Pass]), (1, Pass, String::new()));
        assert_eq!(series(&[Inconclusive]).0, 1);
    }

    #[test]
    fn the_summary_says_what_each_kind_was_held_to() {
        let held = |kind: Kind| {
            let points = [(0, 0), (1000, 0)];
            judge::judge(kind, LIMIT, Gauge::Allocated, &points)
        };
        let checks = [
            held(Kind::Timeouts),
            held(Kind::Reconnects),
            Check::new(Kind::Attaches.id(), Verdict::Inconclusive, "", "not tried"),
        ];
        let text = limits(&checks);
        let what = "measured: timeouts 0.5 (allocated), reconnects 128.0 (allocated). So few";
        assert!(text.contains(what), "{text}");
        assert_eq!(limits(&checks[2..]), "No kind was measured.");
    }
}
