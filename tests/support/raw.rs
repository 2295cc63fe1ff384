//! A client by hand, which can write what the client library would never write.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use ipc_ringbuf::entry::{Code, Cqe, DESCRIPTOR_BYTES, Opcode, Sqe, Words};
use ipc_ringbuf::handshake::{Answer, Hello, MAX_PACKET_BYTES};
use ipc_ringbuf::layout::{Geometry, Layout, Ring};
use ipc_ringbuf::primitive::Ordering;
use ipc_ringbuf::region::{Region, RingView};
use ipc_ringbuf::spsc::{Consumer, Producer, RingMemory as _};
use ipc_ringbuf::sys;

use super::{SOON, eventually};

pub(crate) struct RawClient {
    layout: Layout,
    region: Arc<Region>,
    /// The region once more: bodies are written and read through it.
    memfd: File,
    submissions: Producer<RingView>,
    completions: Consumer<RingView>,
    eventfd: OwnedFd,
    _socket: OwnedFd,
}

impl RawClient {
    /// Attaches with blocks of `message_size` bytes.
    pub(crate) fn attach(path: &Path, message_size: u32) -> Self {
        let socket = sys::connect_seqpacket(path, SOON).unwrap();
        let geometry = Geometry {
            entries: 2,
            message_size,
        };
        let name = "raw".to_owned();
        let hello = Hello { geometry, name }.encode();
        sys::send_packet(socket.as_fd(), &hello, &[]).unwrap();
        let mut packet = vec![0; MAX_PACKET_BYTES];
        let (bytes, fds) = sys::receive_packet(socket.as_fd(), &mut packet)
            .unwrap()
            .unwrap();
        let answer = Answer::parse(&packet[..bytes]).unwrap();
        assert!(matches!(answer, Answer::Welcome(_)), "{answer:?}");
        let [memfd, _page, eventfd] = fds.try_into().unwrap();
        let layout = Layout::try_from(geometry).unwrap();
        let region = Region::map(memfd.as_fd(), layout).unwrap();
        Self {
            layout,
            submissions: Producer::new(region.ring(Ring::Submission)),
            completions: Consumer::new(region.ring(Ring::Completion)),
            region,
            memfd: memfd.into(),
            eventfd,
            _socket: socket,
        }
    }

    /// Submits these words and this body, and waits for the completion.
    pub(crate) fn exchange(&mut self, words: &Words, body: &[u8]) -> Cqe {
        let at = self.layout.block_at(0).unwrap() + DESCRIPTOR_BYTES as u64;
        self.memfd.write_all_at(body, at).unwrap();
        self.region.store_descriptor(0, words);
        self.submissions.push(0).unwrap().unwrap();
        self.submissions.publish();
        sys::ring_eventfd(self.eventfd.as_fd());
        eventually("a completion comes", || {
            self.completions.has_more().unwrap()
        });
        assert_eq!(self.completions.pop(), Ok(Some(0)));
        self.completions.release();
        let words = self.region.load_descriptor(0).unwrap();
        Cqe::parse(&words, self.layout.message_size()).unwrap()
    }

    /// Claims more submissions than the ring has places.
    pub(crate) fn corrupt(&self) {
        let ring = self.region.ring(Ring::Submission);
        ring.tail().store(u64::from(u32::MAX), Ordering::Release);
        sys::ring_eventfd(self.eventfd.as_fd());
    }

    /// The code that a request with this header block completes with.
    pub(crate) fn code_of(&mut self, route: u16, block: &[u8]) -> Code {
        let sqe = Sqe {
            header_len: u32::try_from(block.len()).unwrap(),
            ..call(route)
        };
        self.exchange(&sqe.to_words(), block).code
    }
}

/// A submission without a body.
pub(crate) const fn call(route: u16) -> Sqe {
    Sqe {
        user_data: 7,
        opcode: Opcode::Call,
        idempotent: false,
        route,
        header_len: 0,
        payload_len: 0,
        timeout_ns: 0,
        submitted_ns: 0,
    }
}
