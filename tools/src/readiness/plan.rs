//! What must be shown, by what, and what it counts.

use serde::Serialize;

use crate::need::Need;

/// One of the two axes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Axis {
    /// The gateway by itself.
    Core,
    /// The gateway between clients, nats-server and Router.
    System,
}

impl Axis {
    pub(crate) const ALL: [Self; 2] = [Self::Core, Self::System];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Core => "Core",
            Self::System => "System",
        }
    }

    /// Hundredths of the whole.
    pub(crate) const fn percent(self) -> u32 {
        match self {
            Self::Core => 40,
            Self::System => 60,
        }
    }

    /// Its areas, which count the same.
    pub(crate) const fn areas(self) -> &'static [&'static str] {
        match self {
            Self::Core => &["memory safety", "stability", "performance"],
            Self::System => &[
                "Router end to end",
                "error semantics",
                "timeouts",
                "reconnect",
                "backpressure",
            ],
        }
    }
}

/// Which checks of an artifact count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// All of them, as one.
    Whole,
    /// Those of a category, of which there must be so many.
    Category(&'static str, usize),
}

/// One line of the report.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) axis: Axis,
    pub(crate) area: &'static str,
    pub(crate) name: &'static str,
    /// The kind of artifact that shows it.
    pub(crate) kind: &'static str,
    /// Which of that kind it is about: JSON pointers into the configuration, and values.
    pub(crate) when: &'static [(&'static str, &'static str)],
    /// What must be so, that it is enough.
    pub(crate) needs: &'static [Need],
    pub(crate) wanted: Wanted,
    /// Whether it must hold before the gateway runs where it does no harm.
    pub(crate) staging: bool,
    /// What writes the artifact.
    pub(crate) command: &'static str,
}

/// A line of the core axis.
const fn core(
    area: &'static str,
    name: &'static str,
    kind: &'static str,
    needs: &'static [Need],
    command: &'static str,
) -> Line {
    Line {
        axis: Axis::Core,
        area,
        name,
        kind,
        when: &[],
        needs,
        wanted: Wanted::Whole,
        staging: false,
        command,
    }
}

const fn staging(line: Line) -> Line {
    Line {
        staging: true,
        ..line
    }
}

const fn when(line: Line, when: &'static [(&'static str, &'static str)]) -> Line {
    Line { when, ..line }
}

/// A line that checks of one category of the end-to-end run show.
const fn e2e(
    area: &'static str,
    name: &'static str,
    category: &'static str,
    checks: usize,
) -> Line {
    Line {
        axis: Axis::System,
        area,
        name,
        kind: "e2e",
        when: &[],
        needs: &[Need::Release],
        wanted: Wanted::Category(category, checks),
        staging: true,
        command: "target/release/e2e",
    }
}

const MEMORY: &str = "memory safety";
const STABILITY: &str = "stability";
const PERFORMANCE: &str = "performance";
/// Half an hour, which is what the slopes need, at half of the capacity.
const SOAK: &[Need] = &[
    Need::Release,
    Need::AtLeast("/duration_s", 1800.0, "seconds"),
    Need::Says("/rate", "50%"),
];
/// So many that 337 bytes each cannot be missed, and none left out; of a gateway that counts, for resident
/// memory hides a byte for each. A few hundred reconnects cannot show half a byte, and are held to 128.
const EVENTS: &[Need] = &[
    Need::Release,
    Need::AtMost("/limit_bytes", 0.5, "bytes an event"),
    Need::AtLeast("/counts/timeouts", 1e6, "timeouts"),
    Need::AtLeast("/counts/attaches", 1e5, "attaches"),
    Need::AtLeast("/counts/late-replies", 1e5, "late replies"),
    Need::AtLeast("/counts/reconnects", 200.0, "reconnects"),
    Need::AtLeast("/counts/violations", 1e5, "violations"),
    Need::Counted("events.timeouts", 0.5),
    Need::Counted("events.attaches", 0.5),
    Need::Counted("events.late-replies", 0.5),
    Need::Counted("events.reconnects", 128.0),
    Need::Counted("events.violations", 0.5),
];
/// The form of the comparisons that their targets are about, with the contenders and cells that the hardest
/// of them need.
const THROUGH_NATS: &[Need] = &[
    Need::Release,
    Need::AtLeast("/rounds", 5.0, "rounds"),
    Need::AtLeast("/seconds", 2.0, "seconds"),
    Need::Check("256x1x1.p50-over-direct-request"),
    Need::Check("256x4x1.rate-over-direct-request"),
    Need::Check("256x16x1.CPU-over-direct-request"),
    Need::Check("256x64x1.rate-over-no-IPC"),
    Need::Check("256x4x256.rate-over-raw"),
    Need::Check("256x4x256.rate-over-uds"),
];
const WITHOUT_NATS: &[Need] = &[
    Need::Release,
    Need::AtLeast("/rounds", 5.0, "rounds"),
    Need::AtLeast("/seconds", 2.0, "seconds"),
    Need::Check("64x1x256.rate"),
    Need::Check("64x1x256.rate-over-uds"),
    Need::Check("64.best-rate-iceoryx2"),
    Need::Check("spinning-64x1x1.p50-over-iceoryx2"),
    Need::Check("asleep-64x1x1.p50-over-two-wake-ups"),
];

