//! What becomes of log lines.

use core::fmt;
use std::sync::Arc;

use super::Counter;

/// Log lines that were not written.
#[derive(Default)]
pub struct LogMetrics {
    /// Writes that failed, as on a full disk; the log's own thread counts.
    pub failed: Arc<Counter>,
    /// Lines left out because their site had written too many; the log's filter counts.
    pub suppressed: Arc<Counter>,
    /// How many lines were left out because the writer had fallen behind.
    dropped: Option<Box<dyn Fn() -> u64 + Send + Sync>>,
}

impl LogMetrics {
    /// Counts with `failed` and `suppressed`, and asks `dropped` for the lines that had no room to wait.
    #[must_use]
    pub fn new(
        failed: Arc<Counter>,
        suppressed: Arc<Counter>,
        dropped: impl Fn() -> u64 + Send + Sync + 'static,
    ) -> Self {
        Self {
            failed,
            suppressed,
            dropped: Some(Box::new(dropped)),
        }
    }

    /// Lines that were not written, for whatever reason.
    #[must_use]
    pub fn lost(&self) -> u64 {
        let dropped = self.dropped.as_ref().map_or(0, |dropped| dropped());
        self.failed.get().saturating_add(dropped)
    }
}

impl fmt::Debug for LogMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogMetrics")
            .field("lost", &self.lost())
            .finish_non_exhaustive()
    }
}
