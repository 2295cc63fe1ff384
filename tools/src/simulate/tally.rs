//! What was done in all runs together.

use core::fmt;
use std::collections::BTreeMap;

use ipc_ringbuf::{Code, Outcome};

/// Counts of a run, or of many.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) seeds: u64,
    pub(crate) steps: u64,
    /// Duty cycles of all workers.
    pub(crate) cycles: u64,
    /// Requests that workers took from rings.
    pub(crate) accepted: u64,
    /// Requests whose sessions ended first.
    pub(crate) abandoned: u64,
    /// Completions by code, as the workers count them.
    pub(crate) completions: BTreeMap<Code, u64>,
    /// Faults by kind.
    pub(crate) faults: BTreeMap<&'static str, u64>,
}

impl Tally {
    /// Counts a fault.
    pub(crate) fn fault(&mut self, kind: &'static str) {
        *self.faults.entry(kind).or_default() += 1;
    }

    /// Adds what another run counted.
    pub(crate) fn add(&mut self, other: &Self) {
        self.seeds += other.seeds;
        self.steps += other.steps;
        self.cycles += other.cycles;
        self.accepted += other.accepted;
        self.abandoned += other.abandoned;
        for (code, count) in &other.completions {
            *self.completions.entry(*code).or_default() += count;
        }
        for (kind, count) in &other.faults {
            *self.faults.entry(kind).or_default() += count;
        }
    }

    fn outcome(&self, outcome: Outcome) -> u64 {
        let of = |(code, count): (&Code, &u64)| (code.outcome() == outcome).then_some(*count);
        self.completions.iter().filter_map(of).sum()
    }
}

/// One line.
impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "seeds={} steps={} cycles={} requests={}",
            self.seeds, self.steps, self.cycles, self.accepted
        )?;
        for outcome in Outcome::ALL {
            write!(f, " {outcome}={}", self.outcome(outcome))?;
        }
        let faults: u64 = self.faults.values().sum();
        write!(f, " abandoned={} faults={faults} (", self.abandoned)?;
        for (at, (kind, count)) in self.faults.iter().enumerate() {
            let space = if at == 0 { "" } else { " " };
            write!(f, "{space}{kind}={count}")?;
        }
        f.write_str(")")
    }
}
