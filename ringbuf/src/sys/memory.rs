//! Memory files: made, sealed, given back.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};

/// Bytes of a page.
pub(super) const PAGE: u32 = 4096;

/// Makes the memory of a region: `bytes` long, allocated, and sealed so that nobody can change its
/// size or seal it further.
///
/// # Errors
/// The operating system's: no descriptors, no memory.
pub fn sealed_memfd(name: &str, bytes: u64) -> io::Result<OwnedFd> {
    let fd = unsealed_memfd(name, bytes)?;
    let seals = SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SEAL;
    fcntl(&fd, FcntlArg::F_ADD_SEALS(seals))?;
    Ok(fd)
}

pub(super) fn unsealed_memfd(name: &str, bytes: u64) -> io::Result<OwnedFd> {
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    // MFD_NOEXEC_SEAL is Linux 6.3; older kernels say EINVAL.
    let noexec = MFdFlags::from_bits_retain(8);
    let fd = memfd_create(name, flags | noexec).or_else(|error| match error {
        Errno::EINVAL => memfd_create(name, flags),
        other => Err(other),
    })?;
    let len = i64::try_from(bytes).map_err(io::Error::other)?;
    nix::unistd::ftruncate(&fd, len)?;
    // Allocated now, so that a full machine refuses the attach and not a store much later.
    nix::fcntl::fallocate(&fd, nix::fcntl::FallocateFlags::empty(), 0, len)?;
    Ok(fd)
}

/// The length of a file, in bytes.
///
/// # Errors
/// The operating system's.
pub(crate) fn file_size(fd: BorrowedFd<'_>) -> io::Result<u64> {
    let size = nix::sys::stat::fstat(fd)?.st_size;
    u64::try_from(size).map_err(io::Error::other)
}

/// Checks that nobody can shrink a memory file: a mapping of it could vanish, and the next access
/// would kill the process.
///
/// # Errors
/// `InvalidData` when it is not sealed so.
pub fn check_sealed(fd: BorrowedFd<'_>) -> io::Result<()> {
    // A file that knows no seals has none.
    let seals = fcntl(fd, FcntlArg::F_GET_SEALS).unwrap_or(0);
    if SealFlag::from_bits_truncate(seals).contains(SealFlag::F_SEAL_SHRINK) {
        Ok(())
    } else {
        Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "the gateway's memory is not sealed against shrinking",
        ))
    }
}

/// Gives the memory of a memfd back although others may still hold it: they read zeros. The first
/// page goes first, so whoever reads a zero elsewhere and then looks there finds zeros too.
///
/// # Errors
/// The operating system's.
pub fn give_back(fd: BorrowedFd<'_>, bytes: u64) -> io::Result<()> {
    use nix::fcntl::FallocateFlags as Flags;
    let flags = Flags::FALLOC_FL_PUNCH_HOLE | Flags::FALLOC_FL_KEEP_SIZE;
    for len in [u64::from(PAGE), bytes] {
        let len = i64::try_from(len).map_err(io::Error::other)?;
        nix::fcntl::fallocate(fd, flags, 0, len)?;
    }
    Ok(())
}
