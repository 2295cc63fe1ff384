//! The client's end of one attachment: takes blocks, pushes them, and pops what was completed.
//! Mirror image of the gateway's `Port`.
//!
//! Invariant: every block is in one of two places, the free list or `pending`, and the gateway can
//! complete only what is pending. Credits are blocks: whoever holds a free block has room in both
//! rings.

use core::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;

use super::request::RouteRef;
use super::route::Routes;
use crate::arena;
use crate::doorbell;
use crate::entry::{Cqe, Sqe};
use crate::error::{AttachError, EndReason, PeerMisbehaved};
use crate::handshake::{FAREWELL, Welcome};
use crate::layout::{Geometry, Layout, Line, Ring};
use crate::primitive::{AtomicU32, Ordering};
use crate::region::{Region, RingView};
use crate::spsc::{Consumer, Producer};
use crate::sys::{self, BellPage, Peer};

/// How many entries ahead blocks are asked for.
const AHEAD: u32 = 4;

/// Whether a block is on its way, and with which mark.
#[derive(Clone, Copy, Debug)]
enum Pending {
    No,
    Yes(u64),
}

/// Whether the gateway was shown everything that was pushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shown {
    /// Not yet.
    No,
    /// It was.
    Yes,
}

/// One attachment.
pub(super) struct Session {
    region: Arc<Region>,
    submissions: Producer<RingView>,
    completions: Consumer<RingView>,
    /// Blocks that are the client's, last freed first: it is the warmest.
    free: Vec<u32>,
    pending: Box<[Pending]>,
    /// Lines of the completion taken last: so many are asked for of those that come.
    lines: usize,
    page: BellPage,
    eventfd: OwnedFd,
    #[cfg(feature = "steps")]
    _detaching: crate::steps::Detaching,
    /// Below the region: it is closed when nothing is mapped any more.
    socket: OwnedFd,
    welcome: Welcome,
    routes: Routes,
    /// Why it has ended, if the gateway has said so.
    farewell: Option<EndReason>,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("id", &self.welcome.session)
            .finish_non_exhaustive()
    }
}

impl Session {
    /// What a welcome and its descriptors make.
    pub(super) fn from_welcome(
        welcome: Welcome,
        fds: Vec<OwnedFd>,
        socket: OwnedFd,
    ) -> Result<Self, AttachError> {
        let fds: [OwnedFd; 3] = fds
            .try_into()
            .map_err(|_| AttachError::Protocol("it did not pass three descriptors"))?;
        let [memfd, page, eventfd] = fds;
        let layout = Layout::try_from(welcome.geometry).map_err(AttachError::Geometry)?;
        sys::check_sealed(memfd.as_fd())?;
        sys::check_sealed(page.as_fd())?;
        let region = Region::map(memfd.as_fd(), layout)?;
        if !region.is_there() {
            return Err(AttachError::Protocol("its memory has no header"));
        }
        let entries = layout.entries();
        let session = Self {
            submissions: Producer::new(region.ring(Ring::Submission)),
            completions: Consumer::new(region.ring(Ring::Completion)),
            free: (0..entries).rev().collect(),
            pending: vec![Pending::No; entries as usize].into_boxed_slice(),
            lines: arena::lines_of(0),
            page: BellPage::open(page.as_fd())?,
            eventfd,
            #[cfg(feature = "steps")]
            _detaching: crate::steps::Detaching,
            socket,
            routes: Routes::new(&welcome.routes),
            welcome,
            farewell: None,
            region,
        };
        step!(Mapped);
        Ok(session)
    }

    /// What was agreed on.
    pub(super) const fn welcome(&self) -> &Welcome {
        &self.welcome
    }

    /// The number of a route in this session.
    #[inline]
    pub(super) fn number(&self, route: RouteRef<'_>) -> Option<u16> {
        match route {
            RouteRef::Id(route) => self.routes.number(route),
            RouteRef::Number(number) => Some(number),
            RouteRef::Name(name) => {
                let mut routes = self.welcome.routes.iter();
                routes
                    .find(|route| route.name == name)
                    .map(|route| route.id)
            }
        }
    }

    /// Bytes of headers and payload that a block holds.
    pub(super) const fn message_size(&self) -> u32 {
        self.welcome.geometry.message_size
    }

    /// What was agreed on.
    pub(super) const fn geometry(&self) -> Geometry {
        self.welcome.geometry
    }

    /// Requests that were submitted and whose completions were not taken.
    pub(super) fn outstanding(&self) -> usize {
        self.pending.len() - self.free.len()
    }

    /// Blocks on the free list.
    pub(super) const fn free_blocks(&self) -> usize {
        self.free.len()
    }

    /// The block that was freed last: right after [`pop`](Self::pop), that of the completion.
    pub(super) fn freed_last(&self) -> Option<u32> {
        self.free.last().copied()
    }

    /// Takes a block from the free list. Give it to [`push`](Self::push) or
    /// [`put_back`](Self::put_back).
    #[inline]
    pub(super) fn take_block(&mut self) -> Option<u32> {
        self.free.pop()
    }

    /// Returns a block that was not pushed.
    pub(super) fn put_back(&mut self, block: u32) {
        self.free.push(block);
    }

    /// Copies bytes into a block's body; `false` when they do not fit.
    #[inline]
    pub(super) fn write(&self, block: u32, at: u32, bytes: &[u8]) -> bool {
        arena::copy_in(&self.region, block, at, bytes)
    }

