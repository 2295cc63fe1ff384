//! How a side waits for the other.

use std::hint::spin_loop;
use std::time::Instant;

use ipc_ringbuf::sys;

use super::support::SOON;

/// Empty looks before the processor is given to whoever else needs it, and before the clock is read.
const LOOKS: u32 = 1024;

/// Looks again and again, lets others run now and then, and gives up when nothing comes.
pub(crate) struct Looks {
    count: u32,
    since: Instant,
}

impl Looks {
    pub(crate) fn new() -> Self {
        Self {
            count: 0,
            since: Instant::now(),
        }
    }

    pub(crate) fn pause(&mut self) {
        self.count = self.count.wrapping_add(1);
        if self.count.is_multiple_of(LOOKS) {
            assert!(self.since.elapsed() < SOON, "the other side has stopped");
            sys::yield_now();
        } else {
            spin_loop();
        }
    }
}
