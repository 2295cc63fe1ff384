//! The command line: what was typed, checked for syntax.

use clap::Parser;

/// Steps the gateway's core through random operations and faults, and checks its promises after
/// every step.
///
/// Real workers, rings, timers and answering desk; a clock that is moved by hand, and a model of
/// NATS and the Router. All that is random comes from the seed: the same seed is the same run. A
/// seed that fails is printed with the command that repeats it, and the exit status is 1.
#[derive(Clone, Copy, Debug, Parser)]
#[command(name = "simulate", version)]
pub(crate) struct Args {
    /// How many seeds to run
    #[arg(long, value_name = "N", default_value_t = 1000)]
    pub(crate) seeds: u64,
    /// The first seed
    #[arg(long, value_name = "SEED", default_value_t = 1)]
    pub(crate) from: u64,
    /// Random steps of each seed, before everything is healed and brought to rest
    #[arg(long, value_name = "N", default_value_t = DEFAULT_STEPS)]
    pub(crate) steps: u32,
    /// Print what every step does and finds
    #[arg(long)]
    pub(crate) trace: bool,
}

/// Steps of a seed when nobody says how many.
pub(crate) const DEFAULT_STEPS: u32 = 1000;
