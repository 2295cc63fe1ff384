//! The tests of both ends of a session against each other, in one process.
//!
//! | module | what goes there |
//! |---|---|
//! | `support` | a client and the gateway's port for it |
//! | `again` | a client that attaches again where no gateway runs yet |
//! | `properties` | random operations against a simple model |
//! | `hostile` | either side writes what it should not |
//! | `resume` | a gateway's end that goes on where another has stopped |
//! | `times` | what a client does by the clock: it notices a dead gateway, and dates its submissions |
//! | `shared` | threads that share a client |
//! | `shown` | every public item that an application calls has an example |
//! | `watched` | a client that waits for its socket among others |
//! | `two_threads` | both sides at full speed |
#![cfg(not(loom))]
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test and its helpers fail by panicking"
)]

mod again;
mod hostile;
mod properties;
mod resume;
mod shared;
mod shown;
mod support;
mod times;
mod two_threads;
mod watched;
