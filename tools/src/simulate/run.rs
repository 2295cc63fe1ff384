//! One seed from its beginning to its end.

use std::panic::{AssertUnwindSafe, catch_unwind};

use ipc_ringbuf::Code;

use super::progress;
use super::tally::Tally;
use super::violation::{Checked, Failure};
use super::world::World;

/// What a seed did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) tally: Tally,
    /// Of the whole trace: the same for the same seed.
    pub(crate) hash: u64,
}

/// Runs a seed: so many random steps, then everything is healed and brought to rest.
///
/// # Errors
/// The first promise that was broken, or the panic.
pub(crate) fn run(seed: u64, steps: u32, prints: bool) -> Result<Run, Failure> {
    progress::begin(seed, steps);
    // Nothing that the panic has left half done is looked at again.
    match catch_unwind(AssertUnwindSafe(|| play(seed, steps, prints))) {
        Ok(played) => played.map_err(progress::failed),
        Err(_) => Err(progress::panicked()),
    }
}

fn play(seed: u64, steps: u32, prints: bool) -> Checked<Run> {
    let mut world = World::new(seed, prints)?;
    for _ in 0..steps {
        progress::next_step();
        world.step()?;
    }
    world.heal()?;
    world.rest()?;
    let World { rooms, scene, .. } = world;
    let mut tally = scene.tally;
    tally.seeds = 1;
    tally.steps = progress::step().into();
    for room in &rooms {
        tally.accepted += room.metrics.accepted.get();
        tally.abandoned += room.metrics.abandoned.get();
        for code in Code::ALL {
            *tally.completions.entry(*code).or_default() += room.metrics.completions(*code);
        }
    }
    Ok(Run {
        tally,
        hash: scene.trace.hash(),
    })
}
