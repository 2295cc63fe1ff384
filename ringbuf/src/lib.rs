//! Shared-memory rings between a client process and ipc-gateway.

#[cfg(feature = "router")]
pub mod decide;
pub mod entry;
pub mod headers;
pub mod primitive;
mod sys;

pub use sys::monotonic_ns;
