//! The mapping of a session's memfd, and the only references into it: atomics.
//!
//! The law of this room: no `&[u8]` and no `&T` of plain data ever points into a region, because
//! another process may write any byte at any time. Words are atomics; bodies are copied by
//! `arena`. Addresses come from the private [`Layout`], never from what the region says.

use core::mem::ManuallyDrop;
use core::ptr::NonNull;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use memmap2::{Advice, MmapOptions, MmapRaw};

use crate::entry::{DESCRIPTOR_WORDS, Words};
use crate::layout::{Layout, Line, REGION_MAGIC, Ring, WIRE_VERSION};
use crate::primitive::{AtomicU32, AtomicU64, Ordering, fence};
use crate::spsc::RingMemory;
use crate::sys;

/// A mapped region. Unmapped when the last owner is dropped.
#[derive(Debug)]
pub struct Region {
    map: ManuallyDrop<MmapRaw>,
    layout: Layout,
    /// The process that has the mapping.
    pid: u32,
}

impl Region {
    /// Maps `memfd` for reading and writing. A child made by `fork` does not inherit the mapping.
    ///
    /// # Errors
    /// The operating system's, or `InvalidData` when the memory is smaller than the layout: access
    /// past its end would kill the process.
    pub fn map(memfd: BorrowedFd<'_>, layout: Layout) -> io::Result<Arc<Self>> {
        if sys::file_size(memfd)? < layout.region_bytes() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "region is smaller than its geometry says",
            ));
        }
        let len = usize::try_from(layout.region_bytes()).map_err(io::Error::other)?;
        let map = MmapOptions::new().len(len).map_raw(&memfd)?;
        map.advise(Advice::DontFork)?;
        Ok(Arc::new(Self {
            map: ManuallyDrop::new(map),
            layout,
            pid: std::process::id(),
        }))
    }

    /// The private layout.
    #[must_use]
    pub const fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Whether the region's memory is still there. Asked after a copy out of it, this says that the
    /// copy is not of memory that the gateway has given back: the header page goes first.
    #[inline]
    #[must_use]
    pub fn is_there(&self) -> bool {
        // The loads of the copy come before the load of the word.
        fence(Ordering::Acquire);
        self.word64(0).load(Ordering::Relaxed) == REGION_MAGIC
    }

    /// Writes the header page, for tools that look at a region from outside, and for
    /// [`is_there`](Self::is_there).
    pub fn write_header(&self, session: u64) {
        let geometry =
            u64::from(self.layout.entries()) | (u64::from(self.layout.message_size()) << 32);
        let words = [
            REGION_MAGIC,
            u64::from(WIRE_VERSION),
            geometry,
            self.layout.region_bytes(),
            session,
        ];
        for (at, word) in (0_u64..).step_by(8).zip(words) {
            self.word64(at).store(word, Ordering::Relaxed);
        }
    }

    /// The word of a 32-bit line.
    #[must_use]
    pub fn line32(&self, line: Line) -> &AtomicU32 {
        self.word32(self.layout.line_at(line))
    }

    /// One end's view of a ring.
    #[must_use]
    pub fn ring(self: &Arc<Self>, ring: Ring) -> RingView {
        let (tail, head) = match ring {
            Ring::Submission => (Line::SubmissionTail, Line::SubmissionHead),
            Ring::Completion => (Line::CompletionTail, Line::CompletionHead),
        };
        RingView {
            tail: NonNull::from(self.word64(self.layout.line_at(tail))),
            head: NonNull::from(self.word32(self.layout.line_at(head))),
            slots: NonNull::from(self.word32(self.layout.slots_at(ring))),
            mask: self.layout.entries() - 1,
            _region: Arc::clone(self),
        }
    }

    /// The tail word of a ring alone.
    pub(crate) fn tail(self: &Arc<Self>, ring: Ring) -> TailView {
        let line = match ring {
            Ring::Submission => Line::SubmissionTail,
            Ring::Completion => Line::CompletionTail,
        };
        TailView {
            tail: NonNull::from(self.word64(self.layout.line_at(line))),
            _region: Arc::clone(self),
        }
    }

    /// A private copy of a block's descriptor; `None` when there is no such block.
    #[inline]
    #[must_use]
    pub fn load_descriptor(&self, block: u32) -> Option<Words> {
        let words = self.descriptor(block)?;
        Some(core::array::from_fn(|i| {
            words.get(i).map_or(0, |w| w.load(Ordering::Relaxed))
        }))
    }

    /// Overwrites a block's descriptor; nothing happens when there is no such block.
    #[inline]
    pub fn store_descriptor(&self, block: u32, from: &Words) {
        if let Some(words) = self.descriptor(block) {
            for (word, value) in words.iter().zip(from) {
                word.store(*value, Ordering::Relaxed);
                step!(DescriptorWord);
            }
        }
    }

    /// Address of a block's body and how many bytes it has.
    #[inline]
    pub(crate) fn body(&self, block: u32) -> Option<(NonNull<u8>, u32)> {
        let at = self.layout.block_at(block)? + crate::entry::DESCRIPTOR_BYTES as u64;
        Some((self.address(at).cast(), self.layout.message_size()))
    }

    /// Address of a block's descriptor, for a prefetch.
    #[inline]
    pub(crate) fn descriptor_address(&self, block: u32) -> Option<NonNull<u64>> {
        Some(self.address(self.layout.block_at(block)?).cast())
    }

    #[inline]
    fn descriptor(&self, block: u32) -> Option<&[AtomicU64; DESCRIPTOR_WORDS]> {
        let address = self.address(self.layout.block_at(block)?);
        // SAFETY: the layout places a block's 64-byte descriptor at a multiple of 64 inside the
        // mapping, which lives as long as `self`; the bytes are only ever accessed as atomics.
        Some(unsafe { address.cast::<[AtomicU64; DESCRIPTOR_WORDS]>().as_ref() })
    }

    #[inline]
    fn word64(&self, at: u64) -> &AtomicU64 {
        debug_assert!(
            at.is_multiple_of(8),
            "layout offsets of u64 words are multiples of 8"
        );
        // SAFETY: `at` is a layout offset: aligned, inside the mapping, which lives as long as
        // `self`; the bytes are only ever accessed as atomics.
        unsafe { self.address(at).cast::<AtomicU64>().as_ref() }
    }

    #[inline]
    fn word32(&self, at: u64) -> &AtomicU32 {
        debug_assert!(
            at.is_multiple_of(4),
            "layout offsets of u32 words are multiples of 4"
        );
        // SAFETY: as in `word64`.
        unsafe { self.address(at).cast::<AtomicU32>().as_ref() }
    }

    /// The address `at` bytes into the mapping. `at` is a layout offset, so it is inside.
    #[inline]
    fn address(&self, at: u64) -> NonNull<u8> {
        debug_assert!(
            at < self.layout.region_bytes(),
            "layout offsets are inside the region"
        );
        #[expect(
            clippy::cast_possible_truncation,
            reason = "Linux on 64 bits, region <= 4 GiB"
        )]
        let at = at as usize;
        // SAFETY: the mapping has `region_bytes` bytes and every layout offset is below that.
        let address = unsafe { self.map.as_mut_ptr().add(at) };
        // SAFETY: a mapping is never at address 0.
        unsafe { NonNull::new_unchecked(address) }
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // In a child made by `fork` the mapping is not there, and something else may be.
        if std::process::id() == self.pid {
            // SAFETY: this is the only place that drops the map, and nobody uses it afterwards:
            // `self` is being dropped.
            unsafe { ManuallyDrop::drop(&mut self.map) }
        }
    }
}

