//! When to ask whether the gateway is still there, which takes a system call.
//!
//! A gateway that was killed says nothing, so the client asks after a time. Time is what counts, not
//! how often the client looks: it may poll once a frame or a hundred million times a second.

use std::time::Duration;

use crate::sys;

/// Longest time between two questions while something is outstanding.
pub(super) const ASK_EVERY: Duration = Duration::from_nanos(ASK_EVERY_NS);
const ASK_EVERY_NS: u64 = 100_000_000;
/// Polls in vain after which the gateway is asked for whatever the clock says.
const POLLS_PER_CHECK: u32 = 4096;
/// Polls in vain for each reading of the clock while nothing is outstanding.
const POLLS_PER_CLOCK: u32 = 64;

/// When the gateway's presence was last checked.
#[derive(Debug)]
pub(super) struct Presence {
    checked_at: u64,
    /// Polls in vain since then, or since the last completion.
    polls: u32,
}

impl Presence {
    /// It is there now: it has just answered.
    pub(super) fn checked_now() -> Self {
        Self {
            checked_at: sys::coarse_ns(),
            polls: 0,
        }
    }

    /// A completion was taken.
    #[inline]
    pub(super) const fn found(&mut self) {
        self.polls = 0;
    }

    /// Whether to check at this moment of the monotonic clock.
    #[inline]
    pub(super) const fn is_due(&self, now: u64) -> bool {
        now.saturating_sub(self.checked_at) >= ASK_EVERY_NS
    }

    /// Whether to check after a poll in vain. Those who wait for a completion read the clock each
    /// time, for who polls seldom must not wait for many polls; it is the coarse clock, a few loads.
    #[inline]
    pub(super) fn is_due_after_poll(&mut self, is_waiting: bool) -> bool {
        self.polls += 1;
        self.polls >= POLLS_PER_CHECK
            || ((is_waiting || self.polls.is_multiple_of(POLLS_PER_CLOCK))
                && self.is_due(sys::coarse_ns()))
    }
}
