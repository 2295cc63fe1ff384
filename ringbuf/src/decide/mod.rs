//! Requests for the Router's `decide` contract, checked before they are sent.
//!
//! The Router may answer an invalid request with silence, so everything that it would refuse is
//! refused here, with the field and the rule. A [`Decide`] has been checked: it holds the finished
//! JSON, and every value in it was written by the encoder, so that no text can become structure.
//!
//! ```
//! use ipc_ringbuf::decide::{DecideRequest, Task};
//! use serde_json::json;
//!
//! let task = Task::new("summarize").payload(json!({"text": "hello"}));
//! let decide = DecideRequest::new("acme", "req-1", task)
//!     .policy_id("cheapest")
//!     .idempotency_key("order-17")
//!     .build()?;
//! assert!(decide.payload().starts_with(b"{"));
//! assert!(decide.headers().any(|header| header == ("tenant_id", "acme")));
//! # Ok::<(), ipc_ringbuf::decide::DecideError>(())
//! ```
//!
//! What does not fit is refused, and says what:
//!
//! ```
//! use ipc_ringbuf::decide::{self, DecideRequest, Task};
//! use serde_json::json;
//!
//! let with = |text: &str, key: &str| {
//!     let task = Task::new("summarize").payload(json!({ "text": text }));
//!     DecideRequest::new("acme", "req-1", task).idempotency_key(key).build()
//! };
//! let longest = "k".repeat(decide::MAX_IDEMPOTENCY_KEY_BYTES);
//! assert!(with("hello", &longest).is_ok());
//! assert!(with("hello", &(longest + "k")).is_err());
//! assert!(with(&"x".repeat(decide::MAX_PAYLOAD_BYTES), "key").is_err());
//! // `{}` is shorter than this.
//! assert!(decide::MIN_TASK_PAYLOAD_BYTES > 2);
//! let empty = Task::new("summarize").payload(json!({}));
//! assert!(DecideRequest::new("acme", "req-1", empty).build().is_err());
//! ```

mod check;
mod error;
mod format;
mod request;
mod task;

pub use error::{DecideError, Field};
pub use format::trace_id_of;
pub use request::{Decide, DecideRequest};
pub use task::Task;

/// Largest request, in bytes of JSON: the Router's own limit, which is also the default of a NATS
/// server.
pub const MAX_PAYLOAD_BYTES: usize = 1_048_576;
/// Smallest `task.payload`, in bytes of JSON without white space.
pub const MIN_TASK_PAYLOAD_BYTES: usize = 10;
/// Longest idempotency key, in bytes.
pub const MAX_IDEMPOTENCY_KEY_BYTES: usize = 256;
