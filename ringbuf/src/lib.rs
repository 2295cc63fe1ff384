//! Shared-memory rings between a client process and ipc-gateway.

pub mod entry;
pub mod headers;
pub mod primitive;
mod sys;

pub use sys::monotonic_ns;
