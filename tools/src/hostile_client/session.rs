//! An attached session with every end exposed.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fastrand::Rng;
use ipc_ringbuf::EndReason;
use ipc_ringbuf::entry::{DESCRIPTOR_BYTES, Opcode, Sqe};
use ipc_ringbuf::handshake::{Answer, Hello, MAX_PACKET_BYTES};
use ipc_ringbuf::layout::{Geometry, Layout, Ring};
use ipc_ringbuf::region::{Region, RingView};
use ipc_ringbuf::spsc::{Consumer, Producer};
use ipc_ringbuf::sys;

use crate::counts::Counts;

/// Longest wait for an answer to a greeting.
const PATIENCE: Duration = Duration::from_secs(5);
/// Least time between two batches of requests.
const PAUSE: Duration = Duration::from_millis(8);
/// Most descriptors that the kernel passes in one packet.
pub(crate) const MOST_FDS: usize = 253;
/// A request that the Router answers.
const BODY: &[u8] =
    br#"{"tenant_id":"evil","request_id":"hostile","task":{"type":"chat","payload":{"text":"x"}}}"#;

/// Why there is no session.
pub(crate) enum Unattached {
    /// The gateway said so.
    Refused(String),
    /// Anything else.
    Failed(String),
}

impl From<std::io::Error> for Unattached {
    fn from(error: std::io::Error) -> Self {
        Self::Failed(error.to_string())
    }
}

/// A session.
pub(crate) struct Session {
    pub(crate) layout: Layout,
    pub(crate) region: Arc<Region>,
    pub(crate) memfd: File,
    pub(crate) page: OwnedFd,
    pub(crate) eventfd: OwnedFd,
    pub(crate) socket: OwnedFd,
    submissions: Producer<RingView>,
    completions: Consumer<RingView>,
    free: Vec<u32>,
    /// The block that was submitted last.
    pub(crate) newest: Option<u32>,
    filled: Option<Instant>,
    ended: Option<&'static str>,
}

impl Session {
    /// Attaches with a geometry of its choice, and with descriptors that nobody asked for.
    pub(crate) fn attach(
        path: &Path,
        rng: &mut Rng,
        with_fds: bool,
        counts: &mut Counts,
    ) -> Result<Self, Unattached> {
        let socket = sys::connect_seqpacket(path, PATIENCE)?;
        let geometry = Geometry {
            entries: 1 << rng.u32(1..=8),
            message_size: rng.u32(64..=4032),
        };
        let name = "hostile".to_owned();
        let hello = Hello { geometry, name }.encode();
        if with_fds {
            let fds = [socket.as_fd(); MOST_FDS];
            sys::send_packet(socket.as_fd(), &hello, &fds)?;
            counts.fds_sent += MOST_FDS as u64;
        } else {
            sys::send_packet(socket.as_fd(), &hello, &[])?;
        }
        let mut packet = vec![0; MAX_PACKET_BYTES];
        let received = sys::receive_packet(socket.as_fd(), &mut packet)?;
        let closed = || Unattached::Failed("closed without an answer".to_owned());
        let (bytes, fds) = received.ok_or_else(closed)?;
        match Answer::parse(packet.get(..bytes).unwrap_or_default()) {
            Ok(Answer::Welcome(_)) => {}
            Ok(Answer::Refusal(refusal)) => {
                return Err(Unattached::Refused(refusal.reason.name().to_owned()));
            }
            Err(error) => return Err(Unattached::Failed(error.to_string())),
        }
        let three = |_| Unattached::Failed("not three descriptors".to_owned());
        let [memfd, page, eventfd] = fds.try_into().map_err(three)?;
        let layout = Layout::try_from(geometry).map_err(std::io::Error::other)?;
        let region = Region::map(memfd.as_fd(), layout)?;
        Ok(Self {
            layout,
            submissions: Producer::new(region.ring(Ring::Submission)),
            completions: Consumer::new(region.ring(Ring::Completion)),
            free: (0..layout.entries()).collect(),
            region,
            memfd: memfd.into(),
            page,
            eventfd,
            socket,
            newest: None,
            filled: None,
            ended: None,
        })
    }

    /// How the gateway ended the session, once it has.
    pub(crate) fn ended(&mut self) -> Option<&'static str> {
        let mut packet = [0; 64];
        while self.ended.is_none() {
            match sys::receive_plain(self.socket.as_fd(), &mut packet) {
                Ok(Some(3)) => {
                    let [_, low, high, ..] = packet;
                    let reason = EndReason::from_number(u16::from_le_bytes([low, high]));
                    self.ended = reason.map(EndReason::name);
                }
                // A ring.
                Ok(Some(_)) => {}
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => break,
                Ok(None) | Err(_) => self.ended = Some("closed"),
            }
        }
        self.ended
    }

    /// A submission in good form.
    pub(crate) fn sqe(&self, rng: &mut Rng) -> Sqe {
        let room = usize::try_from(self.layout.message_size()).unwrap_or(0);
        let payload_len = if rng.u8(..) < 200 { BODY.len() } else { 0 };
        Sqe {
            user_data: rng.u64(..),
            opcode: Opcode::Call,
            idempotent: false,
            route: if rng.u8(..) < 200 { 0 } else { rng.u16(..) },
            header_len: 0,
            payload_len: u32::try_from(payload_len.min(room)).unwrap_or(0),
            timeout_ns: rng.u64(1..1_000_000_000),
            submitted_ns: sys::monotonic_ns(),
        }
    }

    /// Submits one request in good form, if a block is free.
    fn submit(&mut self, rng: &mut Rng, counts: &mut Counts) -> Option<u32> {
        let block = self.free.pop()?;
        let sqe = self.sqe(rng);
        let at = self.layout.block_at(block)? + DESCRIPTOR_BYTES as u64;
        let bytes = usize::try_from(sqe.payload_len).unwrap_or(0);
        self.memfd
            .write_all_at(BODY.get(..bytes).unwrap_or_default(), at)
            .ok();
        self.region.store_descriptor(block, &sqe.to_words());
        self.submissions.push(block).ok()?.ok()?;
        counts.requests += 1;
        self.newest = Some(block);
        Some(block)
    }

    /// Submits a few, as many as blocks are free, unless it just has. A flood of requests is another
    /// fault than those that are tried here.
    pub(crate) fn fill(&mut self, rng: &mut Rng, counts: &mut Counts) {
        if self.filled.is_none_or(|filled| filled.elapsed() >= PAUSE) {
            self.filled = Some(Instant::now());
            for _ in 0..8 {
                if self.submit(rng, counts).is_none() {
                    break;
                }
            }
        }
        self.submissions.publish();
        self.ring(counts);
    }

    /// Takes what was completed.
    pub(crate) fn take(&mut self, counts: &mut Counts) {
        while let Ok(Some(block)) = self.completions.pop() {
            counts.completions += 1;
            if self.free.len() < self.layout.entries() as usize {
                self.free.push(block);
            }
        }
        self.completions.release();
    }

    /// Rings the gateway.
    pub(crate) fn ring(&self, counts: &mut Counts) {
        sys::ring_eventfd(self.eventfd.as_fd());
        counts.rings += 1;
    }
}
