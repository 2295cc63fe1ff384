//! What `bench` and its client processes tell each other: JSON, one value a line.
//!
//! To a client process: the [`Plan`], then [`GO`], perhaps [`STOP`]. The end of its input means
//! that `bench` is gone; it ends at once. From it: [`Said`].

use core::time::Duration;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::args::Wait;
use super::tally::Counts;

/// Begin. Sent when every client is attached.
pub(super) const GO: &str = "go";
/// Send nothing more; take what is outstanding, then report.
pub(super) const STOP: &str = "stop";

/// What a client process is to do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Plan {
    pub(super) socket: PathBuf,
    pub(super) route: String,
    /// Most requests in flight of each client.
    pub(super) window: u32,
    /// Bytes of each request.
    pub(super) payload: u32,
    /// Requests a second of all clients together; `None` keeps the window full.
    pub(super) rate: Option<u64>,
    /// Requests that are due at a time.
    pub(super) burst: u32,
    /// How clients wait.
    pub(super) wait: Wait,
    /// Time allowed for each request, if not the route's.
    pub(super) timeout: Option<Duration>,
    /// Whether a request that is due while the window is full is given up.
    pub(super) no_wait: bool,
    pub(super) duration: Duration,
    /// Clients of all processes.
    pub(super) clients: u32,
    /// Clients of this process.
    pub(super) threads: u32,
    /// Number of this process's first client.
    pub(super) first: u32,
}

/// What a client process says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Said {
    /// One more client is attached.
    Ready,
    /// A client could not begin.
    Failed {
        /// Why.
        cause: Cause,
        /// In words.
        message: String,
    },
    /// Completions so far of all clients of this process.
    Progress(u64),
    /// A client has ended.
    Done(Share),
}

/// Why a client could not begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Cause {
    /// The gateway cannot be reached or refuses.
    Unreachable,
    /// This user may not attach.
    Forbidden,
    /// Anything else.
    Other,
}

/// What one client has measured.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Share {
    pub(super) counts: Counts,
    /// From the start to the last completion, at least the duration unless it ended early.
    pub(super) elapsed: Duration,
    /// Requests that were due and not sent.
    pub(super) unsent: u64,
    /// What ended it early, other than [`STOP`].
    pub(super) fault: Option<String>,
}
