//! What a run can fail with.

use core::fmt;

/// The promises that are checked; `docs/FAULTS.md` numbers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Invariant {
    /// I1: every accepted request completes exactly once.
    ExactlyOnce,
    /// I2: what was rejected was never seen upstream.
    RejectedUnseen,
    /// I3: what succeeded was seen upstream, and its reply is its own.
    AnsweredSeen,
    /// I4: what may not be repeated is seen at most once.
    SeenOnce,
    /// I5: a completion comes no later than its deadline, one tick and one cycle, and a timeout
    /// not before it.
    InTime,
    /// I6: accepted is completed, in flight and abandoned.
    Books,
    /// I7: at rest nothing is left.
    Rest,
    /// I8: nobody sleeps beside work, and once everything is healed everything succeeds.
    Progress,
    /// I9: sessions that did nothing wrong do not end and see nothing of others.
    Isolation,
    /// I10: nothing panics.
    NoPanic,
    /// The simulation itself went wrong: no verdict about the gateway.
    Simulation,
}

impl Invariant {
    const fn text(self) -> &'static str {
        match self {
            Self::ExactlyOnce => "I1 (one completion for each accepted request)",
            Self::RejectedUnseen => "I2 (rejected was never seen upstream)",
            Self::AnsweredSeen => "I3 (success was seen upstream and has its own reply)",
            Self::SeenOnce => "I4 (seen no more often than allowed)",
            Self::InTime => "I5 (completed in time)",
            Self::Books => "I6 (the books balance)",
            Self::Rest => "I7 (at rest nothing is left)",
            Self::Progress => "I8 (progress)",
            Self::Isolation => "I9 (isolation)",
            Self::NoPanic => "I10 (no panic)",
            Self::Simulation => "none: the simulation failed",
        }
    }
}

impl fmt::Display for Invariant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

/// A promise that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Violation {
    pub(crate) invariant: Invariant,
    pub(crate) what: String,
}

/// Nothing, or a broken promise.
pub(crate) type Checked<T = ()> = Result<T, Violation>;

/// Fails with this invariant unless `holds`.
pub(crate) fn ensure(holds: bool, invariant: Invariant, what: impl FnOnce() -> String) -> Checked {
    if holds {
        Ok(())
    } else {
        Err(broken(invariant, what()))
    }
}

/// A broken promise.
pub(crate) fn broken(invariant: Invariant, what: impl Into<String>) -> Violation {
    Violation {
        invariant,
        what: what.into(),
    }
}

/// An error of the operating system: it says nothing about the gateway.
impl From<std::io::Error> for Violation {
    fn from(error: std::io::Error) -> Self {
        broken(Invariant::Simulation, error.to_string())
    }
}

/// A seed that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) seed: u64,
    /// Random steps that were asked for.
    pub(crate) steps: u32,
    /// The step at which it failed.
    pub(crate) step: u32,
    pub(crate) violation: Violation,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            seed,
            steps,
            step,
            violation,
        } = self;
        writeln!(f, "seed {seed} failed at step {step}")?;
        writeln!(f, "broken: {}", violation.invariant)?;
        writeln!(f, "found:  {}", violation.what)?;
        write!(
            f,
            "replay: cargo run --release -p ipc-tools --bin simulate -- --seeds 1 --from {seed} --steps {steps} --trace"
        )
    }
}
