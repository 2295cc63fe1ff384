//! What a soak is held to (`docs` of the faults, "How to judge a soak"). Each check says what it
//! requires and what it found; what a run is too short to tell is inconclusive.
//!
//! | file | what it judges |
//! |---|---|
//! | `correct` | requests, completions, books, quiescent points |
//! | `steady` | memory, throughput, latency over time |

mod correct;
mod steady;

use crate::args::SoakArgs;
use crate::run::Measured;
use crate::verdict::Check;

/// All checks, in the order of the report.
pub(crate) fn judge(found: &Measured, args: &SoakArgs) -> Vec<Check> {
    let mut checks = correct::checks(found, args);
    checks.extend(steady::checks(found, args));
    checks
}
