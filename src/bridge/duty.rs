//! A worker, seen from the runtime that steps it.

use crate::clock::Nanos;

/// What the thread of another room steps: a worker, seen from the NATS runtime in merged mode.
pub trait Duty: Send {
    /// One duty cycle; returns how much was done, 0 when there was nothing to do.
    fn do_work(&mut self) -> usize;

    /// Says that this side will sleep, and looks once more: `false` means there is work after all.
    fn prepare_to_sleep(&mut self) -> bool;

    /// Says that this side is awake again.
    fn awake(&mut self);

    /// A descriptor that becomes readable when a client or the control thread has rung.
    fn bell(&self) -> std::os::fd::BorrowedFd<'_>;

    /// The next moment at which something is due without being rung for.
    fn next_due(&self) -> Nanos;

    /// Whether the gateway has told it to end and it has nothing left to do.
    fn finished(&self) -> bool;
}
