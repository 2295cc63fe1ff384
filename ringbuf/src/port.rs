//! The gateway's end of a session: takes submissions, gives completions. Mirror image of the
//! client's `Session`.
//!
//! Invariant: a block is in the gateway's hands from the [`pop`](Port::pop) that returns it to the
//! [`complete`](Port::complete) that gives it back, and never twice. The table that says so is
//! private, and everything that is decided is decided by it. Whatever the peer writes, each call
//! returns or reports [`PeerMisbehaved`]; after that the session must be ended.

use core::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use bytes::BytesMut;

use crate::arena;
use crate::doorbell;
use crate::entry::{Cqe, Sqe, SqeError};
use crate::error::{EndReason, PeerMisbehaved};
use crate::handshake::WAKE;
use crate::layout::{Line, Ring};
use crate::primitive::Ordering;
use crate::region::{Region, RingView, TailView};
use crate::spsc::{Consumer, Producer, position_of};
use crate::sys;

/// How many entries ahead blocks are asked for. Four hides a cross-core miss behind the work on
/// the entries between; eight measured the same.
const AHEAD: u32 = 4;

/// A block that the client has submitted. Must be given back with [`Port::complete`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block(u32);

/// One request as taken from the ring.
#[derive(Debug)]
pub struct Submission {
    /// The block it came in, to complete it with.
    pub block: Block,
    /// The client's mark, to be echoed.
    pub user_data: u64,
    /// What it asks for, or what is wrong with it.
    pub sqe: Result<Sqe, SqeError>,
}

/// Where the rings of a session stand, as its gateway knows: what another gateway needs to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursors {
    /// Position up to which submissions were taken.
    pub submission_head: u32,
    /// Position up to which completions were given.
    pub completion_tail: u32,
    /// Position up to which the client is known to have taken them.
    pub completion_head: u32,
    /// The block of a submission that was taken and not looked at.
    pub carried: Option<u32>,
}

/// Tells by one load whether anything was submitted since the gateway last took everything: for the
/// many sessions that have nothing to do.
#[derive(Debug)]
pub struct Watch {
    tail: TailView,
    position: u32,
}

impl Watch {
    /// Whether the client's cursor is where the gateway's was. What to make of it when it is not is for
    /// [`Port::pop`] to say.
    #[inline]
    #[must_use]
    pub fn is_still(&self) -> bool {
        // Relaxed: a hint. Before sleeping the fence in `doorbell::arm` orders it as it does the look
        // of `Port::has_submissions`.
        position_of(self.tail.word().load(Ordering::Relaxed)) == self.position
    }

    /// Watches for what comes after all that this port has taken.
    #[inline]
    pub const fn renew(&mut self, port: &Port) {
        self.position = port.submissions.position();
    }
}

/// The gateway's end.
pub struct Port {
    region: Arc<Region>,
    submissions: Consumer<RingView>,
    completions: Producer<RingView>,
    /// For each block whether the gateway has it.
    held: Box<[bool]>,
    held_count: u32,
    /// The control socket, for clients that wait on it.
    socket: OwnedFd,
    /// Bytes that a block holds.
    message_size: u32,
    /// Lines of the submission taken last: so many are asked for of those that come.
    lines: usize,
}

impl fmt::Debug for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Port")
            .field("held", &self.held_count)
            .finish_non_exhaustive()
    }
}

impl Port {
    /// The gateway's end of a fresh, zeroed region. `socket` is the session's control socket.
    #[must_use]
    pub fn new(region: Arc<Region>, socket: OwnedFd) -> Self {
        let layout = *region.layout();
        Self {
            submissions: Consumer::new(region.ring(Ring::Submission)),
            completions: Producer::new(region.ring(Ring::Completion)),
            held: vec![false; layout.entries() as usize].into_boxed_slice(),
            held_count: 0,
            socket,
            message_size: layout.message_size(),
            lines: arena::lines_of(0),
            region,
        }
    }

    /// Watches for what comes after all that was taken.
    #[must_use]
    pub fn watch(&self) -> Watch {
        Watch {
            tail: self.region.tail(Ring::Submission),
            position: self.submissions.position(),
        }
    }

