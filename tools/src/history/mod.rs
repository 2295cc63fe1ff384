//! Histories: what each client asked and was told, what the Router received, what the gateway
//! counted, and whether the three fit together.
//!
//! | file | what is in it |
//! |---|---|
//! | `event` | a line of a client's history, and of the Router's log |
//! | `recorder` | writes a client's history |
//! | `metrics` | reads the gateway's counters from their text |
//! | `check` | the invariants |
//! | `verdict` | what the check found, for people and as JSON |

mod check;
mod event;
mod metrics;
mod recorder;
mod verdict;

pub use check::{Checker, Limits, Tenants};
pub use event::{Event, Mark, Received, digest};
pub use metrics::{Books, MetricsError};
pub use recorder::Recorder;
pub use verdict::{Invariant, Verdict, Violation};
