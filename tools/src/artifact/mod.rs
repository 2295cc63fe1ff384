//! Evidence: what a run of a checking tool leaves behind, for people and for the readiness report.
//!
//! ```text
//!  artifacts/e2e/20261126T004200Z/
//!    environment.json   where, when and what was run
//!    checks.jsonl       one line a check, as it is decided
//!    SUMMARY.md         for people
//!    verdict.json       written last: without it the run is unfinished
//!    ...                whatever else the tool records
//! ```
//!
//! | file | what is in it |
//! |---|---|
//! | `check` | [`Check`], [`Verdict`] and the [`Conclusion`] over all checks |
//! | `environment` | [`Environment`]: machine, revision and programs |
//! | `programs` | where nats-server and the gateway are |
//! | `time` | the wall clock, and names made of it |
//! | `write` | [`Artifact`]: the directory of a run that goes on |
//! | `read` | [`Record`]: what a run has left |
//!
//! ```no_run
//! use std::path::Path;
//! use ipc_tools::artifact::{Artifact, Check, Verdict};
//!
//! let configuration = serde_json::json!({"duration_s": 120});
//! let mut artifact = Artifact::create(Path::new("artifacts"), "soak", configuration)?;
//! let check = Check::new("leaks.memory", "leaks", "resident memory stays level", Verdict::Pass);
//! artifact.check(&check.detail("0.2 KiB/s, limit 1 KiB/s"))?;
//! let verdict = artifact.finish("120 s, 8 clients.")?;
//! # Ok::<(), std::io::Error>(())
//! ```

mod check;
mod environment;
mod programs;
mod read;
mod time;
mod write;

pub use check::{Check, Conclusion, Verdict};
pub use environment::{Environment, Git, SCHEMA};
pub use programs::Programs;
pub use read::{ReadError, Record, is_run, runs};
pub use time::{now_rfc3339, timestamp_ms};
pub use write::{Artifact, DEFAULT_ROOT};
