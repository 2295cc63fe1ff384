//! The two cores that the sides run on.

use std::sync::Barrier;
use std::time::Duration;

use core_affinity::get_core_ids;
use ipc_gateway::placement::{CoreId, pin};
use ipc_ringbuf::sys::monotonic_ns;

/// The cores that the two sides run on.
#[derive(Clone, Copy)]
pub(crate) struct Cores(pub(crate) CoreId, pub(crate) CoreId);

impl Cores {
    pub(crate) fn find() -> Option<Self> {
        match *get_core_ids()?.as_slice() {
            [first, second, ..] => Some(Self(first, second)),
            _ => None,
        }
    }
}

/// Runs both on threads of their own, one on each core; the time from the start to the second's end.
pub(crate) fn on_both(
    cores: Cores,
    first: impl FnOnce() + Send,
    second: impl FnOnce() -> u64 + Send,
) -> Duration {
    let start = Barrier::new(2);
    std::thread::scope(|scope| {
        let second = scope.spawn(|| {
            pin(cores.1);
            start.wait();
            second()
        });
        let begin = scope.spawn(|| {
            pin(cores.0);
            start.wait();
            let begin = monotonic_ns();
            first();
            begin
        });
        let begin = begin.join().unwrap();
        Duration::from_nanos(second.join().unwrap() - begin)
    })
}
