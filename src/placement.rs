//! Which worker runs on which core. The only file that pins.
//!
//! Workers are pinned when there are more than two cores and at least one is left for everything
//! else: control, NATS, the clients. They take the last cores, because interrupts and whatever
//! else is not placed gather on the first.

pub use core_affinity::CoreId;

use crate::settings::{Threads, WorkerSettings};
use crate::worker::idle::Core;

/// Cores up to which nothing is pinned: everything shares them.
const SMALL: usize = 2;

/// Where the workers go.
#[derive(Debug, Default)]
pub struct Placement {
    cores: Vec<CoreId>,
}

impl Placement {
    /// For these settings on this machine.
    #[must_use]
    pub fn plan(settings: &WorkerSettings) -> Self {
        let cores = core_affinity::get_core_ids().unwrap_or_default();
        Self::on(settings, cores)
    }

    fn on(settings: &WorkerSettings, cores: Vec<CoreId>) -> Self {
        let fits = cores.len() > SMALL && settings.workers < cores.len();
        if !settings.pin || settings.threads == Threads::Merged || !fits {
            return Self::default();
        }
        let last = cores.into_iter().rev().take(settings.workers);
        Self {
            cores: last.collect(),
        }
    }

    /// The core of a worker, if it has one of its own.
    #[must_use]
    pub fn core(&self, worker: usize) -> Option<CoreId> {
        self.cores.get(worker).copied()
    }

    /// Whether spinning robs somebody.
    #[must_use]
    pub fn share(&self, worker: usize) -> Core {
        self.core(worker).map_or(Core::Shared, |_| Core::Own)
    }
}

/// Pins the calling thread. A system that refuses costs speed, not correctness: it is logged.
pub fn pin(core: CoreId) {
    if !core_affinity::set_for_current(core) {
        tracing::warn!(
            core = core.id,
            "the system does not let this worker be pinned"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn placed(workers: usize, cores: usize, threads: Threads) -> Vec<Option<usize>> {
        let settings = WorkerSettings {
            workers,
            threads,
            pin: true,
            ..WorkerSettings::default()
        };
        let cores = (0..cores).map(|id| CoreId { id }).collect();
        let placement = Placement::on(&settings, cores);
        (0..workers)
            .map(|worker| placement.core(worker).map(|core| core.id))
            .collect()
    }

    #[test]
    fn workers_take_the_last_cores_and_leave_one() {
        assert_eq!(placed(2, 4, Threads::Split), [Some(3), Some(2)]);
        assert_eq!(placed(3, 4, Threads::Split), [Some(3), Some(2), Some(1)]);
        assert_eq!(placed(4, 4, Threads::Split), [None; 4]);
    }

    #[test]
    fn a_small_machine_and_a_merged_worker_are_left_alone() {
        assert_eq!(placed(1, 2, Threads::Split), [None]);
        assert_eq!(placed(1, 8, Threads::Merged), [None]);
    }
}
