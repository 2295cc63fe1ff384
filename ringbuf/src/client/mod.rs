//! The client's end: what an application imports.
//!
//! | noun | what it is |
//! |---|---|
//! | [`ClientBuilder`], [`Reattach`] | where to attach, with what geometry, and what then when the gateway ends |
//! | [`Client`] | one attached handle for one thread: the fast way |
//! | [`SharedClient`] | one handle for many threads |
//! | `AsyncClient` | one handle for many tasks (feature `tokio`) |
//! | [`Request`], [`Loan`] | what goes out: copied into a block, or written in place |
//! | [`RouteRef`], [`RouteId`] | where it goes: a name, or what a handle has found by one |
//! | [`Completion`] | what comes back, exactly once for each request |

mod attachment;
mod builder;
mod completion;
mod error;
mod greeting;
mod handle;
mod loan;
mod presence;
mod reattach;
mod request;
mod route;
mod session;
mod shared;
#[cfg(feature = "tokio")]
mod tasks;
mod waiting;
mod watched;

pub use builder::ClientBuilder;
pub use completion::{Completion, OwnedCompletion, Timing};
pub use error::{CallError, SubmitError};
pub use handle::Client;
pub use loan::Loan;
pub use reattach::Reattach;
pub use request::{Request, RouteRef, Ticket};
pub use route::RouteId;
pub use shared::SharedClient;
#[cfg(feature = "tokio")]
pub use tasks::AsyncClient;
pub use waiting::WaitStrategy;
