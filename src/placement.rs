//! Which worker runs on which core. The only file that pins.
//!
//! Unless the configuration says otherwise, workers are pinned when there are more than two cores
//! and at least one is left for everything else: control, NATS, the clients. They take the last
//! cores, because interrupts and whatever else is not placed gather on the first. Who asks for it (and for threads of
//! their own) has them pinned on two cores too. A pinned worker has its core for itself, and spins on it, if one is left
//! for everything else.

pub use core_affinity::CoreId;

use crate::settings::{Threads, WorkerSettings};
use crate::worker::idle::Core;

/// Cores up to which nothing is pinned: everything shares them.
const SMALL: usize = 2;

/// Where the workers go.
#[derive(Debug, Default)]
pub struct Placement {
    cores: Vec<CoreId>,
    /// Whether a core is left for everything else.
    leaves_one: bool,
}

impl Placement {
    /// For these settings on this machine.
    #[must_use]
    pub fn plan(settings: &WorkerSettings) -> Self {
        let cores = core_affinity::get_core_ids().unwrap_or_default();
        Self::on(settings, cores)
    }

    fn on(settings: &WorkerSettings, cores: Vec<CoreId>) -> Self {
        let leaves_one = settings.workers < cores.len();
        let is_roomy = leaves_one && cores.len() > SMALL;
        if !settings.pin.unwrap_or(is_roomy) || settings.threads == Threads::Merged {
            return Self::default();
        }
        let last = cores.into_iter().rev().take(settings.workers);
        Self {
            cores: last.collect(),
            leaves_one,
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
        match self.core(worker) {
            Some(_) if self.leaves_one => Core::Own,
            _ => Core::Shared,
        }
    }
}

/// Pins the calling thread; whether the system lets it. One that refuses costs speed, not correctness: it is
/// logged.
pub fn pin(core: CoreId) -> bool {
    let is_pinned = core_affinity::set_for_current(core);
    if !is_pinned {
        tracing::warn!(
            core = core.id,
            "the system does not let this worker be pinned"
        );
    }
    is_pinned
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(workers: usize, cores: usize, threads: Threads, pin: Option<bool>) -> Placement {
        let settings = WorkerSettings {
            workers,
            threads,
            pin,
            ..WorkerSettings::default()
        };
        Placement::on(&settings, (0..cores).map(|id| CoreId { id }).collect())
    }

    fn placed(workers: usize, cores: usize, threads: Threads, pin: Option<bool>) -> Vec<usize> {
        let placement = plan(workers, cores, threads, pin);
        let placed = (0..workers).map_while(|worker| placement.core(worker));
        placed.map(|core| core.id).collect()
    }

    #[test]
    fn workers_take_the_last_cores_and_leave_one() {
        assert_eq!(placed(2, 4, Threads::Split, None), [3, 2]);
        assert_eq!(placed(3, 4, Threads::Split, None), [3, 2, 1]);
        assert_eq!(placed(4, 4, Threads::Split, None), [0; 0]);
        assert_eq!(plan(3, 4, Threads::Split, None).share(2), Core::Own);
    }

    #[test]
    fn a_small_machine_and_a_merged_worker_are_left_alone() {
        assert_eq!(placed(1, 2, Threads::Split, None), [0; 0]);
        assert_eq!(placed(1, 8, Threads::Merged, Some(true)), [0; 0]);
    }

    #[test]
    fn the_configuration_can_pin_on_a_small_machine_and_not_pin_on_a_large_one() {
        assert_eq!(placed(1, 2, Threads::Split, Some(true)), [1]);
        let pinned = plan(1, 2, Threads::Split, Some(true));
        assert_eq!(pinned.share(0), Core::Own);
        assert_eq!(
            plan(2, 2, Threads::Split, Some(true)).share(0),
            Core::Shared
        );
        assert_eq!(placed(2, 8, Threads::Split, Some(false)), [0; 0]);
    }
}
