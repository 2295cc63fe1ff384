//! The hinge between the workers and whatever answers them: plain values in bounded queues.
//!
//! ```text
//!  worker thread                         NATS thread
//!  WorkerEnd --- Outbound (bounded) ---> UpstreamEnd
//!            <--- Inbound (bounded) ----
//! ```
//!
//! | file | what it is |
//! |---|---|
//! | `values` | `Token`, `Request`, `Reply`, `Times`: what goes through |
//! | `upstream` | what a worker needs of the side that answers; `Loopback` |
//! | `link` | the two queues and their ends, and who sleeps |
//! | `batches` | one such queue |
//! | `admission` | how much of a route's traffic is let in |
//! | `duty` | a worker, seen from the runtime that steps it |
//! | `news` | what the side that answers is told while it runs |
//!
//! The worker makes sure of room in the queue out before it accepts a request, and the queue back holds
//! every answer that can come, so neither push can fail and nothing here waits. Each side says before it sleeps that it will (`Sleeper`), and is woken
//! only then. Nothing here knows NATS, shared memory or a thread.

mod admission;
mod batches;
mod duty;
mod link;
mod news;
mod upstream;
mod values;

pub use admission::{Admission, Admissions};
pub use duty::Duty;
pub use ipc_ringbuf::code::{Code, Outcome};
pub use ipc_ringbuf::headers;
pub use link::{UpstreamEnd, WorkerEnd, link};
pub use news::{News, Told};
pub use upstream::{Loopback, Upstream};
pub use values::{Reply, Request, Times, Token};
