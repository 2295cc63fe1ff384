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
//! The public interface for applications is what is re-exported here.

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
pub mod client;
#[cfg(feature = "router")]
pub mod decide;
pub mod doorbell;
pub mod entry;
pub mod error;
#[cfg(not(loom))]
pub mod handshake;
pub mod headers;
pub mod layout;
#[cfg(not(loom))]
pub mod port;
pub mod primitive;
#[cfg(not(loom))]
#[expect(unsafe_code, reason = "makes atomics out of mapped memory")]
pub mod region;
pub mod spsc;
#[cfg(all(feature = "steps", not(loom)))]
pub mod steps;
#[cfg(not(loom))]
#[expect(unsafe_code, reason = "system calls that no library wraps")]
pub mod sys;

#[cfg(all(feature = "tokio", not(loom)))]
pub use client::AsyncClient;
#[cfg(not(loom))]
pub use client::{
    CallError, Client, ClientBuilder, Completion, Loan, OwnedCompletion, Reattach, Request,
    SharedClient, SubmitError, Ticket, WaitStrategy,
};
pub use entry::{Code, Outcome};
pub use error::{AttachError, EndReason};
#[cfg(not(loom))]
pub use sys::monotonic_ns;

/// Compiles the README's example.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
