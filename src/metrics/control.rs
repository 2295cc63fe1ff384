//! What the control room counts.

use ipc_ringbuf::error::EndReason;

use super::Counter;

/// Counters of the control room; its one thread writes them, but for what is said below.
#[derive(Debug)]
pub struct ControlMetrics {
    /// Clients attached.
    pub attached: Counter,
    /// Clients refused, by reason, in the order of [`EndReason::ALL`].
    refused: [Counter; EndReason::ALL.len()],
    /// Sessions ended, by reason, in the same order.
    ended: [Counter; EndReason::ALL.len()],
    /// Clients that have connected and not said what they want (gauge).
    pub pending: Counter,
    /// Bytes of sessions that have ended whose memory is not back yet (gauge). Written under a lock.
    pub returning_bytes: Counter,
    /// Clients that were dropped before they said what they want, because too many others waited.
    pub evicted: Counter,
    /// Failures to accept a client.
    pub accept_errors: Counter,
    /// Log lines about clients left out because there were too many.
    pub log_suppressed: Counter,
    /// 1 while draining, else 0 (gauge).
    pub draining: Counter,
}

impl Default for ControlMetrics {
    fn default() -> Self {
        Self {
            attached: Counter::default(),
            refused: EndReason::ALL.map(|_| Counter::default()),
            ended: EndReason::ALL.map(|_| Counter::default()),
            pending: Counter::default(),
            returning_bytes: Counter::default(),
            evicted: Counter::default(),
            accept_errors: Counter::default(),
            log_suppressed: Counter::default(),
            draining: Counter::default(),
        }
    }
}

impl ControlMetrics {
    /// Counts a client that was refused.
    pub fn refuse(&self, reason: EndReason) {
        count(&self.refused, reason);
    }

    /// Counts a session that ended.
    pub fn end(&self, reason: EndReason) {
        count(&self.ended, reason);
    }

    /// Clients refused so far, by reason.
    pub fn refused(&self) -> impl Iterator<Item = (EndReason, u64)> + '_ {
        counts(&self.refused)
    }

    /// Sessions ended so far, by reason.
    pub fn ended(&self) -> impl Iterator<Item = (EndReason, u64)> + '_ {
        counts(&self.ended)
    }
}

fn count(counters: &[Counter], reason: EndReason) {
    let at = EndReason::ALL.iter().position(|known| *known == reason);
    if let Some(counter) = at.and_then(|at| counters.get(at)) {
        counter.increment();
    }
}

fn counts(counters: &[Counter]) -> impl Iterator<Item = (EndReason, u64)> + '_ {
    let reasons = EndReason::ALL.into_iter();
    reasons.zip(counters.iter().map(Counter::get))
}
