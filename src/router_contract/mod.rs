//! The Router's contract as code: what its replies mean, what its backpressure says, and which
//! headers a request carries.
//!
//! Pure functions over bytes; the worker and the NATS room call them, and nothing here knows
//! either. Sources that contradict each other are read liberally and written exactly. The
//! invariant: a reply in which the Router says `ok: false` never becomes a success.

mod backpressure;
mod facts;
mod headers;
mod reply;

pub use backpressure::{Backpressure, DEFAULT_RETRY_AFTER, Poll, Status, parse_backpressure};
pub use headers::{
    DEADLINE, Decimal, HeaderFault, IDEMPOTENCY_KEY, Outgoing, TENANT_ID, TRACE_ID, TRACEPARENT,
    VERSION, check_client_headers, has_idempotency_key, outgoing_headers,
};
pub use reply::{Verdict, classify, classify_opaque, classify_router, classify_stream};
