//! What becomes of the spans of traced requests.

use super::Counter;

/// What the exporter counts.
#[derive(Debug, Default)]
pub struct TraceMetrics {
    /// Spans that the collector has taken.
    pub exported: Counter,
    /// Spans that it has not taken: it was not there, too slow, or refused them.
    pub failed: Counter,
}
