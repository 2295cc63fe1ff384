//! Our ring between two processes.

use std::os::fd::{AsFd as _, AsRawFd as _};
use std::time::Duration;

use ipc_ringbuf::layout::{Geometry, Layout, Ring};
use ipc_ringbuf::region::{Region, RingView};
use ipc_ringbuf::spsc::{Consumer, Producer};
use ipc_ringbuf::sys::{self, monotonic_ns};

use super::looks::Looks;
use super::peer::{Peer, serve};
use super::{BATCH, SLOTS};

/// Our ring, its producer here and its consumer in another process.
pub(crate) struct RingPeers {
    producer: Producer<RingView>,
    next: u32,
    peer: Peer,
}

impl RingPeers {
    fn layout() -> Layout {
        let geometry = Geometry {
            entries: SLOTS,
            message_size: 64,
        };
        Layout::try_from(geometry).unwrap()
    }

    pub(crate) fn new() -> Self {
        let layout = Self::layout();
        let memfd = sys::sealed_memfd("bench-peers", layout.region_bytes()).unwrap();
        let region = Region::map(memfd.as_fd(), layout).unwrap();
        let role = format!("ring {} {}", std::process::id(), memfd.as_raw_fd());
        let mut peers = Self {
            producer: Producer::new(region.ring(Ring::Submission)),
            next: 0,
            peer: Peer::spawn(role),
        };
        // When it has done nothing, it has mapped the memory.
        peers.push(0, 1);
        peers
    }

    pub(crate) fn serve(pid: &str, fd: &str) {
        let memfd = std::fs::OpenOptions::new()
            .read(true)
            .write(true)
            .open(format!("/proc/{pid}/fd/{fd}"))
            .unwrap();
        let region = Region::map(memfd.as_fd(), Self::layout()).unwrap();
        let mut consumer = Consumer::new(region.ring(Ring::Submission));
        let mut expected = 0_u32;
        serve(|count| {
            let mut looks = Looks::new();
            let end = expected.wrapping_add(u32::try_from(count).unwrap());
            while expected != end {
                let Some(value) = consumer.pop().unwrap() else {
                    consumer.release();
                    looks.pause();
                    continue;
                };
                assert_eq!(value, expected);
                expected = expected.wrapping_add(1);
                if expected.is_multiple_of(BATCH) {
                    consumer.release();
                }
            }
            consumer.release();
        });
    }

    pub(crate) fn push(&mut self, count: u64, batch: u32) -> Duration {
        self.peer.order(count);
        let (begin, mut looks) = (monotonic_ns(), Looks::new());
        let end = self.next.wrapping_add(u32::try_from(count).unwrap());
        while self.next != end {
            while self.producer.push(self.next).unwrap().is_err() {
                self.producer.publish();
                looks.pause();
            }
            self.next = self.next.wrapping_add(1);
            if self.producer.staged() >= batch {
                self.producer.publish();
            }
        }
        self.producer.publish();
        // With nothing to do it is done before we have begun.
        Duration::from_nanos(self.peer.answer().saturating_sub(begin))
    }
}
