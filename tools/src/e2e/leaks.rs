//! Whether many events leave memory behind in the gateway.

use core::time::Duration;

use ipc_tools::stage::{Failure, Report, Resources, pause};

use crate::scene::Scene;

/// What the client library keeps of each request that nobody answers, in bytes, unless its user takes
/// care: a check that would not see as much decides nothing.
const KNOWN: u64 = 337;
/// Bytes handed out by the gateway's allocator, from builds that count them.
const ALLOCATED: &str = "ipcgw_allocated_bytes";
/// Looks at what is handed out: a question itself needs memory for a moment.
const LOOKS: u32 = 5;
/// By so much resident memory steps up now and then without any leak (seen in one of six checks), and
/// so much of it may be unused: what the allocator takes at once.
const STEP: u64 = 2 * 1024 * 1024;
/// Rounds of events.
pub(crate) const ROUNDS: u64 = 5;
/// The first of them, which fill what is kept for later use: a buffer that holds what is on its way
/// grows to its last size in the second.
const WARM_UP: usize = 2;

/// What the gateway has at rest after so many events.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rest {
    events: u64,
    resources: Resources,
    /// None from a build that does not count.
    allocated: Option<u64>,
}

impl Rest {
    /// Looks at a gateway that rests.
    pub(crate) fn look(scene: &Scene, events: u64) -> Result<Self, Failure> {
        let mut allocated = allocated(scene)?;
        for _ in 1..LOOKS {
            pause(Duration::from_millis(10));
            allocated = allocated.min(self::allocated(scene)?);
        }
        Ok(Self {
            events,
            resources: scene.resources()?,
            allocated,
        })
    }
}

fn allocated(scene: &Scene) -> Result<Option<u64>, Failure> {
    scene.running()?.metric_if_any(ALLOCATED, "")
}

/// What memory is judged by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gauge {
    /// What the allocator has handed out and not got back.
    Allocated,
    /// What is resident.
    Resident,
}

impl Gauge {
    /// The finer one that the gateway has.
    pub(crate) fn of(scene: &Scene) -> Result<Self, Failure> {
        let counts = allocated(scene)?.is_some();
        Ok(if counts {
            Self::Allocated
        } else {
            Self::Resident
        })
    }

    /// How many events show a leak of [`KNOWN`] bytes each.
    pub(crate) const fn events_a_round(self) -> u64 {
        match self {
            Self::Allocated => 2000,
            Self::Resident => 8000,
        }
    }

    /// Bytes that may come and go by themselves.
    const fn grain(self) -> u64 {
        match self {
            Self::Allocated => 64 * 1024,
            Self::Resident => 2 * STEP,
        }
    }

    /// Bytes that a leak may fill before this shows it.
    const fn hidden(self) -> u64 {
        match self {
            Self::Allocated => 0,
            Self::Resident => STEP,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Allocated => "memory handed out by the allocator",
            Self::Resident => "resident memory",
        }
    }

    const fn reading(self, rest: &Rest) -> Option<u64> {
        match self {
            Self::Allocated => rest.allocated,
            Self::Resident => Some(rest.resources.rss_bytes),
        }
    }
}

/// What the gateway has must not grow from the end of the warm-up to the last round.
pub(crate) fn judge(report: &mut Report, gauge: Gauge, rounds: &[Rest], what: &str) {
    let rss: Vec<u64> = rounds.iter().map(|rest| rest.resources.rss_bytes).collect();
    let allocated: Vec<Option<u64>> = rounds.iter().map(|rest| rest.allocated).collect();
    report.figure("rss_bytes", rss);
    report.figure("allocated_bytes", allocated);
    let (is_right, text) = memory(gauge, rounds, what);
    report.must(is_right, text);
    if let (Some(first), Some(last)) = (rounds.get(WARM_UP - 1), rounds.last()) {
        report.equal("descriptors", &last.resources.fds, &first.resources.fds);
        report.equal("threads", &last.resources.threads, &first.resources.threads);
    }
}

