//! What a soak is held to. Each check says what it
//! requires and what it found; what a run is too short to tell is inconclusive.
//!
//! | file | what it judges |
//! |---|---|
//! | `correct` | requests, completions, books, quiescent points |
//! | `memory` | the slope of memory, and the allocator's figure at quiescent points |
//! | `steady` | throughput and latency over time |

mod correct;
mod memory;
mod steady;

use std::time::Duration;

use crate::args::SoakArgs;
use crate::run::Measured;
use crate::verdict::Check;

/// All checks, in the order of the report.
pub(crate) fn judge(found: &Measured, args: &SoakArgs) -> Vec<Check> {
    let mut checks = correct::checks(found, args);
    checks.extend(memory::checks(found, args));
    checks.extend(steady::checks(found, args));
    checks
}

/// Seconds that are warm-up: the first fifth, and ten minutes where there is time for them.
fn warm_up(duration: Duration) -> u64 {
    let seconds = duration.as_secs();
    let fifth = seconds / 5;
    if seconds >= 1800 {
        fifth.max(600)
    } else {
        fifth
    }
}

/// What the flags of a soak would be.
#[cfg(test)]
fn flags(flags: &str) -> SoakArgs {
    use clap::Parser as _;
    let words = core::iter::once("ipc-soak").chain(flags.split_whitespace());
    crate::args::Args::parse_from(words).soak
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_minutes_are_dropped_where_there_is_time() {
        let minutes = |count: u64| Duration::from_secs(60 * count);
        assert_eq!(warm_up(minutes(2)), 24);
        assert_eq!(warm_up(minutes(30)), 600);
        assert_eq!(warm_up(minutes(120)), 1440);
    }
}
