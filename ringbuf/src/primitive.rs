//! The door to atomics: `core`'s, or loom's when the rings are model-checked (`--cfg loom`).
//!
//! Everything that shares words, between threads or between processes, imports them from here, so
//! that the algorithms never know which they run on.

#[cfg(not(loom))]
pub use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};

#[cfg(loom)]
pub use loom::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};
