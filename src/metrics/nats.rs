//! What the NATS room counts.

use super::latency::Histogram;
use super::{Counter, Named};

/// Counters of the NATS room; its one thread writes them.
#[derive(Debug, Default)]
pub struct NatsMetrics {
    /// Requests handed to a connection, re-sends included.
    pub published: Counter,
    /// Nanoseconds from acceptance to the hand-over to a connection, at the resolution of a turn.
    pub publish: Histogram,
    /// Nanoseconds from the last hand-over to the answer's arrival, of requests that were answered.
    pub upstream: Histogram,
    /// Messages that came to a reply inbox and completed a request.
    pub replies: Counter,
    /// `PubAck`s ignored because the route waits for a reply.
    pub pubacks_ignored: Counter,
    /// Messages to a reply inbox that name no request: malformed or never given out.
    pub unmatched_forged: Counter,
    /// Messages to a reply inbox for a request whose place has been used again since.
    pub unmatched_late: Counter,
    /// Messages to a reply inbox for a request that had been answered.
    pub unmatched_duplicate: Counter,
    /// Reply headers left out because they break the rules of a header block.
    pub reply_headers_dropped: Counter,
    /// Replies larger than their route allows.
    pub replies_too_large: Counter,
    /// Answers that the worker's queue had no room for. Always 0, or the books do not balance.
    pub answers_refused: Counter,
    /// Replies whose header block cannot be read, by route.
    pub protocol_errors: Named,
    /// Tasks of the room's runtime, when it last went to sleep: one for each attempt to connect.
    pub tasks: Counter,
    /// Requests that no responder listened for.
    pub no_responders: Counter,
    /// Requests that were sent again.
    pub resent: Counter,
    /// Requests that would have been sent again but for the budget.
    pub resend_budget_exhausted: Counter,
    /// Connections made.
    pub connects: Counter,
    /// Attempts to connect that failed.
    pub connect_failures: Counter,
    /// Connections lost.
    pub disconnects: Counter,
    /// Notices that a server is about to end.
    pub lame_ducks: Counter,
    /// Errors from the server about permissions.
    pub errors_permission: Counter,
    /// Errors from the server about who we are.
    pub errors_authorization: Counter,
    /// Other errors from the server.
    pub errors_other: Counter,
    /// Backpressure statuses understood.
    pub backpressure_statuses: Counter,
    /// Messages on the backpressure subject that could not be understood.
    pub backpressure_unreadable: Counter,
    /// Connections that are wanted (gauge). Set once, before the room begins.
    pub configured: Counter,
    /// Connections that are up.
    pub connected: Counter,
    /// Requests that wait for a connection or for room in one.
    pub held: Counter,
    /// Turns of the room; it stands still only while the room sleeps or is stuck.
    pub turns: Counter,
    /// 1 while the room sleeps, else 0 (gauge).
    pub asleep: Counter,
}
