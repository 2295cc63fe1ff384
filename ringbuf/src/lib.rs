//! Shared-memory rings between a client process and ipc-gateway.

#[cfg(not(loom))]
#[expect(unsafe_code, reason = "copies between shared and private memory")]
mod arena;
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
#[cfg(not(loom))]
#[expect(unsafe_code, reason = "system calls that no library wraps")]
pub mod sys;

#[cfg(not(loom))]
pub use sys::monotonic_ns;