/// Whether memory is as it was after the warm-up, and by how many bytes for each event it is not.
fn memory(gauge: Gauge, rounds: &[Rest], what: &str) -> (bool, String) {
    let readings: Option<Vec<u64>> = rounds.iter().map(|rest| gauge.reading(rest)).collect();
    let ends = (rounds.get(WARM_UP - 1), rounds.last());
    let (Some(readings), (Some(first), Some(last))) = (readings, ends) else {
        return (false, format!("{} could not be read", gauge.name()));
    };
    let (low, high) = (readings.get(WARM_UP - 1), readings.last());
    let grown = high.unwrap_or(&0).saturating_sub(*low.unwrap_or(&0));
    let events = last.events.saturating_sub(first.events);
    let each = |bytes: u64| bytes as f64 / events.max(1) as f64;
    let least = gauge.grain() + gauge.hidden();
    let text = format!(
        "{} after each round of {what} is {readings:?} bytes: {:.1} bytes more for each of the \
         last {events}; more than {:.1} would be told",
        gauge.name(),
        each(grown),
        each(least),
    );
    if least >= events.saturating_mul(KNOWN) {
        return (false, format!("{text}, which is too much to tell {KNOWN}"));
    }
    (grown <= gauge.grain(), text)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rounds of a check of this gauge, in which each event leaves so many bytes behind.
    fn rounds(gauge: Gauge, bytes: u64) -> Vec<Rest> {
        let rest = |round| {
            let events = round * gauge.events_a_round();
            Rest {
                events,
                resources: Resources {
                    rss_bytes: 30_000_000 + events * bytes,
                    fds: 20,
                    threads: 5,
                },
                allocated: (gauge == Gauge::Allocated).then_some(2_000_000 + events * bytes),
            }
        };
        (1..=ROUNDS).map(rest).collect()
    }

    #[test]
    fn a_leak_of_337_bytes_an_event_is_seen_by_either_gauge() {
        for gauge in [Gauge::Allocated, Gauge::Resident] {
            let (is_right, text) = memory(gauge, &rounds(gauge, 0), "timeouts");
            assert!(is_right, "{text}");
            let (is_right, text) = memory(gauge, &rounds(gauge, KNOWN), "timeouts");
            assert!(!is_right, "{text}");
            assert!(
                text.contains("337.0 bytes more for each of the last"),
                "{text}"
            );
        }
        let (is_right, text) = memory(Gauge::Allocated, &rounds(Gauge::Allocated, 25), "timeouts");
        assert!(!is_right, "{text}");
    }

    /// Resident memory grows by whole steps, the first of which the leak may find unused.
    #[test]
    fn a_leak_is_seen_behind_the_steps_of_the_allocator_and_steps_are_none() {
        let stepped = |bytes: u64| {
            let mut rounds = rounds(Gauge::Resident, 0);
            for rest in &mut rounds {
                rest.resources.rss_bytes += rest.events * bytes / STEP * STEP;
            }
            memory(Gauge::Resident, &rounds, "timeouts")
        };
        assert!(!stepped(KNOWN).0, "{}", stepped(KNOWN).1);
        let mut two = rounds(Gauge::Resident, 0);
        two[2].resources.rss_bytes += STEP;
        two[3].resources.rss_bytes += 2 * STEP;
        two[4].resources.rss_bytes += 2 * STEP;
        assert!(memory(Gauge::Resident, &two, "timeouts").0);
    }

    #[test]
    fn what_the_verdict_can_tell_is_in_its_text() {
        let (_, text) = memory(Gauge::Allocated, &rounds(Gauge::Allocated, 1), "timeouts");
        let what = "1.0 bytes more for each of the last 6000; more than 10.9 would be told";
        assert!(text.ends_with(what), "{text}");
    }

    #[test]
    fn too_few_events_to_see_it_are_no_pass() {
        let mut few = rounds(Gauge::Resident, 0);
        for rest in &mut few {
            rest.events /= 5;
        }
        let (is_right, text) = memory(Gauge::Resident, &few, "timeouts");
        assert!(
            !is_right && text.ends_with("too much to tell 337"),
            "{text}"
        );
        let (is_right, _) = memory(Gauge::Resident, &few[..1], "timeouts");
        assert!(!is_right, "one reading shows nothing");
        let (is_right, text) = memory(Gauge::Allocated, &few, "timeouts");
        assert!(!is_right && text.contains("could not be read"), "{text}");
    }

    #[test]
    fn what_shrinks_is_no_leak_and_descriptors_count_too() {
        let mut falling = rounds(Gauge::Resident, KNOWN);
        falling.reverse();
        for (rest, rising) in falling.iter_mut().zip(rounds(Gauge::Resident, 0)) {
            rest.events = rising.events;
        }
        assert!(memory(Gauge::Resident, &falling, "timeouts").0);
        let mut open = rounds(Gauge::Allocated, 0);
        open[4].resources.fds += 1;
        let mut report = Report::default();
        judge(&mut report, Gauge::Allocated, &open, "timeouts");
        let check = report.check(("a.1", "a", "n"), Ok(()));
        assert_eq!(check.seen(), "descriptors is 21, not 20");
    }
}
