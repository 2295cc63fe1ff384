//! The page that a worker shows its clients.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use memmap2::{MmapOptions, MmapRaw};
use nix::fcntl::{FcntlArg, SealFlag, fcntl};

use super::memory::{PAGE, file_size, unsealed_memfd};
use crate::primitive::AtomicU32;

/// A page with one word that its maker writes and others can only read.
#[derive(Debug)]
pub struct BellPage {
    map: MmapRaw,
    fd: Option<OwnedFd>,
}

impl BellPage {
    /// Makes the page. Its descriptor can be passed on: it is sealed so that whoever gets it can
    /// neither write it nor map it writable.
    ///
    /// # Errors
    /// The operating system's.
    pub fn create() -> io::Result<Self> {
        let fd = unsealed_memfd("ipc-gateway-bell", u64::from(PAGE))?;
        let map = MmapOptions::new().len(PAGE as usize).map_raw(&fd)?;
        let seals = SealFlag::F_SEAL_SHRINK
            | SealFlag::F_SEAL_GROW
            | SealFlag::F_SEAL_FUTURE_WRITE
            | SealFlag::F_SEAL_SEAL;
        fcntl(&fd, FcntlArg::F_ADD_SEALS(seals))?;
        Ok(Self { map, fd: Some(fd) })
    }

    /// Maps a page that somebody else made, for reading.
    ///
    /// # Errors
    /// The operating system's, or `InvalidData` when it is too small.
    pub fn open(fd: BorrowedFd<'_>) -> io::Result<Self> {
        if file_size(fd)? < u64::from(PAGE) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "bell page is too small",
            ));
        }
        Ok(Self {
            map: MmapOptions::new()
                .len(PAGE as usize)
                .map_raw_read_only(&fd)?,
            fd: None,
        })
    }

    /// The word. Only the maker may store to it: others have it mapped read-only.
    #[inline]
    #[must_use]
    pub fn word(&self) -> &AtomicU32 {
        // SAFETY: the mapping is one page, page-aligned, and lives as long as `self`. Those who
        // mapped it read-only only load (`Client` does; a plain load of a u32 never writes).
        #[expect(clippy::cast_ptr_alignment, reason = "a mapping begins at a page")]
        unsafe {
            &*self.map.as_ptr().cast::<AtomicU32>()
        }
    }

    /// The descriptor to pass on; only the maker has it.
    #[must_use]
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.fd.as_ref().map(AsFd::as_fd)
    }
}
