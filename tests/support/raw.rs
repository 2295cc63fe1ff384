//! A client by hand, which can write what the client library would never write.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use ipc_ringbuf::EndReason;
use ipc_ringbuf::code::Code;
use ipc_ringbuf::entry::{Cqe, DESCRIPTOR_BYTES, Opcode, Sqe, Words};
use ipc_ringbuf::handshake::{Answer, Hello, MAX_PACKET_BYTES};
use ipc_ringbuf::layout::{Geometry, Layout, Ring};
use ipc_ringbuf::primitive::Ordering;
use ipc_ringbuf::region::{Region, RingView};
use ipc_ringbuf::spsc::{Consumer, Producer, RingMemory as _};
use ipc_ringbuf::sys;

use super::{SOON, eventually};

pub(crate) struct RawClient {
    layout: Layout,
    pub(crate) region: Arc<Region>,
    /// The region once more: bodies are written and read through it.
    memfd: File,
    submissions: Producer<RingView>,
    completions: Consumer<RingView>,
    eventfd: OwnedFd,
    socket: OwnedFd,
}

impl RawClient {
    /// Attaches with blocks of `message_size` bytes.
    pub(crate) fn attach(path: &Path, message_size: u32) -> Self {
        Self::attach_with(path, 2, message_size)
    }

    /// The same, with so many of them.
    pub(crate) fn attach_with(path: &Path, entries: u32, message_size: u32) -> Self {
        let socket = sys::connect_seqpacket(path, SOON).unwrap();
        let geometry = Geometry {
            entries,
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
            socket,
        }
    }

    /// Submits these words and this body, and waits for the completion.
    pub(crate) fn exchange(&mut self, words: &Words, body: &[u8]) -> Cqe {
        let cqe = self.exchange_unreleased(words, body);
        self.completions.release();
        cqe
    }

    /// The same, without saying that the completion was taken.
    pub(crate) fn exchange_unreleased(&mut self, words: &Words, body: &[u8]) -> Cqe {
        self.submit(0, words, body);
        eventually("a completion comes", || {
            self.completions.has_more().unwrap()
        });
        assert_eq!(self.completions.pop(), Ok(Some(0)));
        let words = self.region.load_descriptor(0).unwrap();
        Cqe::parse(&words, self.layout.message_size()).unwrap()
    }

    /// Submits these words and this body in a block that the caller knows to be free.
    pub(crate) fn submit(&mut self, block: u32, words: &Words, body: &[u8]) {
        self.write_body(block, body);
        self.region.store_descriptor(block, words);
        self.submissions.push(block).unwrap().unwrap();
        self.submissions.publish();
        self.ring_gateway();
    }

    /// Takes the next completed block, whatever is in it.
    pub(crate) fn take(&mut self) -> Option<u32> {
        let block = self.take_unreleased();
        self.completions.release();
        block
    }

    /// The same, without saying so. Memory that was given back holds no completion.
    pub(crate) fn take_unreleased(&mut self) -> Option<u32> {
        self.completions.pop().ok().flatten()
    }

    /// Overwrites the beginning of a block's body.
    pub(crate) fn write_body(&self, block: u32, body: &[u8]) {
        self.memfd.write_all_at(body, self.body_at(block)).unwrap();
    }

    /// Says something on the control socket.
    pub(crate) fn speak(&self, words: &[u8]) {
        sys::send_packet(self.socket.as_fd(), words, &[]).unwrap();
    }

    /// Rings the gateway.
    pub(crate) fn ring_gateway(&self) {
        sys::ring_eventfd(self.eventfd.as_fd());
    }

    /// A second handle to the memory.
    pub(crate) fn memory(&self) -> File {
        self.memfd.try_clone().unwrap()
    }

    /// Where a block's body lies in the memory.
    pub(crate) fn body_at(&self, block: u32) -> u64 {
        self.layout.block_at(block).unwrap() + DESCRIPTOR_BYTES as u64
    }

    /// Why the gateway has ended the session, if it has.
    pub(crate) fn ended(&self) -> Option<EndReason> {
        let mut packet = [0; 64];
        match sys::receive_plain(self.socket.as_fd(), &mut packet) {
            Ok(Some(3)) => EndReason::from_number(u16::from_le_bytes([packet[1], packet[2]])),
            _ => None,
        }
    }

    /// Waits until the gateway has ended the session because its rings are corrupt.
    pub(crate) fn is_cut(&self, what: &str) {
        eventually(what, || match self.ended() {
            None => false,
            Some(reason) => {
                assert_eq!(reason, EndReason::RingCorrupt, "{what}");
                true
            }
        });
    }

    /// Claims more submissions than the ring has places.
    pub(crate) fn corrupt(&self) {
        self.claim_submitted(u32::MAX);
    }

    /// Claims that so many submissions were made.
    pub(crate) fn claim_submitted(&self, position: u32) {
        let ring = self.region.ring(Ring::Submission);
        ring.tail().store(u64::from(position), Ordering::Release);
        self.ring_gateway();
    }

    /// Claims that so many completions were taken.
    pub(crate) fn claim_taken(&self, position: u32) {
        let ring = self.region.ring(Ring::Completion);
        ring.head().store(position, Ordering::Release);
    }

    /// Overwrites everything before the blocks: header, lines and slots.
    pub(crate) fn scribble(&self) {
        let bytes = self.layout.block_at(0).unwrap();
        let noise = vec![0xa5; usize::try_from(bytes).unwrap()];
        self.memfd.write_all_at(&noise, 0).unwrap();
        self.ring_gateway();
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
