//! What the allocator has handed out and not got back, where the program counts it (feature `counted`).
//!
//! The memory of a process moves in steps that its allocator chooses, of tens of kilobytes to megabytes, and
//! what it keeps for later is no leak. This figure is exact, so that at rest two moments can be compared.

use std::sync::OnceLock;

/// As of the whole process, as its allocator is.
static COUNTED: OnceLock<fn() -> usize> = OnceLock::new();

/// Says how to ask the allocator. The first to say it is heard.
///
/// ```
/// use ipc_gateway::metrics::memory;
///
/// assert_eq!(memory::allocated(), None);
/// memory::count_by(|| 640);
/// assert_eq!(memory::allocated(), Some(640));
/// ```
pub fn count_by(allocated: fn() -> usize) {
    let _first = COUNTED.set(allocated);
}

/// Bytes that were asked for and not given back; none unless the program counts them.
#[must_use]
pub fn allocated() -> Option<u64> {
    let bytes = COUNTED.get().map(|allocated| allocated());
    bytes.map(|bytes| u64::try_from(bytes).unwrap_or(u64::MAX))
}
