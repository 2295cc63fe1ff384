//! The moments of a traced request, and the queue that they go through.

use std::sync::Arc;

use crossbeam_queue::ArrayQueue;

use crate::bridge::{Code, Times};
use crate::clock::Nanos;

/// Requests that wait to be sent on, of all workers.
const CAPACITY: usize = 4096;

/// A traced request that was completed. The moments are in order, whichever clock reading of a
/// batch they are from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// The trace.
    pub trace_id: u128,
    /// The client's span, if it named one.
    pub parent: Option<u64>,
    /// The span of the whole request.
    pub request: u64,
    /// The span of the upstream, which the upstream knows as its parent.
    pub upstream: u64,
    /// Place of the route in the configured list.
    pub route: u16,
    /// How it was completed.
    pub code: Code,
    /// Bytes of the payload.
    pub payload_bytes: u64,
    /// Bytes of the reply's payload.
    pub reply_bytes: u64,
    /// When the client submitted it, as it claims.
    pub submitted: Nanos,
    /// When a worker took it.
    pub accepted: Nanos,
    /// When it was handed to a connection and when its answer came; none if it was not answered.
    pub times: Option<Times>,
    /// When it was completed.
    pub completed: Nanos,
}

impl Record {
    /// The same with its moments in order.
    #[must_use]
    pub fn in_order(mut self) -> Self {
        self.submitted = self.submitted.min(self.accepted);
        if let Some(times) = &mut self.times {
            times.published = times.published.max(self.accepted);
            times.answered = times.answered.max(times.published);
            self.completed = self.completed.max(times.answered);
        }
        self.completed = self.completed.max(self.accepted);
        self
    }

    /// Spans that it becomes: the request, its ring wait, and what is known of the rest.
    #[must_use]
    pub const fn spans(&self) -> u64 {
        if self.times.is_some() {
            5
        } else {
            2 + self.has_upstream() as u64
        }
    }

    /// Whether it was, or may have been, with the upstream.
    #[must_use]
    pub const fn has_upstream(&self) -> bool {
        self.times.is_some() || !matches!(self.code.outcome(), crate::bridge::Outcome::Rejected)
    }
}

/// Records on their way from the workers to whoever sends them on.
pub type Records = Arc<ArrayQueue<Record>>;

/// An empty queue.
#[must_use]
pub fn records() -> Records {
    Arc::new(ArrayQueue::new(CAPACITY))
}
