//! What the gateway is to reach beside the others, held against what was measured.
//!
//! A target whose cell was not measured is not judged. Medians of fewer rounds than five say too
//! little: they are inconclusive.

use crate::figures::{Comparison, Ratios, Summary};
use crate::job::Kind;
use crate::report::Document;

/// Rounds that a verdict needs.
const ROUNDS: usize = 5;
/// What the targets with this size in them are judged at.
const PAYLOAD: usize = 256;

/// Which way a figure has to go.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

impl Bound {
    fn holds(self, value: f64) -> bool {
        match self {
            Self::AtLeast(least) => value >= least,
            Self::AtMost(most) => value <= most,
        }
    }
}

/// A target and what was reached.
#[derive(Debug)]
pub(crate) struct Judged {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) bound: Bound,
    pub(crate) reached: f64,
    /// Too few rounds to tell.
    pub(crate) is_inconclusive: bool,
}

impl Judged {
    pub(crate) fn holds(&self) -> bool {
        self.bound.holds(self.reached)
    }

    /// What was asked for and what was reached.
    pub(crate) fn detail(&self) -> String {
        let bound = match self.bound {
            Bound::AtLeast(least) => format!("at least {least}"),
            Bound::AtMost(most) => format!("at most {most}"),
        };
        format!("{:.3}, asked for {bound}", self.reached)
    }
}

/// Judges everything that was measured.
pub(crate) fn judge(document: &Document) -> Vec<Judged> {
    let mut judged = Vec::new();
    for comparison in &document.cells {
        let reached = match comparison.kind {
            Kind::Steady if document.machine.nats_server.is_empty() => local(comparison),
            Kind::Steady => nats(comparison),
            Kind::Spinning => spinning(comparison),
            Kind::Asleep => asleep(comparison),
        };
        let cell = comparison.cell;
        let kind = match comparison.kind {
            Kind::Steady => "",
            Kind::Spinning => "spinning-",
            Kind::Asleep => "asleep-",
        };
        for (what, bound, reached) in reached {
            judged.push(Judged {
                id: format!(
                    "{kind}{}x{}x{}.{}",
                    cell.payload,
                    cell.clients,
                    cell.window,
                    what.replace(' ', "-")
                ),
                name: format!(
                    "{} bytes, {} x {} in flight: {what}",
                    cell.payload, cell.clients, cell.window
                ),
                bound,
                reached,
                is_inconclusive: document.rounds < ROUNDS,
            });
        }
    }
    for best in &document.best {
        judged.push(Judged {
            id: format!("{}.best-rate-iceoryx2", best.payload),
            name: format!("{} bytes, best rate over that of iceoryx2", best.payload),
            bound: Bound::AtLeast(5.0),
            reached: best.ratio,
            is_inconclusive: document.rounds < ROUNDS,
        });
    }
    judged
}

type Reached = Vec<(&'static str, Bound, f64)>;

/// Adds a target when there is a figure for it.
fn add(reached: &mut Reached, what: &'static str, bound: Bound, figure: Option<f64>) {
    reached.extend(figure.map(|figure| (what, bound, figure)));
}

fn to<'a>(comparison: &'a Comparison, other: &str) -> Option<&'a Ratios> {
    comparison.ratios.iter().find(|ratios| ratios.to == other)
}

fn of<'a>(comparison: &'a Comparison, name: &str) -> Option<&'a Summary> {
    let mut contenders = comparison.contenders.iter();
    contenders.find(|summary| summary.contender == name)
}

fn rate_to(comparison: &Comparison, other: &str) -> Option<f64> {
    to(comparison, other).map(|ratios| ratios.rate.median)
}

fn nats(comparison: &Comparison) -> Reached {
    use Bound::{AtLeast, AtMost};
    let mut reached = Reached::new();
    let uds = rate_to(comparison, "uds");
    add(&mut reached, "rate over uds", AtLeast(1.0), uds);
    if comparison.cell.payload != PAYLOAD {
        return reached;
    }
    let direct = to(comparison, "direct-request");
    let no_ipc = rate_to(comparison, "direct-pipelined");
    let raw = rate_to(comparison, "raw");
    let rate = direct.map(|ratios| ratios.rate.median);
    let cpu = direct.map(|ratios| ratios.cpu.median);
    let mut many = |least: f64, most: Option<f64>, ceiling: Option<f64>| {
        add(
            &mut reached,
            "rate over direct-request",
            AtLeast(least),
            rate,
        );
        if let Some(most) = most {
            add(&mut reached, "CPU over direct-request", AtMost(most), cpu);
        }
        if let Some(least) = ceiling {
            add(&mut reached, "rate over no IPC", AtLeast(least), no_ipc);
        }
    };
    match (comparison.cell.clients, comparison.cell.window) {
        (1, 1) => {
            let p50 = direct.map(|ratios| ratios.p50.median);
            let p99 = direct.map(|ratios| ratios.p99.median);
            add(&mut reached, "p50 over direct-request", AtMost(1.15), p50);
            add(&mut reached, "p99 over direct-request", AtMost(1.2), p99);
        }
        (4, 1) => many(1.2, None, None),
        (16, 1) => many(2.2, Some(0.5), Some(0.85)),
        (64, 1) => many(4.5, Some(0.25), Some(0.85)),
        (4, 256) => {
            add(&mut reached, "rate over no IPC", AtLeast(0.95), no_ipc);
            add(&mut reached, "rate over raw", AtLeast(0.75), raw);
            let gateway = of(comparison, "gateway");
            let most = of(comparison, "raw").map_or(0.0, |raw| raw.rate.median);
            // Asked only of a machine that can do so much.
            if most >= 400_000.0 {
                let rate = gateway.map(|it| it.rate.median);
                add(&mut reached, "rate", AtLeast(300_000.0), rate);
            }
            let cpu = gateway.and_then(|it| it.cpu.gateway);
            add(&mut reached, "gateway CPU in us", AtMost(2.0), cpu);
        }
        _ => {}
    }
    reached
}