/// Every line.
pub(crate) static PLAN: &[Line] = &[
    staging(core(
        MEMORY,
        "every interleaving of the models of rings and bells",
        "loom",
        &[Need::Ran("tools/proofs.sh loom")],
        "readiness record loom -- tools/proofs.sh loom",
    )),
    staging(core(
        MEMORY,
        "rings, arena and clients under AddressSanitizer",
        "asan",
        &[Need::Ran("tools/proofs.sh asan")],
        "readiness record asan -- tools/proofs.sh asan",
    )),
    staging(core(
        MEMORY,
        "the gateway under AddressSanitizer, with every kind of fault",
        "asan-gateway",
        &[Need::Ran("tools/proofs.sh asan-gateway")],
        "readiness record asan-gateway -- tools/proofs.sh asan-gateway",
    )),
    staging(core(
        MEMORY,
        "the gateway under valgrind, with every kind of fault",
        "valgrind",
        &[Need::Ran("tools/proofs.sh valgrind")],
        "readiness record valgrind -- tools/proofs.sh valgrind",
    )),
    staging(core(
        MEMORY,
        "fuzz targets of all that a peer can send",
        "fuzz",
        &[Need::Ran("tools/proofs.sh fuzz")],
        "readiness record fuzz -- tools/proofs.sh fuzz",
    )),
    staging(core(
        STABILITY,
        "the worker simulated from seeds",
        "simulate",
        &[Need::Ran("simulate --seeds 1000")],
        "readiness record simulate -- target/release/simulate --seeds 1000",
    )),
    staging(core(
        STABILITY,
        "the 45 faults",
        "faults",
        &[Need::Ran(
            "env RUST_TEST_THREADS=1 cargo test -p ipc-gateway --test tests faults::",
        )],
        "readiness record faults -- env RUST_TEST_THREADS=1 cargo test -p ipc-gateway --test tests \
         faults::",
    )),
    core(
        STABILITY,
        "bytes for each timeout, attach, late reply, reconnect, violation",
        "soak-events",
        EVENTS,
        "IPC_SOAK_GATEWAY=target/release/counted/ipc-gateway target/release/ipc-soak events",
    ),
    when(
        core(
            STABILITY,
            "half of capacity for half an hour",
            "soak",
            SOAK,
            "target/release/ipc-soak --duration 30m --rate 50% --faults none",
        ),
        &[("/faults", "none")],
    ),
    when(
        core(
            STABILITY,
            "a storm of faults for half an hour",
            "soak",
            SOAK,
            "target/release/ipc-soak --duration 30m --rate 50% --faults storm",
        ),
        &[("/faults", "storm")],
    ),
    core(
        PERFORMANCE,
        "beside other ways to do the same, through NATS",
        "compare-nats",
        THROUGH_NATS,
        "target/release/compare nats --rounds 5 --artifacts artifacts",
    ),
    core(
        PERFORMANCE,
        "beside other ways to do the same, without NATS",
        "compare-local",
        WITHOUT_NATS,
        "target/release/compare local --rounds 5 --artifacts artifacts",
    ),
    core(
        PERFORMANCE,
        "instructions of the hot paths",
        "instructions",
        &[Need::Ran("tools/profile.sh instructions --check")],
        "readiness record instructions -- tools/profile.sh instructions --check",
    ),
    e2e(
        "Router end to end",
        "subjects and headers, 6 checks",
        "subjects",
        6,
    ),
    Line {
        axis: Axis::System,
        area: "Router end to end",
        name: "the contract, as the gateway really keeps it",
        kind: "contract",
        when: &[],
        needs: &[Need::Release],
        wanted: Wanted::Whole,
        staging: true,
        command: "target/release/contract",
    },
    Line {
        staging: false,
        needs: &[
            Need::Release,
            Need::AtLeast("/slo/rate", 1000.0, "requests a second"),
            Need::AtLeast("/slo/seconds", 10.0, "seconds"),
        ],
        ..e2e("Router end to end", "service levels", "slo", 4)
    },
    e2e("error semantics", "errors, 6 checks", "errors", 6),
    e2e(
        "timeouts",
        "timeouts and late replies, 7 checks",
        "timeouts",
        7,
    ),
    e2e("reconnect", "reconnect storm, 7 checks", "reconnect", 7),
    e2e("backpressure", "backpressure, 7 checks", "backpressure", 7),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_area_has_a_line_and_every_line_an_area() {
        for axis in Axis::ALL {
            for area in axis.areas() {
                let lines = PLAN.iter().filter(|line| line.axis == axis);
                assert!(lines.clone().any(|line| line.area == *area), "{area}");
            }
        }
        for line in PLAN {
            assert!(line.axis.areas().contains(&line.area), "{}", line.name);
        }
        let percent: u32 = Axis::ALL.into_iter().map(Axis::percent).sum();
        assert_eq!(percent, 100);
    }

    #[test]
    fn the_33_checks_of_the_contract_are_all_asked_for() {
        let checks = PLAN.iter().filter_map(|line| match line.wanted {
            Wanted::Category(category, checks) if category != "slo" => Some(checks),
            _ => None,
        });
        assert_eq!(checks.sum::<usize>(), 33);
    }
}
