//! The socket that clients attach to: owned by whoever holds the lock file beside it.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, listen, socket,
};

/// Why the gateway cannot listen. Each says what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// Another gateway holds the lock.
    #[error("{0} belongs to another gateway that is running: stop it, or choose another --socket")]
    Taken(PathBuf),
    /// Something that is no socket is at the path.
    #[error("{0} exists and is not a socket: remove it, or choose another --socket")]
    NotASocket(PathBuf),
    /// The directory could be written by others.
    #[error(
        "directory {0} can be written by every user: give it mode 0700, or choose another --socket"
    )]
    OpenDirectory(PathBuf),
    /// No permission.
    #[error("no permission for {0}: run as its owner, or choose another --socket")]
    Permission(PathBuf),
    /// The admin server cannot listen.
    #[error("cannot listen on the admin address {address}: {source}; choose another --admin")]
    Admin {
        /// Where.
        address: String,
        /// What the operating system said.
        source: io::Error,
    },
    /// Another failure of the operating system.
    #[error("cannot listen on {path}: {source}")]
    Os {
        /// The socket's path.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
}

/// A bound socket; removed when dropped.
#[derive(Debug)]
pub struct Listener {
    path: PathBuf,
    inode: u64,
    pub(super) socket: OwnedFd,
    _lock: Flock<File>,
}

impl Listener {
    /// Takes the lock, removes a stale socket, binds and sets the mode.
    ///
    /// # Errors
    /// [`StartError`] with what to do.
    pub fn bind(path: &Path, mode: u32) -> Result<Self, StartError> {
        let failed = |source: io::Error| match source.kind() {
            io::ErrorKind::PermissionDenied => StartError::Permission(path.to_owned()),
            _ => StartError::Os {
                path: path.to_owned(),
                source,
            },
        };
        let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty());
        let dir = dir.unwrap_or_else(|| Path::new("."));
        DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(dir)
            .map_err(failed)?;
        if dir.metadata().map_err(failed)?.mode() & 0o1002 == 0o0002 {
            return Err(StartError::OpenDirectory(dir.to_owned()));
        }
        let lock = lock(path).map_err(failed)?;
        let lock = lock.ok_or_else(|| StartError::Taken(path.to_owned()))?;
        match path.symlink_metadata() {
            Ok(there) if !there.file_type().is_socket() => {
                return Err(StartError::NotASocket(path.to_owned()));
            }
            // Only the holder of the lock may remove it: its owner is gone.
            Ok(_) => std::fs::remove_file(path).map_err(failed)?,
            Err(_) => {}
        }
        let socket = listen_at(path, mode).map_err(failed)?;
        let inode = path.symlink_metadata().map_err(failed)?.ino();
        Ok(Self {
            path: path.to_owned(),
            inode,
            socket,
            _lock: lock,
        })
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if self
            .path
            .symlink_metadata()
            .is_ok_and(|there| there.ino() == self.inode)
        {
            std::fs::remove_file(&self.path).ok();
        }
    }
}

fn lock(path: &Path) -> io::Result<Option<Flock<File>>> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .custom_flags(nix::libc::O_NOFOLLOW)
        .open(name)?;
    Ok(Flock::lock(file, FlockArg::LockExclusiveNonblock).ok())
}

fn listen_at(path: &Path, mode: u32) -> io::Result<OwnedFd> {
    use std::os::fd::AsRawFd;
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(AddressFamily::Unix, SockType::SeqPacket, flags, None)?;
    // Bound under another name and renamed, so that nobody finds it with other permissions.
    let mut draft = path.as_os_str().to_owned();
    draft.push(".new");
    let draft = PathBuf::from(draft);
    std::fs::remove_file(&draft).ok();
    bind(socket.as_raw_fd(), &UnixAddr::new(&draft)?)?;
    std::fs::set_permissions(&draft, Permissions::from_mode(mode))?;
    listen(&socket, Backlog::new(1024)?)?;
    std::fs::rename(&draft, path)?;
    Ok(socket)
}
