//! The clock, and giving the processor away.

use std::time::Duration;

use nix::time::ClockId;

/// The monotonic clock, in nanoseconds (`CLOCK_MONOTONIC`). The same clock in every process of the
/// machine.
///
/// ```
/// let before = ipc_ringbuf::monotonic_ns();
/// assert!(ipc_ringbuf::monotonic_ns() >= before);
/// ```
#[inline]
#[must_use]
pub fn monotonic_ns() -> u64 {
    read(ClockId::CLOCK_MONOTONIC)
}

/// The same clock as it stood at the last tick of the system's timer: up to 10 ms less. It takes a
/// few loads, whatever the machine's clock is.
#[inline]
pub(crate) fn coarse_ns() -> u64 {
    read(ClockId::CLOCK_MONOTONIC_COARSE)
}

#[inline]
fn read(clock: ClockId) -> u64 {
    nix::time::clock_gettime(clock).map_or(0, |at| {
        let seconds = u64::try_from(at.tv_sec()).unwrap_or(0);
        let nanos = u64::try_from(at.tv_nsec()).unwrap_or(0);
        seconds.wrapping_mul(1_000_000_000).wrapping_add(nanos)
    })
}

/// Gives the processor to another runnable thread, if there is one.
#[inline]
pub fn yield_now() {
    std::thread::yield_now();
}

/// Sleeps for a while that nothing can end early: between two tries of what cannot be waited for.
pub(crate) fn pause(time: Duration) {
    let end = monotonic_ns().saturating_add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
    loop {
        let left = end.saturating_sub(monotonic_ns());
        if left == 0 {
            return;
        }
        std::thread::park_timeout(Duration::from_nanos(left));
    }
}
