//! Shared-memory rings between a client process and ipc-gateway: the contract that both compile.
//!
//! A session is one sealed memfd that the gateway makes and passes to the client:
//!
//! ```text
//!  client process                                       gateway process
//!  Client --- block index ---> submission ring ---> Port (worker)
//!         <--- block index --- completion ring <---
//!               blocks: [descriptor][headers][payload], written in place, one for each request
//! ```
//!
//! The client takes a free block, writes descriptor ([`entry::Sqe`]), headers and payload, and
//! pushes the block's index. The gateway checks a private copy, sends it on, overwrites the same
//! block with the completion ([`entry::Cqe`]) and the reply, and pushes the index back. Credits are
//! blocks are ring slots, so a completion always has room.
//!
//! # Who may enter
//!
//! [`client`] and [`port`] are mirror images over [`spsc`] (the rings), [`doorbell`] (how to sleep
//! and be woken), `arena` (copies) and [`region`] (the mapping). `unsafe` is allowed in `region`,
//! `arena` and [`sys`] only. The bytes are described in `docs/PROTOCOL.md`.
//!
//! The public interface is what is re-exported here, and [`decide`]. The modules are for the gateway and
//! for tests: rustdoc hides them, and they may change in any release.
//! (`RUSTDOCFLAGS="--document-hidden-items -Z unstable-options"` with a nightly rustdoc shows them.)

/// Marks a moment at which a test may end the process. Nothing without the feature `steps`.
#[cfg(not(loom))]
macro_rules! step {
    ($step:ident) => {
        #[cfg(feature = "steps")]
        crate::steps::reached(crate::steps::Step::$step);
    };
}

#[cfg(not(loom))]
#[expect(unsafe_code, reason = "copies between shared and private memory")]
mod arena;
#[cfg(not(loom))]
#[doc(hidden)]
pub mod client;
#[doc(hidden)]
pub mod code;
#[cfg(feature = "router")]
pub mod decide;
#[doc(hidden)]
pub mod doorbell;
#[doc(hidden)]
pub mod entry;
#[doc(hidden)]
pub mod error;
#[cfg(not(loom))]
#[doc(hidden)]
pub mod handshake;
#[doc(hidden)]
pub mod headers;
#[doc(hidden)]
pub mod layout;
#[cfg(not(loom))]
#[doc(hidden)]
pub mod port;
#[doc(hidden)]
pub mod primitive;
#[cfg(not(loom))]
#[expect(unsafe_code, reason = "makes atomics out of mapped memory")]
#[doc(hidden)]
pub mod region;
#[doc(hidden)]
pub mod spsc;
#[cfg(all(feature = "steps", not(loom)))]
#[doc(hidden)]
pub mod steps;
#[cfg(not(loom))]
#[expect(unsafe_code, reason = "system calls that no library wraps")]
#[doc(hidden)]
pub mod sys;

#[cfg(all(feature = "tokio", not(loom)))]
pub use client::AsyncClient;
#[cfg(not(loom))]
pub use client::{
    CallError, Client, ClientBuilder, Completion, Loan, OwnedCompletion, Reattach, Request,
    RouteId, RouteRef, SharedClient, SubmitError, Ticket, Timing, WaitStrategy,
};
pub use code::{Code, Outcome};
pub use error::{AttachError, EndReason};
pub use headers::HeaderError;
pub use layout::GeometryError;
#[cfg(not(loom))]
pub use sys::monotonic_ns;

/// Compiles the README's example.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
