//! What is drawn: the panels, their lines, and the points of each.

use plotters::style::RGBColor;

use crate::series::Row;

/// Points that a line has at most: as many as can be told apart.
const POINTS: usize = 800;

const BLUE: RGBColor = RGBColor(31, 99, 171);
const TEAL: RGBColor = RGBColor(20, 145, 130);
const AMBER: RGBColor = RGBColor(214, 126, 16);
const BRICK: RGBColor = RGBColor(190, 48, 38);
const VIOLET: RGBColor = RGBColor(120, 94, 190);
const GREY: RGBColor = RGBColor(150, 158, 168);

/// A line of a panel.
pub(super) struct Line {
    pub(super) name: &'static str,
    pub(super) colour: RGBColor,
    pub(super) points: Vec<(f64, f64)>,
}

/// One of the stacked diagrams.
pub(super) struct Panel {
    pub(super) title: &'static str,
    pub(super) unit: &'static str,
    pub(super) lines: Vec<Line>,
    pub(super) is_logarithmic: bool,
    pub(super) from_zero: bool,
}

/// The panels.
pub(super) fn panels(rows: &[Row]) -> Vec<Panel> {
    let line = |name, colour, value: &dyn Fn(&Row) -> Option<f64>, pick| Line {
        name,
        colour,
        points: thin(rows, value, pick),
    };
    let percentile = |at: usize| {
        move |row: &Row| {
            let micros = row.latency.get(at).copied().filter(|micros| *micros > 0)?;
            Some(number(micros) / 1000.0)
        }
    };
    let work: Vec<Option<[f64; 6]>> = work(rows);
    let busy = |part: usize| {
        let work = &work;
        move |row: &Row| {
            let second = usize::try_from(row.second).ok()?;
            work.get(second)?.as_ref()?.get(part).copied()
        }
    };
    let mib = |bytes: u64| number(bytes) / 1_048_576.0;
    let (p50, p99, p999) = (percentile(0), percentile(1), percentile(2));
    vec![
        Panel {
            title: "Throughput",
            unit: "completions per second",
            lines: vec![
                line("answered OK", BLUE, &|row| Some(number(row.ok)), mean),
                line(
                    "every other outcome",
                    BRICK,
                    &|row| Some(number(row.done.saturating_sub(row.ok))),
                    f64_max,
                ),
            ],
            is_logarithmic: false,
            from_zero: true,
        },
        Panel {
            title: "Latency from the intended send time, of what was answered",
            unit: "milliseconds (logarithmic)",
            lines: vec![
                line("p99.9", BRICK, &p999, f64_max),
                line("p99", AMBER, &p99, f64_max),
                line("p50", BLUE, &p50, mean),
            ],
            is_logarithmic: true,
            from_zero: false,
        },
        Panel {
            title: "Processor time",
            unit: "processors",
            lines: vec![
                line("gateway", BLUE, &busy(0), mean),
                line("nats-server", TEAL, &busy(1), mean),
                line("Router", AMBER, &busy(2), mean),
                line("clients", VIOLET, &busy(3), mean),
                line("idle", GREY, &busy(4), mean),
                line("taken by the host", BRICK, &busy(5), f64_max),
            ],
            is_logarithmic: false,
            from_zero: true,
        },
        Panel {
            title: "Requests that the gateway has, at one moment of each second",
            unit: "count (logarithmic)",
            lines: vec![
                line(
                    "limit of those on their way",
                    AMBER,
                    &|row| Some(number(row.usage?.gauges.limit?)),
                    f64_max,
                ),
                line(
                    "accepted and not completed",
                    BLUE,
                    &|row| Some(number(row.usage?.gauges.in_flight?)),
                    f64_max,
                ),
            ],
            is_logarithmic: true,
            from_zero: false,
        },
        Panel {
            title: "Memory of the gateway",
            unit: "MiB",
            lines: vec![
                line(
                    "resident (RSS)",
                    BLUE,
                    &|row| Some(mib(row.usage?.resident)),
                    f64_max,
                ),
                line(
                    "proportional (PSS)",
                    TEAL,
                    &|row| Some(mib(row.usage?.proportional)),
                    f64_max,
                ),
                line(
                    "heap and stacks (RssAnon)",
                    AMBER,
                    &|row| Some(mib(row.usage?.anonymous)),
                    f64_max,
                ),
                line(
                    "allocated",
                    BRICK,
                    &|row| Some(mib(row.usage?.gauges.allocated?)),
                    f64_max,
                ),
            ],
            is_logarithmic: false,
            from_zero: false,
        },
        Panel {
            title: "Descriptors and threads of the gateway",
            unit: "count",
            lines: vec![
                line(
                    "descriptors",
                    BLUE,
                    &|row| Some(number(row.usage?.descriptors)),
                    f64_max,
                ),
                line(
                    "threads",
                    AMBER,
                    &|row| Some(number(row.usage?.threads)),
                    f64_max,
                ),
            ],
            is_logarithmic: false,
            from_zero: true,
        },
    ]
}

/// What the processors did in each second, in processors: gateway, nats-server, Router, clients, idle, and
/// what the host took. None where it was not looked at, or a process has ended meanwhile.
fn work(rows: &[Row]) -> Vec<Option<[f64; 6]>> {
    let stands = |row: &Row| {
        let machine = row.machine?;
        let gateway = row.usage?.ticks;
        Some([
            gateway,
            machine.server,
            machine.router,
            machine.clients,
            machine.idle,
            machine.stolen,
        ])
    };
    let between = |(before, row): (Option<&Row>, &Row)| {
        let (then, now) = (stands(before?)?, stands(row)?);
        let mut work = [0.0; 6];
        for ((work, then), now) in work.iter_mut().zip(then).zip(now) {
            *work = number(now.checked_sub(then)?) / 100.0;
        }
        Some(work)
    };
    let before = core::iter::once(None).chain(rows.iter().map(Some));
    before.zip(rows).map(between).collect()
}

/// At most [`POINTS`] points, each of a group of rows, in minutes.
fn thin(
    rows: &[Row],
    value: &dyn Fn(&Row) -> Option<f64>,
    pick: fn(&[f64]) -> f64,
) -> Vec<(f64, f64)> {
    let size = rows.len().div_ceil(POINTS).max(1);
    rows.chunks(size)
        .filter_map(|group| {
            let values: Vec<f64> = group.iter().filter_map(value).collect();
            let at = group.first()?.second;
            (!values.is_empty()).then(|| (number(at) / 60.0, pick(&values)))
        })
        .collect()
}

fn mean(values: &[f64]) -> f64 {
    crate::stats::mean(values).unwrap_or(0.0)
}

fn f64_max(values: &[f64]) -> f64 {
    values.iter().copied().fold(0.0, f64::max)
}

#[expect(clippy::cast_precision_loss, reason = "for a picture")]
pub(super) const fn number(value: u64) -> f64 {
    value as f64
}
