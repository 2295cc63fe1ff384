//! What one run of one contender measured, and the same over all rounds.

use serde::Serialize;

use crate::job::Kind;
use crate::stats::{Latencies, Spread, spread};

/// Requests in flight: so many clients, each with a window, and the size of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Cell {
    pub(crate) payload: usize,
    pub(crate) clients: usize,
    pub(crate) window: usize,
}

impl Cell {
    /// Bytes in flight, one way.
    pub(crate) const fn bytes(self) -> usize {
        self.payload * self.clients * self.window
    }
}

/// Processor time by role, in seconds for a million requests. `None`: there is no such process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Cpu {
    pub(crate) clients: f64,
    pub(crate) gateway: Option<f64>,
    pub(crate) server: Option<f64>,
    pub(crate) responder: Option<f64>,
    pub(crate) total: f64,
}

/// One run.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Figures {
    pub(crate) requests: u64,
    /// Requests a second.
    pub(crate) rate: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) p999_us: f64,
    pub(crate) cpu: Cpu,
    /// The probe before and after, in nanoseconds: a cache-line round trip, or for what is asleep
    /// one wake-up.
    pub(crate) probe_ns: [f64; 2],
}

impl Figures {
    pub(crate) fn new(latencies: &Latencies, seconds: f64, cpu: Cpu, probe_ns: [f64; 2]) -> Self {
        let requests = latencies.count();
        Self {
            requests,
            rate: requests as f64 / seconds,
            p50_us: latencies.per_mille(500),
            p99_us: latencies.per_mille(990),
            p999_us: latencies.per_mille(999),
            cpu,
            probe_ns,
        }
    }
}

/// All rounds of one contender.
#[derive(Debug, Serialize)]
pub(crate) struct Summary {
    pub(crate) contender: String,
    pub(crate) rate: Spread,
    pub(crate) p50_us: Spread,
    pub(crate) p99_us: Spread,
    pub(crate) p999_us: Spread,
    /// Medians.
    pub(crate) cpu: Cpu,
    pub(crate) probe_ns: Spread,
    pub(crate) rounds: Vec<Figures>,
}

impl Summary {
    pub(crate) fn new(contender: &str, rounds: Vec<Figures>) -> Self {
        let over = |figure: fn(&Figures) -> f64| spread(rounds.iter().map(figure));
        let role = |figure: fn(&Cpu) -> Option<f64>| {
            let known: Option<Vec<f64>> = rounds.iter().map(|round| figure(&round.cpu)).collect();
            known.map(|figures| spread(figures).median)
        };
        Self {
            contender: contender.to_owned(),
            rate: over(|round| round.rate),
            p50_us: over(|round| round.p50_us),
            p99_us: over(|round| round.p99_us),
            p999_us: over(|round| round.p999_us),
            cpu: Cpu {
                clients: over(|round| round.cpu.clients).median,
                gateway: role(|cpu| cpu.gateway),
                server: role(|cpu| cpu.server),
                responder: role(|cpu| cpu.responder),
                total: over(|round| round.cpu.total).median,
            },
            probe_ns: spread(rounds.iter().flat_map(|round| round.probe_ns)),
            rounds,
        }
    }
}

/// One contender's figures divided by another's, round by round.
#[derive(Debug, Serialize)]
pub(crate) struct Ratios {
    pub(crate) of: String,
    pub(crate) to: String,
    pub(crate) rate: Spread,
    pub(crate) cpu: Spread,
    pub(crate) p50: Spread,
    pub(crate) p99: Spread,
}

impl Ratios {
    pub(crate) fn new(of: &Summary, to: &Summary) -> Self {
        let over = |figure: fn(&Figures) -> f64| {
            let pairs = of.rounds.iter().zip(&to.rounds);
            spread(pairs.map(|(of, to)| figure(of) / figure(to)))
        };
        Self {
            of: of.contender.clone(),
            to: to.contender.clone(),
            rate: over(|round| round.rate),
            cpu: over(|round| round.cpu.total),
            p50: over(|round| round.p50_us),
            p99: over(|round| round.p99_us),
        }
    }
}

/// A contender's median latency divided by what the machine itself needs, round by round.
#[derive(Debug, Serialize)]
pub(crate) struct ToProbe {
    pub(crate) contender: String,
    pub(crate) probe: &'static str,
    pub(crate) ratio: Spread,
}

impl ToProbe {
    fn new(kind: Kind, summary: &Summary) -> Option<Self> {
        let (probe, probes) = match kind {
            Kind::Steady => return None,
            Kind::Spinning => ("one cache-line round trip", 1.0),
            Kind::Asleep => ("two wake-ups", 2.0),
        };
        let ratio = |round: &Figures| {
            let [before, after] = round.probe_ns;
            round.p50_us * 1000.0 / (f64::midpoint(before, after) * probes)
        };
        Some(Self {
            contender: summary.contender.clone(),
            probe,
            ratio: spread(summary.rounds.iter().map(ratio)),
        })
    }
}