    /// Shows all completions and says where the rings stand. `carried` is the one submission that
    /// may have been taken and not completed.
    pub fn suspend(&mut self, carried: Option<&Submission>) -> Cursors {
        self.publish();
        let (completion_tail, completion_head) = self.completions.position();
        Cursors {
            submission_head: self.submissions.position(),
            completion_tail,
            completion_head,
            carried: carried.map(|submission| submission.block.0),
        }
    }

    /// The gateway's end of a region that another gateway has left there. Returns the submission
    /// that it carried too, parsed anew. What the client writes is as little believed as before.
    /// `None` when the cursors do not fit the region.
    #[must_use]
    pub fn resume(
        region: Arc<Region>,
        socket: OwnedFd,
        cursors: Cursors,
    ) -> Option<(Self, Option<Submission>)> {
        let mut port = Self::new(Arc::clone(&region), socket);
        port.submissions = Consumer::resume(region.ring(Ring::Submission), cursors.submission_head);
        port.completions = Producer::resume(
            region.ring(Ring::Completion),
            cursors.completion_tail,
            cursors.completion_head,
        )?;
        let carried = match cursors.carried {
            Some(block) => {
                *port.held.get_mut(block as usize)? = true;
                port.held_count = 1;
                Some(port.read(block))
            }
            None => None,
        };
        Some((port, carried))
    }

    /// Takes the next submission. Its block is then the gateway's until it is completed.
    ///
    /// # Errors
    /// [`PeerMisbehaved`] when the ring is corrupt, names no block, or names one twice.
    #[inline]
    pub fn pop(&mut self) -> Result<Option<Submission>, PeerMisbehaved> {
        let Some(block) = self.submissions.pop()? else {
            return Ok(None);
        };
        let (region, lines) = (&self.region, self.lines);
        let claim = |block| arena::claim(region, block, lines);
        self.submissions.look_ahead(AHEAD, claim);
        let held = usize::try_from(block)
            .ok()
            .and_then(|at| self.held.get_mut(at));
        let held = held.ok_or(PeerMisbehaved::NoSuchBlock(block))?;
        if core::mem::replace(held, true) {
            return Err(PeerMisbehaved::BlockInFlight(block));
        }
        self.held_count += 1;
        let submission = self.read(block);
        if let Ok(sqe) = &submission.sqe {
            self.lines = arena::lines_of(sqe.header_len + sqe.payload_len);
        }
        Ok(Some(submission))
    }

    /// Reads a block's descriptor: one copy; only the copy is looked at.
    #[inline]
    fn read(&self, block: u32) -> Submission {
        let words = self.region.load_descriptor(block).unwrap_or_default();
        let [user_data, ..] = words;
        let sqe = Sqe::parse(&words, self.message_size);
        Submission {
            block: Block(block),
            user_data,
            sqe,
        }
    }

    /// Copies a submission's headers and payload to the end of `out`.
    #[inline]
    pub fn copy_body(&self, block: Block, sqe: &Sqe, out: &mut BytesMut) {
        // Both were checked against the message size by `Sqe::parse`.
        let len = sqe.header_len + sqe.payload_len;
        let copied = arena::copy_out(&self.region, block.0, 0, len, out);
        debug_assert!(copied, "a parsed submission fits its block");
    }

    /// Whether a reply of this many bytes, headers and payload, fits a block.
    #[must_use]
    pub const fn fits(&self, bytes: u64) -> bool {
        bytes <= self.message_size as u64
    }

    /// Asks the processor for the lines of a block that a reply of so many bytes, headers and payload,
    /// will be written to. Worth it a few completions ahead.
    #[inline]
    pub fn claim(&self, block: Block, bytes: usize) {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        arena::claim(&self.region, block.0, arena::lines_of(bytes));
    }