    /// Submits a block. It is shown to the gateway at the next [`publish`](Self::publish), or at
    /// once, with those before it, when enough of them wait.
    #[inline]
    pub(super) fn push(&mut self, block: u32, sqe: &Sqe) -> Result<Shown, PeerMisbehaved> {
        self.region.store_descriptor(block, &sqe.to_words());
        if self.submissions.push(block)?.is_err() {
            // Credits are slots: an honest gateway has taken what was completed.
            return Err(PeerMisbehaved::CompletionRingFull);
        }
        step!(Entered);
        if let Some(pending) = self.pending.get_mut(block as usize) {
            *pending = Pending::Yes(sqe.user_data);
        }
        // At most 32, and at most half of what is on its way: a batch as large as the window would
        // make the two sides take turns.
        let staged = self.submissions.staged() as usize;
        if staged >= 32 || staged * 2 >= self.outstanding() {
            self.publish();
            return Ok(Shown::Yes);
        }
        Ok(Shown::No)
    }

    /// Shows everything pushed to the gateway and rings it if it sleeps.
    #[inline]
    pub(super) fn publish(&mut self) {
        self.completions.release();
        step!(Released);
        if self.submissions.publish() {
            step!(Committed);
            if doorbell::asleep(self.page.word()) != doorbell::AWAKE {
                sys::ring_eventfd(self.eventfd.as_fd());
            }
            step!(Woken);
        }
    }

    /// Takes the next completion: its body is copied to `body`, its block is free again.
    #[inline]
    pub(super) fn pop(&mut self, body: &mut BytesMut) -> Result<Option<Cqe>, PeerMisbehaved> {
        let Some(block) = self.completions.pop()? else {
            self.completions.release();
            return Ok(None);
        };
        let (region, lines) = (&self.region, self.lines);
        let claim = |block| arena::claim(region, block, lines);
        self.completions.look_ahead(AHEAD, claim);
        let pending = self.pending.get_mut(block as usize);
        let pending = pending.ok_or(PeerMisbehaved::NoSuchBlock(block))?;
        let Pending::Yes(user_data) = core::mem::replace(pending, Pending::No) else {
            return Err(PeerMisbehaved::NoSuchBlock(block));
        };
        let words = self.region.load_descriptor(block).unwrap_or_default();
        let cqe = Cqe::parse(&words, self.welcome.geometry.message_size);
        body.clear();
        let bytes = cqe.map_or(0, |cqe| cqe.header_len + cqe.payload_len);
        self.lines = arena::lines_of(bytes);
        if bytes != 0 {
            arena::copy_out(&self.region, block, 0, bytes, body);
        }
        step!(HalfRead);
        let cqe = match cqe {
            // Memory that was given back is zero, and zeros would be an empty answer.
            Ok(cqe) if self.region.is_there() => cqe,
            _ => {
                // Still pending, so that it is completed when the session is given up.
                *pending = Pending::Yes(user_data);
                return Err(PeerMisbehaved::BadCompletion);
            }
        };
        self.free.push(block);
        Ok(Some(Cqe { user_data, ..cqe }))
    }

    /// Whether a completion waits.
    #[inline]
    pub(super) fn has_completions(&mut self) -> Result<bool, PeerMisbehaved> {
        self.completions.has_more()
    }

    /// The marks of everything that is on its way, for when the session is lost.
    pub(super) fn abandon(&mut self) -> impl Iterator<Item = u64> + '_ {
        self.pending
            .iter_mut()
            .filter_map(|p| match core::mem::replace(p, Pending::No) {
                Pending::Yes(user_data) => Some(user_data),
                Pending::No => None,
            })
    }

    /// Whether the gateway has ended the session in order: everything that it took is completed, and
    /// what is pending when no completion waits was never taken. Only the gateway writes this.
    pub(super) fn ended_in_order(&self) -> bool {
        // Acquire: pairs with the Release in `Port::close`, which comes after the completions.
        let state = self
            .region
            .line32(Line::GatewayState)
            .load(Ordering::Acquire);
        state == u32::from(EndReason::Draining as u16)
    }

    /// The word that this client sleeps on.
    pub(super) fn bell(&self) -> &AtomicU32 {
        self.region.line32(Line::ClientBell)
    }

    /// A handle to sleep with, that does not borrow the session.
    pub(super) fn sleeper(&self) -> Sleeper {
        Sleeper {
            region: Arc::clone(&self.region),
        }
    }

    /// The control socket.
    pub(super) fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Whether the gateway is gone or has ended the session.
    pub(super) fn ended(&mut self) -> Option<EndReason> {
        if sys::hung_up(self.socket.as_fd()) == Peer::Present {
            return None;
        }
        self.farewell().or(Some(EndReason::PeerDied))
    }

    /// Why the gateway says that it has ended the session; it says so before it closes.
    pub(super) fn farewell(&mut self) -> Option<EndReason> {
        self.take_packets();
        self.farewell
    }

    /// Takes what waits on the socket; whether the gateway is still there.
    pub(super) fn take_packets(&mut self) -> Peer {
        let (peer, last) = sys::drain(self.socket.as_fd());
        if let Some([FAREWELL, low, high]) = last {
            self.farewell = EndReason::from_number(u16::from_le_bytes([low, high]));
        }
        peer
    }
}

/// Sleeps on a session's bell without borrowing the session.
#[derive(Clone, Debug)]
pub(super) struct Sleeper {
    region: Arc<Region>,
}

impl Sleeper {
    /// Sleeps while the bell is armed, at most `timeout`.
    pub(super) fn sleep(&self, timeout: Duration) {
        let word = self.region.line32(Line::ClientBell);
        sys::futex_wait(word, doorbell::ASLEEP, timeout);
    }
}
