//! Bells: how a side that has nothing to do sleeps without missing work, and how the other side
//! rings only when somebody sleeps.
//!
//! Both bells, client to gateway and gateway to client, are the same four steps on one word:
//!
//! ```text
//!  sleeper                          ringer
//!  word = how                       publish work (Release store of a ring's tail)
//!  fence SeqCst        <-->         fence SeqCst
//!  look for work once more          word != 0 ?
//!  sleep while word == how          then ring
//! ```
//!
//! The two fences are totally ordered. If the sleeper's comes first, the ringer's load sees the
//! word; if the ringer's comes first, the sleeper's look sees the work. Without either fence both
//! may look at old values (store buffering) and the sleeper sleeps beside work; `tests/loom.rs`
//! shows that. The same argument is in Linux's `io_uring` (`io_uring/sqpoll.c`) and in virtio's
//! event suppression.

use crate::primitive::{AtomicU32, Ordering, fence};

/// Nobody sleeps.
pub const AWAKE: u32 = 0;
/// A sleeper waits on the word itself (futex), or, for a worker, on its clients' eventfds.
pub const ASLEEP: u32 = 1;
/// A sleeper waits for a byte on the control socket.
pub const ASLEEP_ON_SOCKET: u32 = 2;

/// Says on `word` that this side is about to sleep, and how. Look for work once more after this.
#[inline]
pub fn arm(word: &AtomicU32, how: u32) {
    word.store(how, Ordering::Relaxed);
    // Pairs with the fence in `asleep`.
    fence(Ordering::SeqCst);
}

/// Says on `word` that this side is awake.
#[inline]
pub fn disarm(word: &AtomicU32) {
    // No ordering: a ring that comes too much is only a wasted call.
    word.store(AWAKE, Ordering::Relaxed);
}

/// Whether the other side sleeps, asked after work has been published: [`AWAKE`] or how it wants
/// to be woken. The word is a claim; any value can come back.
#[inline]
#[must_use]
pub fn asleep(word: &AtomicU32) -> u32 {
    // Pairs with the fence in `arm`.
    fence(Ordering::SeqCst);
    word.load(Ordering::Relaxed)
}