/// The tail word of one ring. Holds the region, so the word outlives it.
#[derive(Debug)]
pub(crate) struct TailView {
    tail: NonNull<AtomicU64>,
    _region: Arc<Region>,
}

// SAFETY: the pointer leads to an atomic in a mapping that the view keeps alive, and a mapping is
// not tied to a thread.
unsafe impl Send for TailView {}

impl TailView {
    #[inline]
    pub(crate) const fn word(&self) -> &AtomicU64 {
        // SAFETY: made from a reference into the region that `self` keeps mapped.
        unsafe { self.tail.as_ref() }
    }
}

/// The words of one ring. Holds the region, so the words outlive it.
#[derive(Debug)]
pub struct RingView {
    tail: NonNull<AtomicU64>,
    head: NonNull<AtomicU32>,
    slots: NonNull<AtomicU32>,
    mask: u32,
    _region: Arc<Region>,
}

// SAFETY: the pointers lead to atomics in a mapping that the view keeps alive, and a mapping is
// not tied to a thread.
unsafe impl Send for RingView {}

impl RingMemory for RingView {
    #[inline]
    fn tail(&self) -> &AtomicU64 {
        // SAFETY: made from a reference into the region that `self` keeps mapped.
        unsafe { self.tail.as_ref() }
    }

    #[inline]
    fn head(&self) -> &AtomicU32 {
        // SAFETY: made from a reference into the region that `self` keeps mapped.
        unsafe { self.head.as_ref() }
    }

    #[inline]
    fn slot(&self, position: u32) -> &AtomicU32 {
        let index = (position & self.mask) as usize;
        // SAFETY: a ring has `mask + 1` slots.
        let slot = unsafe { self.slots.add(index) };
        // SAFETY: inside the region that `self` keeps mapped.
        unsafe { slot.as_ref() }
    }

    #[inline]
    fn capacity(&self) -> u32 {
        self.mask + 1
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd as _;

    use nix::sys::wait::{WaitStatus, waitpid};
    use nix::unistd::{ForkResult, fork};

    use super::*;
    use crate::layout::Geometry;

    #[test]
    fn a_child_that_drops_a_region_does_not_unmap_what_it_has_there() {
        let layout = Layout::try_from(Geometry::default()).unwrap();
        let memfd = sys::sealed_memfd("test", layout.region_bytes()).unwrap();
        let region = Region::map(memfd.as_fd(), layout).unwrap();
        let (address, len) = (region.map.as_mut_ptr(), region.map.len());
        // SAFETY: the child calls what takes no lock that another thread may hold (the C library
        // keeps its allocator usable), and ends without running anybody's destructors.
        if let ForkResult::Parent { child } = unsafe { fork() }.unwrap() {
            assert_eq!(waitpid(child, None), Ok(WaitStatus::Exited(child, 0)));
            return;
        }
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE;
        let access = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: maps where nothing is, or fails.
        let own = unsafe { libc::mmap(address.cast(), len, access, flags, -1, 0) };
        drop(region);
        let mut present = [0];
        // SAFETY: asks about one page, for which there is room; fails if it is not mapped.
        let answer = unsafe { libc::mincore(address.cast(), 1, present.as_mut_ptr()) };
        let is_kept = own == address.cast() && answer == 0;
        // SAFETY: ends the process.
        unsafe { libc::_exit(i32::from(!is_kept)) }
    }
}
