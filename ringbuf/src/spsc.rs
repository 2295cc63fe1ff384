//! A bounded single-producer, single-consumer ring of block indices, between two processes.
//!
//! After rtrb's ring (two ends born in pairs, a private cursor and a cached copy of the opposite
//! one each) and vm-virtio's queue (the private cursor is the truth, the shared word a claim), with
//! one addition: the tail word carries the newest index beside the position,
//!
//! ```text
//! tail: { newest block index: 32, position: 32 }
//! ```
//!
//! so that a lone entry is found without touching the line of its slot. Positions count entries
//! and wrap at 2^32; a slot is `position mod capacity`, and capacity is a power of two.
//!
//! | operation | ordering | pairs with |
//! |---|---|---|
//! | `Producer::publish` stores tail | Release | `Consumer::refresh` loads tail (Acquire): slots and blocks written before are seen |
//! | `Consumer::release` stores head | Release | `Producer::refresh` loads head (Acquire): the slot's old value has been read before it is overwritten |
//! | slots | Relaxed | ordered by the two above |
//!
//! The peer may be hostile: a tail or head that claims more than the ring can hold, or goes back,
//! is [`PeerMisbehaved`], and no shared value is ever used as an index here.

use core::fmt;

use crate::error::PeerMisbehaved;
use crate::primitive::{AtomicU32, AtomicU64, Ordering};

/// The words of a ring, wherever they lie.
pub trait RingMemory {
    /// Position and newest value; the producer writes it.
    fn tail(&self) -> &AtomicU64;
    /// Position; the consumer writes it.
    fn head(&self) -> &AtomicU32;
    /// The slot of a position, which is taken modulo the capacity.
    fn slot(&self, position: u32) -> &AtomicU32;
    /// Number of slots: a power of two.
    fn capacity(&self) -> u32;
}

/// The ring has no free slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ring is full")
    }
}

impl core::error::Error for Full {}

/// Packs a tail word.
#[inline]
const fn pack(newest: u32, position: u32) -> u64 {
    // { newest: 32, position: 32 }
    ((newest as u64) << 32) | position as u64
}

/// Unpacks a tail word to `(newest, position)`.
#[inline]
const fn unpack(word: u64) -> (u32, u32) {
    let [p0, p1, p2, p3, n0, n1, n2, n3] = word.to_le_bytes();
    (
        u32::from_le_bytes([n0, n1, n2, n3]),
        u32::from_le_bytes([p0, p1, p2, p3]),
    )
}

/// The position in a tail word, which is as much a claim as the word.
#[cfg(not(loom))]
#[inline]
pub(crate) const fn position_of(tail: u64) -> u32 {
    unpack(tail).1
}

/// The end that pushes.
#[derive(Debug)]
pub struct Producer<M> {
    memory: M,
    /// Where the next push goes. Private truth; `published <= tail <= cached_head + capacity`.
    tail: u32,
    /// The position last published: what the consumer can know of.
    published: u32,
    /// How far the consumer is known to have come. Can be stale, never ahead.
    cached_head: u32,
    /// The value last pushed.
    newest: u32,
}

impl<M: RingMemory> Producer<M> {
    /// The producing end of a fresh, zeroed ring.
    #[must_use]
    pub const fn new(memory: M) -> Self {
        Self {
            memory,
            tail: 0,
            published: 0,
            cached_head: 0,
            newest: 0,
        }
    }

    /// The producing end of a ring that another producer has left: it had published everything up
    /// to `tail` and knew that the consumer had come to `head`. `None` when the two do not fit the
    /// ring.
    #[must_use]
    pub fn resume(memory: M, tail: u32, head: u32) -> Option<Self> {
        (tail.wrapping_sub(head) <= memory.capacity()).then_some(Self {
            memory,
            tail,
            published: tail,
            cached_head: head,
            newest: 0,
        })
    }

    /// Where the next push goes, and how far the consumer is known to have come: what
    /// [`resume`](Self::resume) takes when everything is published.
    #[must_use]
    pub const fn position(&self) -> (u32, u32) {
        (self.tail, self.cached_head)
    }

    /// Puts a value into the next slot. The consumer sees it after [`publish`](Self::publish).
    ///
    /// # Errors
    /// `Ok(Err(Full))` when there is no slot; `Err` when the consumer's cursor is impossible.
    #[inline]
    pub fn push(&mut self, value: u32) -> Result<Result<(), Full>, PeerMisbehaved> {
        // Possibly full?
        if self.tail.wrapping_sub(self.cached_head) == self.memory.capacity() {
            self.refresh()?;
            // Really full?
            if self.tail.wrapping_sub(self.cached_head) == self.memory.capacity() {
                return Ok(Err(Full));
            }
        }
        self.memory.slot(self.tail).store(value, Ordering::Relaxed);
        self.tail = self.tail.wrapping_add(1);
        self.newest = value;
        Ok(Ok(()))
    }

    /// Whether the ring is full as far as is known without a look at shared memory; it can have
    /// been emptied since.
    #[inline]
    #[must_use]
    pub fn looks_full(&self) -> bool {
        self.tail.wrapping_sub(self.cached_head) == self.memory.capacity()
    }

    /// How far the consumer has come, if the ring is full. Looks at shared memory.
    ///
    /// # Errors
    /// When the consumer's cursor is impossible.
    pub fn full_at(&mut self) -> Result<Option<u32>, PeerMisbehaved> {
        self.refresh()?;
        Ok(self.looks_full().then_some(self.cached_head))
    }

