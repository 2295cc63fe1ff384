//! [`Reattach`]: what happens when the gateway has ended, and how patient a call is about it.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use crate::sys;

/// Shortest and longest backoff between two tries to attach again, before jitter.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(2));

/// What a handle does when its gateway has ended, or ends: a restart, an upgrade, a crash.
///
/// What was outstanding is completed in any case, each request once: what the gateway has finished
/// as it says; what it never took, and says so by ending in order, as `DRAINING` (`REJECTED`: safe
/// to send again); everything else as `GATEWAY_RESTARTED` (`UNKNOWN`: it may have run). Attaching
/// again backs off with jitter, so that the clients of a gateway do not come back all at once.
///
/// [`ClientBuilder`](super::ClientBuilder) shows how to choose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reattach {
    /// Never attaches again: every later submission is refused as detached.
    Never,
    /// Submissions attach again when the backoff allows a try, and are refused as detached
    /// meanwhile. The submission that begins a try waits at most 10 ms, which is enough for a gateway
    /// that runs; if there is no answer by then it is refused, and those after it look, without waiting,
    /// whether the answer has come, until [`attach_timeout`](super::ClientBuilder::attach_timeout) is over.
    /// Of the threads that call through a [`SharedClient`](super::SharedClient) one tries, for at most
    /// `attach_timeout`, and the others are refused meanwhile; an `AsyncClient` tries in the background.
    #[default]
    Try,
    /// Submissions and calls wait for the next gateway for so long, each anew, before they are
    /// refused as detached. A call through a [`SharedClient`](super::SharedClient) that has begun a try
    /// by then ends with it, up to `attach_timeout` later. A call that the gateway rejects as `DRAINING` was never sent: it is
    /// submitted again within that time.
    Wait(Duration),
}

impl Reattach {
    /// How long a call that begins now may wait for a gateway.
    pub(super) fn patience(self) -> Patience {
        let end = match self {
            Self::Wait(time) => sys::monotonic_ns().saturating_add(nanos(time)),
            Self::Never | Self::Try => 0,
        };
        Patience { end, tries: 0 }
    }
}

/// How long one call may still wait for a gateway.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    end: u64,
    tries: u32,
}

impl Patience {
    /// The moment at which it ends, on the monotonic clock; 0 when there is none.
    pub(super) const fn end(&self) -> u64 {
        self.end
    }

    /// Whether there is any at all.
    pub(super) const fn is_some(&self) -> bool {
        self.end != 0
    }

    /// How long to pause before the next try, if there is time for one.
    pub(super) fn next(&mut self) -> Option<Duration> {
        if self.end == 0 {
            return None;
        }
        let pause = backoff(self.tries);
        self.tries = self.tries.saturating_add(1);
        let is_in_time = sys::monotonic_ns().saturating_add(pause) < self.end;
        is_in_time.then(|| Duration::from_nanos(pause))
    }
}

/// Nanoseconds to wait before another try: anything up to an exponentially growing bound ("full
/// jitter").
pub(super) fn backoff(failures: u32) -> u64 {
    let (least, most) = BACKOFF;
    let factor = 1_u32.checked_shl(failures.min(16)).unwrap_or(u32::MAX);
    let bound = nanos(least.saturating_mul(factor).min(most)).max(1);
    // The standard library's per-process random hash keys are random enough for jitter.
    RandomState::new().hash_one(sys::monotonic_ns()) % bound
}

pub(super) fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
