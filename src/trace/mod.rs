//! Which requests are traced, and the moments of those: what a worker does of it.
//!
//! | file | what it is |
//! |---|---|
//! | `context` | the W3C trace context: reads and writes `traceparent` |
//! | `random` | numbers for ids and for sampling |
//! | `record` | the moments of a traced request |
//! | `tracer` | a worker's part: samples, remembers, hands over |
//!
//! A worker without a tracer pays for a branch where it accepts and one where it completes. One that
//! has a tracer pushes records into a bounded queue and never waits: what has no room is counted.
//! Who sends the records on is `otlp`, in a binary with the feature `otel`.

mod context;
mod random;
mod record;
mod tracer;

pub use context::Context;
pub use random::Random;
pub use record::{Record, Records, records};
pub use tracer::Tracer;