    /// How many values wait to be published.
    #[inline]
    #[must_use]
    pub const fn staged(&self) -> u32 {
        self.tail.wrapping_sub(self.published)
    }

    /// Shows everything pushed so far to the consumer: one store. Says whether there was anything.
    #[inline]
    pub fn publish(&mut self) -> bool {
        if self.staged() == 0 {
            return false;
        }
        // Release: pairs with the Acquire in `Consumer::refresh`.
        self.memory
            .tail()
            .store(pack(self.newest, self.tail), Ordering::Release);
        self.published = self.tail;
        true
    }

    #[cold]
    fn refresh(&mut self) -> Result<(), PeerMisbehaved> {
        // Acquire: pairs with the Release in `Consumer::release`.
        let head = self.memory.head().load(Ordering::Acquire);
        // cached_head <= head <= published, in wrapping terms.
        let ahead = head.wrapping_sub(self.cached_head);
        if ahead > self.published.wrapping_sub(self.cached_head) {
            return Err(PeerMisbehaved::Head { claimed: head });
        }
        self.cached_head = head;
        Ok(())
    }
}

/// The end that pops.
#[derive(Debug)]
pub struct Consumer<M> {
    memory: M,
    /// The next position to read. Private truth; `released <= head <= cached_tail`.
    head: u32,
    /// The position last shown to the producer.
    released: u32,
    /// How far the producer is known to have come. Can be stale, never ahead.
    cached_tail: u32,
    /// The value at `cached_tail - 1`, as the tail word said.
    newest: u32,
    /// Up to where values were looked ahead at; behind `head` when they were not.
    ahead: u32,
}

impl<M: RingMemory> Consumer<M> {
    /// The consuming end of a fresh, zeroed ring.
    #[must_use]
    pub const fn new(memory: M) -> Self {
        Self {
            memory,
            head: 0,
            released: 0,
            cached_tail: 0,
            newest: 0,
            ahead: 0,
        }
    }

    /// The consuming end of a ring that another consumer has left at `head`.
    #[must_use]
    pub const fn resume(memory: M, head: u32) -> Self {
        Self {
            memory,
            head,
            released: head,
            cached_tail: head,
            newest: 0,
            ahead: head,
        }
    }

    /// The next position to read: what [`resume`](Self::resume) takes.
    #[must_use]
    pub const fn position(&self) -> u32 {
        self.head
    }

    /// Takes the oldest value that the producer has published. The value is the peer's claim.
    ///
    /// # Errors
    /// When the producer's cursor is impossible. Nothing is taken, and the ring cannot be trusted
    /// any more.
    #[inline]
    pub fn pop(&mut self) -> Result<Option<u32>, PeerMisbehaved> {
        if self.head == self.cached_tail && !self.refresh()? {
            return Ok(None);
        }
        let value = self.value_at(self.head);
        self.head = self.head.wrapping_add(1);
        Ok(Some(value))
    }

    /// Shows the next `distance` values, of those that are known to be published, before they are
    /// popped: in order, and each once. For prefetching; what is popped later can be another value,
    /// when the producer is hostile.
    #[inline]
    pub fn look_ahead(&mut self, distance: u32, mut show: impl FnMut(u32)) {
        let known = self.cached_tail.wrapping_sub(self.head).min(distance);
        let shown = self.ahead.wrapping_sub(self.head);
        // What was popped without being shown is behind, an enormous `shown`.
        let mut shown = if shown > self.memory.capacity() {
            0
        } else {
            shown
        };
        while shown < known {
            show(self.value_at(self.head.wrapping_add(shown)));
            shown += 1;
        }
        self.ahead = self.head.wrapping_add(shown);
    }

    /// Whether the producer has published something that was not popped. Looks at shared memory.
    ///
    /// # Errors
    /// When the producer's cursor is impossible.
    #[inline]
    pub fn has_more(&mut self) -> Result<bool, PeerMisbehaved> {
        Ok(self.head != self.cached_tail || self.refresh()?)
    }

    /// How many published values were not popped. Looks at shared memory.
    ///
    /// # Errors
    /// When the producer's cursor is impossible.
    pub fn waiting(&mut self) -> Result<u32, PeerMisbehaved> {
        self.refresh()?;
        Ok(self.cached_tail.wrapping_sub(self.head))
    }

    /// Shows the producer how far this end has come, so that it may use the slots again.
    #[inline]
    pub fn release(&mut self) {
        if self.released != self.head {
            // Release: pairs with the Acquire in `Producer::refresh`.
            self.memory.head().store(self.head, Ordering::Release);
            self.released = self.head;
        }
    }

    #[inline]
    fn value_at(&self, position: u32) -> u32 {
        if position.wrapping_add(1) == self.cached_tail {
            // The newest value came with the tail: its slot's line need not be fetched.
            self.newest
        } else {
            self.memory.slot(position).load(Ordering::Relaxed)
        }
    }

    /// Looks at the tail again; says whether there is anything to pop.
    #[inline]
    fn refresh(&mut self) -> Result<bool, PeerMisbehaved> {
        // Acquire: pairs with the Release in `Producer::publish`.
        let (newest, tail) = unpack(self.memory.tail().load(Ordering::Acquire));
        let waiting = tail.wrapping_sub(self.head);
        // One load, then only the copy. A tail that went back is an enormous `waiting`.
        if waiting > self.memory.capacity() {
            return Err(PeerMisbehaved::Tail { claimed: tail });
        }
        self.cached_tail = tail;
        self.newest = newest;
        Ok(waiting != 0)
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