/// The best rate of the gateway over all windows of one client, divided by iceoryx2's.
#[derive(Debug, Serialize)]
pub(crate) struct Best {
    pub(crate) payload: usize,
    pub(crate) of: f64,
    pub(crate) to: f64,
    pub(crate) ratio: f64,
}

impl Best {
    /// For each payload that both have figures for.
    pub(crate) fn of(cells: &[Comparison], of: &str, to: &str) -> Vec<Self> {
        let best = |payload: usize, name: &str| {
            cells
                .iter()
                .filter(|cell| cell.kind == Kind::Steady && cell.cell.clients == 1)
                .filter(|cell| cell.cell.payload == payload)
                .flat_map(|cell| &cell.contenders)
                .filter(|summary| summary.contender == name)
                .map(|summary| summary.rate.median)
                .reduce(f64::max)
        };
        let mut payloads: Vec<usize> = cells.iter().map(|cell| cell.cell.payload).collect();
        payloads.sort_unstable();
        payloads.dedup();
        let found = payloads.into_iter().filter_map(|payload| {
            let (of, to) = (best(payload, of)?, best(payload, to)?);
            Some(Self {
                payload,
                of,
                to,
                ratio: of / to,
            })
        });
        found.collect()
    }
}

/// One cell: all contenders, and the ratios of the gateway to the others.
#[derive(Debug, Serialize)]
pub(crate) struct Comparison {
    #[serde(flatten)]
    pub(crate) cell: Cell,
    pub(crate) kind: Kind,
    pub(crate) contenders: Vec<Summary>,
    pub(crate) ratios: Vec<Ratios>,
    pub(crate) to_probe: Vec<ToProbe>,
}

impl Comparison {
    /// `subject` is whose ratios are of interest.
    pub(crate) fn new(cell: Cell, kind: Kind, contenders: Vec<Summary>, subject: &str) -> Self {
        let (own, others): (Vec<_>, Vec<_>) = contenders
            .iter()
            .partition(|summary| summary.contender == subject);
        let ratios = own
            .iter()
            .flat_map(|own| others.iter().map(|other| Ratios::new(own, other)))
            .collect();
        Self {
            cell,
            kind,
            to_probe: contenders
                .iter()
                .filter_map(|summary| ToProbe::new(kind, summary))
                .collect(),
            contenders,
            ratios,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn figures(rate: f64) -> Figures {
        Figures {
            requests: 1000,
            rate,
            p50_us: 1e6 / rate,
            p99_us: 2e6 / rate,
            p999_us: 3e6 / rate,
            cpu: Cpu {
                clients: 1.0,
                gateway: None,
                server: Some(2.0),
                responder: Some(0.5),
                total: 3.5,
            },
            probe_ns: [100.0, 200.0],
        }
    }

    #[test]
    fn ratios_are_those_of_each_round() {
        let rounds = |rates: [f64; 3]| rates.map(figures).to_vec();
        // The medians of the rates would give 20 / 20.
        let own = Summary::new("gateway", rounds([10.0, 20.0, 60.0]));
        let other = Summary::new("raw", rounds([5.0, 40.0, 20.0]));
        let cell = Cell {
            payload: 64,
            clients: 1,
            window: 1,
        };
        let comparison = Comparison::new(cell, Kind::Spinning, vec![other, own], "gateway");
        let [ratios] = comparison.ratios.as_slice() else {
            panic!("not one ratio");
        };
        assert_eq!((ratios.of.as_str(), ratios.to.as_str()), ("gateway", "raw"));
        let rate = ratios.rate;
        assert_eq!((rate.median, rate.min, rate.max), (2.0, 0.5, 3.0));
        assert_eq!(ratios.cpu.median, 1.0);
        let [_, own] = comparison.to_probe.as_slice() else {
            panic!("not two contenders");
        };
        // 50,000 us in the middle round, and a probe of 150 ns.
        assert!((own.ratio.median - 50_000_000.0 / 150.0).abs() < 1e-3);
    }

    #[test]
    fn the_best_rates_are_found_over_all_windows() {
        let cell = |window, own, other| {
            let summary = |name, rate| Summary::new(name, vec![figures(rate)]);
            let cell = Cell {
                payload: 64,
                clients: 1,
                window,
            };
            let contenders = vec![summary("gateway", own), summary("iceoryx2", other)];
            Comparison::new(cell, Kind::Steady, contenders, "gateway")
        };
        let cells = [
            cell(1, 10.0, 20.0),
            cell(16, 50.0, 25.0),
            cell(64, 90.0, 15.0),
        ];
        let best = Best::of(&cells, "gateway", "iceoryx2");
        let [best] = best.as_slice() else {
            panic!("not one payload");
        };
        assert_eq!((best.of, best.to, best.ratio), (90.0, 25.0, 3.6));
        assert!(Best::of(&cells, "gateway", "raw").is_empty());
    }

    #[test]
    fn a_role_without_a_process_has_no_time() {
        let summary = Summary::new("raw", vec![figures(10.0)]);
        assert_eq!(summary.cpu.gateway, None);
        assert_eq!(summary.cpu.server, Some(2.0));
        assert_eq!(summary.probe_ns.median, 150.0);
    }
}
