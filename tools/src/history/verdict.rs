//! What a check has found.

use core::fmt;
use std::collections::BTreeMap;

use serde::Serialize;

/// What must hold (`docs/FAULTS.md`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[non_exhaustive]
pub enum Invariant {
    /// Each accepted request completes exactly once.
    I1,
    /// What was rejected never reached the Router.
    I2,
    /// What was answered OK reached the Router, with its payload and tenant, and the reply is its own.
    I3,
    /// What is not idempotent reached the Router at most once.
    I4,
    /// No completion is later than its deadline and a bound.
    I5,
    /// The gateway's books balance, and are the clients'.
    I6,
    /// At rest nothing is left.
    I7,
    /// Once the faults have healed, requests succeed again.
    I8,
    /// Who was not touched by a fault did not notice.
    I9,
}

impl Invariant {
    /// What it says, in a line.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::I1 => "each accepted request completes exactly once",
            Self::I2 => "what was rejected never reached the Router",
            Self::I3 => "what was answered OK reached the Router unchanged",
            Self::I4 => "what is not idempotent reached the Router at most once",
            Self::I5 => "no completion is later than its deadline",
            Self::I6 => "the books balance",
            Self::I7 => "at rest nothing is left",
            Self::I8 => "after healing, requests succeed",
            Self::I9 => "who was not touched did not notice",
        }
    }
}

/// One break of an invariant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Violation {
    /// Which.
    pub invariant: Invariant,
    /// What was found.
    pub what: String,
}

/// What a check has found.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Verdict {
    /// Clients whose history was read.
    pub clients: usize,
    /// Of these, the ones that did not end by themselves.
    pub clients_killed: usize,
    /// Requests submitted.
    pub submitted: u64,
    /// Requests that the client library refused.
    pub refused: u64,
    /// Completions by code.
    pub codes: BTreeMap<String, u64>,
    /// Requests that the Router received, repetitions included.
    pub received: u64,
    /// Longest time by which a completion was later than its deadline, in nanoseconds.
    pub latest_ns: u64,
    /// Requests submitted 2 s and more after a healing and before the next fault.
    pub healed: u64,
    /// Of these, the ones answered OK.
    pub healed_ok: u64,
    /// Breaks found of each invariant.
    pub broken: BTreeMap<Invariant, u64>,
    /// The first of them.
    pub violations: Vec<Violation>,
}

/// Violations that are kept word by word; all are counted.
const KEPT: usize = 50;

impl Verdict {
    /// Whether everything holds.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.broken.is_empty()
    }

    /// Notes a break.
    pub(super) fn broken(&mut self, invariant: Invariant, what: String) {
        *self.broken.entry(invariant).or_default() += 1;
        if self.violations.len() < KEPT {
            self.violations.push(Violation { invariant, what });
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let codes: Vec<String> = self
            .codes
            .iter()
            .map(|(code, count)| format!("{code} {count}"))
            .collect();
        writeln!(
            f,
            "{} requests of {} clients ({} killed), {} refused by the client library",
            self.submitted, self.clients, self.clients_killed, self.refused
        )?;
        writeln!(f, "completions: {}", codes.join(", "))?;
        writeln!(f, "received by the Router: {}", self.received)?;
        if self.healed > 0 {
            writeln!(f, "after healing: {} of {} OK", self.healed_ok, self.healed)?;
        }
        for violation in &self.violations {
            writeln!(f, "{:?}: {}", violation.invariant, violation.what)?;
        }
        for (invariant, count) in &self.broken {
            writeln!(
                f,
                "{invariant:?} broken {count} times: {}",
                invariant.text()
            )?;
        }
        if self.holds() {
            write!(f, "every invariant holds")
        } else {
            write!(f, "NOT every invariant holds")
        }
    }
}
