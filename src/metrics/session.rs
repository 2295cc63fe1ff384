//! What a worker shows of one session.

use std::sync::OnceLock;

use super::{Counter, latency::Histogram};

/// Figures of one session; its worker writes them, most of them only when it is asked to.
#[derive(Debug, Default)]
pub struct SessionFigures {
    /// Requests completed.
    pub completed: Counter,
    /// Requests accepted and not completed (gauge).
    pub in_flight: Counter,
    /// Requests submitted and not accepted: what is in the submission ring (gauge).
    pub queued: Counter,
    /// Made when somebody looks for the first time: most sessions are never looked at.
    latency: OnceLock<Box<Histogram>>,
}

impl SessionFigures {
    /// Has latencies counted from now on, while somebody looks. Called by the one who looks.
    pub fn want_latency(&self) {
        self.latency.get_or_init(Box::default);
    }

    /// Nanoseconds from submission, as the client claims, to completion, of requests that were
    /// accepted while somebody looked; none before anybody did.
    #[inline]
    #[must_use]
    pub fn latency(&self) -> Option<&Histogram> {
        self.latency.get().map(Box::as_ref)
    }
}
