//! The one place that reads the clock: `CLOCK_MONOTONIC`, in nanoseconds.
//!
//! Deadlines, timings and ages are differences of [`Nanos`]. Wall-clock time is never used for
//! them, so that a clock that is set cannot expire or resurrect a request.

use core::fmt;
use core::time::Duration;
use std::time::SystemTime;

/// A moment on the monotonic clock, in nanoseconds. Zero is some moment before this boot's start.
///
/// ```
/// use std::time::Duration;
/// use ipc_gateway::clock::Nanos;
///
/// let deadline = Nanos(1_000).after(Duration::from_micros(5));
/// assert_eq!(deadline, Nanos(6_000));
/// assert_eq!(deadline.until(Nanos(2_000)), Duration::from_micros(4));
/// assert_eq!(deadline.since(Nanos(9_000)), 0);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Nanos(pub u64);

impl Nanos {
    /// A moment that never comes.
    pub const NEVER: Self = Self(u64::MAX);

    /// The moment `by` later, at most [`Nanos::NEVER`].
    #[must_use]
    pub fn after(self, by: Duration) -> Self {
        let nanos = u64::try_from(by.as_nanos()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(nanos))
    }

    /// The moment `by` earlier, at least 0.
    #[must_use]
    pub fn before(self, by: Duration) -> Self {
        let nanos = u64::try_from(by.as_nanos()).unwrap_or(u64::MAX);
        Self(self.0.saturating_sub(nanos))
    }

    /// Nanoseconds from `earlier` to `self`; 0 if `earlier` is the later one.
    #[must_use]
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// Time left until `self` when it is `now`; zero if it has passed.
    #[must_use]
    pub const fn until(self, now: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(now.0))
    }
}

impl fmt::Display for Nanos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ns", self.0)
    }
}

/// Where a room gets the time from: the system, or a test's hand.
pub trait Clock {
    /// The present moment.
    fn now(&self) -> Nanos;
}

/// Seconds since 1970 on the wall clock, for people and for metrics only; 0 before 1970.
#[must_use]
#[expect(
    clippy::disallowed_methods,
    reason = "a moment that another machine's clock is compared with; no deadline depends on it"
)]
pub fn unix_seconds() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

/// Nanoseconds since 1970 on the wall clock, for the collectors of traces; 0 before 1970.
#[must_use]
#[expect(
    clippy::disallowed_methods,
    reason = "a moment that other machines' are compared with; no deadline depends on it"
)]
pub fn unix_nanos() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
    })
}

/// The system's monotonic clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct System;

impl Clock for System {
    #[inline]
    fn now(&self) -> Nanos {
        Nanos(ipc_ringbuf::monotonic_ns())
    }
}