    /// Writes a reply into the request's block and gives the block back. The client sees it after
    /// [`publish`](Self::publish). The lengths of `cqe` are set here; a body that does not
    /// [fit](Self::fits) is left out.
    ///
    /// # Errors
    /// [`PeerMisbehaved`] when the client's cursor is impossible. The block stays the gateway's.
    #[inline]
    pub fn complete(
        &mut self,
        block: Block,
        mut cqe: Cqe,
        headers: &[u8],
        payload: &[u8],
    ) -> Result<(), PeerMisbehaved> {
        if self.completions.push(block.0)?.is_err() {
            return Err(PeerMisbehaved::CompletionRingFull);
        }
        let header_len = u32::try_from(headers.len()).unwrap_or(u32::MAX);
        let payload_len = u32::try_from(payload.len()).unwrap_or(u32::MAX);
        if self.fits(u64::from(header_len) + u64::from(payload_len)) {
            (cqe.header_len, cqe.payload_len) = (header_len, payload_len);
            if header_len != 0 {
                arena::copy_in(&self.region, block.0, 0, headers);
            }
            if payload_len != 0 {
                arena::copy_in(&self.region, block.0, header_len, payload);
            }
        }
        self.region.store_descriptor(block.0, &cqe.to_words());
        if let Some(held) = self.held.get_mut(block.0 as usize) {
            *held = false;
        }
        self.held_count = self.held_count.saturating_sub(1);
        Ok(())
    }

    /// Completions that wait to be shown.
    #[inline]
    #[must_use]
    pub const fn staged(&self) -> u32 {
        self.completions.staged()
    }

    /// Whether enough completions wait to show them before the batch ends: 32, or half of what the
    /// client has in flight if that is less. A batch as large as the window would make the two
    /// sides take turns instead of working at the same time.
    #[inline]
    #[must_use]
    pub fn publish_due(&self) -> bool {
        let staged = self.completions.staged();
        staged >= 32 || staged > self.held_count
    }

    /// Shows all completions to the client: one store.
    #[inline]
    pub fn publish(&mut self) -> bool {
        self.submissions.release();
        self.completions.publish()
    }

    /// Whether the completion ring is full as far as is known: the client has used every block, and
    /// taken none of the completions.
    #[inline]
    #[must_use]
    pub fn looks_full(&self) -> bool {
        self.completions.looks_full()
    }

    /// How many completions, modulo 2^32, the client has taken, if the completion ring is full.
    ///
    /// # Errors
    /// [`PeerMisbehaved`] when the client's cursor is impossible.
    pub fn full_at(&mut self) -> Result<Option<u32>, PeerMisbehaved> {
        self.completions.full_at()
    }

    /// Wakes the client if it sleeps. Call after [`publish`](Self::publish), once a batch.
    #[inline]
    pub fn ring(&self) -> Rung {
        let word = self.region.line32(Line::ClientBell);
        match doorbell::asleep(word) {
            doorbell::AWAKE => return Rung::NotNeeded,
            doorbell::ASLEEP_ON_SOCKET => {
                doorbell::disarm(word);
                sys::nudge(self.socket.as_fd(), WAKE);
            }
            _ => {
                doorbell::disarm(word);
                sys::futex_wake(word);
            }
        }
        Rung::Woken
    }

    /// Whether the client has submitted something that was not taken yet. Asked before sleeping.
    ///
    /// # Errors
    /// [`PeerMisbehaved`] when the ring is corrupt.
    #[inline]
    pub fn has_submissions(&mut self) -> Result<bool, PeerMisbehaved> {
        self.submissions.has_more()
    }

    /// Submissions that were not taken yet. Looks at shared memory.
    ///
    /// # Errors
    /// [`PeerMisbehaved`] when the ring is corrupt.
    pub fn waiting(&mut self) -> Result<u32, PeerMisbehaved> {
        self.submissions.waiting()
    }

    /// Completions given so far, modulo 2^32, those of gateways before this one included.
    #[must_use]
    pub const fn completed(&self) -> u32 {
        self.completions.position().0
    }

    /// Blocks that the gateway has: requests accepted and not completed.
    #[must_use]
    pub const fn held(&self) -> u32 {
        self.held_count
    }

    /// Says in the region why the session ends, and wakes the client to see it.
    pub fn close(&self, reason: EndReason) {
        let state = self.region.line32(Line::GatewayState);
        state.store(u32::from(reason as u16), Ordering::Release);
        let _ = self.ring();
    }

    /// The control socket.
    #[must_use]
    pub fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Whether a client had to be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rung {
    /// It was awake.
    NotNeeded,
    /// It slept.
    Woken,
}
