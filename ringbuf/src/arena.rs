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

/// Asks the processor to fetch a block's descriptor and the first line of its body. No effect
/// where there is no such instruction or no such block.
#[inline]
pub(crate) fn prefetch(region: &Region, block: u32) {
    #[cfg(target_arch = "x86_64")]
    if let Some(descriptor) = region.descriptor_address(block) {
        use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        let line = descriptor.as_ptr().cast::<i8>();
        // SAFETY: a prefetch has no effect that a program can see, whatever the address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(line) };
        // SAFETY: as above; a block is at least two lines long.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(line.wrapping_add(64)) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (region, block);
}
