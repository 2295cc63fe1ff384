//! The one room of system calls.

/// The monotonic clock, in nanoseconds (`CLOCK_MONOTONIC`). The same clock in every process of the
/// machine.
#[must_use]
pub fn monotonic_ns() -> u64 {
    let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC);
    now.map_or(0, |at| {
        let seconds = u64::try_from(at.tv_sec()).unwrap_or(0);
        seconds
            .saturating_mul(1_000_000_000)
            .saturating_add(u64::try_from(at.tv_nsec()).unwrap_or(0))
    })
}