fn local(comparison: &Comparison) -> Reached {
    let mut reached = Reached::new();
    let cell = comparison.cell;
    let least = if cell.window >= 16 { 1.5 } else { 1.0 };
    let uds = rate_to(comparison, "uds");
    add(&mut reached, "rate over uds", Bound::AtLeast(least), uds);
    if (cell.payload, cell.clients, cell.window) == (64, 1, 256) {
        let rate = of(comparison, "gateway").map(|it| it.rate.median);
        add(&mut reached, "rate", Bound::AtLeast(10e6), rate);
    }
    reached
}

fn spinning(comparison: &Comparison) -> Reached {
    let mut reached = Reached::new();
    let lines = to_probe(comparison);
    let what = "p50 over one cache-line round trip";
    add(&mut reached, what, Bound::AtMost(4.0), lines);
    let iceoryx2 = to(comparison, "iceoryx2").map(|ratios| ratios.p50.median);
    let what = "p50 over iceoryx2";
    add(&mut reached, what, Bound::AtMost(0.4), iceoryx2);
    reached
}

fn asleep(comparison: &Comparison) -> Reached {
    let mut reached = Reached::new();
    let wakes = to_probe(comparison);
    let what = "p50 over two wake-ups";
    add(&mut reached, what, Bound::AtMost(1.2), wakes);
    reached
}

fn to_probe(comparison: &Comparison) -> Option<f64> {
    let mut all = comparison.to_probe.iter();
    let gateway = all.find(|it| it.contender == "gateway")?;
    Some(gateway.ratio.median)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::Cell;
    use crate::figures::tests::figures;
    use crate::machine::Machine;

    fn document(clients: usize, window: usize, gateway: f64, rounds: usize) -> Document {
        let summary = |name, rate| Summary::new(name, vec![figures(rate); rounds]);
        let contenders = vec![
            summary("direct-request", 100.0),
            summary("direct-pipelined", 500.0),
            summary("raw", 500_000.0),
            summary("gateway", gateway),
            summary("uds", 100.0),
        ];
        let cell = Cell {
            payload: PAYLOAD,
            clients,
            window,
        };
        let mut machine = Machine::look(None);
        machine.nats_server = "nats-server: v2.14.0".to_owned();
        Document {
            machine,
            rounds,
            seconds: 1.0,
            warmup: 0.0,
            cells: vec![Comparison::new(cell, Kind::Steady, contenders, "gateway")],
            best: Vec::new(),
        }
    }

    fn holds(judged: &[Judged]) -> Vec<(&str, bool)> {
        let each = judged.iter();
        each.map(|it| (it.id.as_str(), it.holds())).collect()
    }

    #[test]
    fn a_target_holds_or_not_by_its_median() {
        let judged = judge(&document(16, 1, 250.0, 5));
        let expected = [
            ("256x16x1.rate-over-uds", true),
            ("256x16x1.rate-over-direct-request", true),
            ("256x16x1.CPU-over-direct-request", false),
            ("256x16x1.rate-over-no-IPC", false),
        ];
        assert_eq!(holds(&judged), expected);
        assert!(judged.iter().all(|it| !it.is_inconclusive));
        assert_eq!(judged[1].detail(), "2.500, asked for at least 2.2");
    }

    #[test]
    fn few_rounds_are_inconclusive() {
        let judged = judge(&document(4, 1, 250.0, 4));
        assert!(!judged.is_empty() && judged.iter().all(|it| it.is_inconclusive));
    }

    #[test]
    fn the_rate_is_asked_for_only_where_the_server_can_do_more() {
        let rate = |document: &Document| {
            let judged = judge(document);
            judged
                .iter()
                .find(|it| it.id == "256x4x256.rate")
                .map(Judged::holds)
        };
        assert_eq!(rate(&document(4, 256, 290_000.0, 5)), Some(false));
        let mut slow = document(4, 256, 290_000.0, 5);
        slow.cells[0].contenders.retain(|it| it.contender != "raw");
        assert_eq!(rate(&slow), None);
    }
}
