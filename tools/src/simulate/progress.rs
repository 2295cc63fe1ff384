//! Where this thread is, for the report of a panic: a panic can come from anywhere.

use std::cell::{Cell, RefCell};

use super::violation::{Failure, Invariant, broken};

thread_local! {
    static SEED: Cell<u64> = const { Cell::new(0) };
    static STEPS: Cell<u32> = const { Cell::new(0) };
    static STEP: Cell<u32> = const { Cell::new(0) };
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// A seed begins.
pub(crate) fn begin(seed: u64, steps: u32) {
    SEED.set(seed);
    STEPS.set(steps);
    STEP.set(0);
}

/// The next step begins.
pub(crate) fn next_step() {
    STEP.set(STEP.get().saturating_add(1));
}

/// The present step; 0 before the first.
pub(crate) fn step() -> u32 {
    STEP.get()
}

/// A failure here and now.
pub(crate) fn failed(violation: super::violation::Violation) -> Failure {
    Failure {
        seed: SEED.get(),
        steps: STEPS.get(),
        step: STEP.get(),
        violation,
    }
}

/// The failure that the last panic of this thread is.
pub(crate) fn panicked() -> Failure {
    let text = PANIC.take().unwrap_or_else(|| "no message".to_owned());
    failed(broken(Invariant::NoPanic, text))
}

/// Keeps the message of a panic for [`panicked`] instead of printing it. Where a panic cannot be
/// caught (the release profile aborts), the failure is handed to `report`, which ends the process.
pub(crate) fn watch_panics(report: fn(&Failure)) {
    std::panic::set_hook(Box::new(move |panic| {
        PANIC.set(Some(panic.to_string()));
        if cfg!(panic = "abort") {
            report(&panicked());
        }
    }));
}
