//! Copies between blocks and private memory. A body is copied once, in or out, and never borrowed.

use bytes::{BufMut, BytesMut};

use crate::region::Region;

/// Copies `len` bytes of a block's body, from `at`, to the end of `out`. Copies nothing and says
/// `false` when the block has no such bytes.
#[inline]
pub(crate) fn copy_out(region: &Region, block: u32, at: u32, len: u32, out: &mut BytesMut) -> bool {
    let Some((body, size)) = region.body(block) else {
        return false;
    };
    if u64::from(at) + u64::from(len) > u64::from(size) {
        return false;
    }
    out.reserve(len as usize);
    let spare = out.chunk_mut().as_mut_ptr();
    // SAFETY: `at + len <= size`, so the source is inside the block's body.
    let from = unsafe { body.as_ptr().add(at as usize) };
    // SAFETY: source is inside the mapping, destination inside the capacity just reserved, and
    // private memory cannot overlap a mapping. The other process may write the source meanwhile;
    // then the copy holds any mix of bytes, every one of which is a valid `u8`.
    unsafe { core::ptr::copy_nonoverlapping(from, spare, len as usize) };
    // SAFETY: the `len` bytes after the old end have just been written.
    unsafe { out.advance_mut(len as usize) };
    true
}

/// Copies `bytes` into a block's body at `at`. Copies nothing and says `false` when they do not
/// fit.
#[inline]
pub(crate) fn copy_in(region: &Region, block: u32, at: u32, bytes: &[u8]) -> bool {
    let Some((body, size)) = region.body(block) else {
        return false;
    };
    if u64::from(at) + bytes.len() as u64 > u64::from(size) {
        return false;
    }
    // SAFETY: `at + bytes.len() <= size`, so the destination is inside the block's body.
    let to = unsafe { body.as_ptr().add(at as usize) };
    // SAFETY: source is private, destination inside the mapping: they cannot overlap. What the
    // other process reads or writes there meanwhile harms only the message.
    unsafe { core::ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len()) };
    true
}

/// Asks the processor to fetch a block's first lines, descriptor first, for writing. No effect where
/// there is no such instruction or no such block.
///
/// Whoever reads a block writes it next, the gateway its completion and the client its next request.
/// A line that is fetched to be read has to be asked for once more to be written, and stores wait
/// for each other.
#[inline]
pub(crate) fn claim(region: &Region, block: u32, lines: usize) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    if let Some(descriptor) = region.descriptor_address(block) {
        let mut line = descriptor.addr().get();
        for _ in 0..lines {
            // SAFETY: PREFETCHW has no effect that a program can see, whatever the address; every
            // processor of this architecture has it or takes it for a NOP.
            unsafe {
                core::arch::asm!(
                    "prefetchw byte ptr [{line}]",
                    line = in(reg) line,
                    options(nomem, nostack, preserves_flags)
                );
            }
            line += LINE_BYTES;
        }
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = (region, block, lines);
}

/// Bytes of a cache line.
const LINE_BYTES: usize = 64;
/// Most lines that are asked for at once: those of a message of 448 bytes.
const MOST_LINES: usize = 8;

/// The lines of a block with so many bytes of headers and payload, and at least two: those that are
/// worth asking for when the next message is as long as the last.
#[inline]
pub(crate) fn lines_of(body: u32) -> usize {
    (1 + (body as usize).div_ceil(LINE_BYTES)).clamp(2, MOST_LINES)
}
