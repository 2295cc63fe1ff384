//! The file of a Unix socket: owned by whoever holds the lock file beside it.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, listen, socket,
};
use nix::sys::stat::{Mode, fchmod};

/// Why the gateway cannot listen. Each says what to do; `flag` is the one that names the path.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// Another gateway holds the lock.
    #[error("{path} belongs to another gateway that is running: stop it, or choose another {flag}")]
    Taken {
        /// The socket's path.
        path: PathBuf,
        /// The flag that names it.
        flag: &'static str,
    },
    /// Something that is no socket is at the path.
    #[error("{path} exists and is not a socket: remove it, or choose another {flag}")]
    NotASocket {
        /// The path.
        path: PathBuf,
        /// The flag that names it.
        flag: &'static str,
    },
    /// The directory could be written by others.
    #[error(
        "directory {path} can be written by every user: give it mode 0700, or choose another {flag}"
    )]
    OpenDirectory {
        /// The directory.
        path: PathBuf,
        /// The flag that names the socket in it.
        flag: &'static str,
    },
    /// No permission.
    #[error("no permission for {path}: run as its owner, or choose another {flag}")]
    Permission {
        /// The socket's path.
        path: PathBuf,
        /// The flag that names it.
        flag: &'static str,
    },
    /// Another failure of the operating system.
    #[error("cannot listen on {address}: {source}; choose another {flag}")]
    Os {
        /// The socket's path, or an address.
        address: String,
        /// The flag that names it.
        flag: &'static str,
        /// What the operating system said.
        source: io::Error,
    },
}

impl StartError {
    pub(super) fn os(path: &Path, flag: &'static str, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::PermissionDenied => Self::Permission {
                path: path.to_owned(),
                flag,
            },
            _ => Self::Os {
                address: path.display().to_string(),
                flag,
                source,
            },
        }
    }
}

/// The file of a bound socket; removed when dropped.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    inode: u64,
    _lock: Flock<File>,
}

impl SocketFile {
    /// Takes the lock, removes a stale socket, and listens with this mode. `flag` is for messages.
    ///
    /// # Errors
    /// [`StartError`] with what to do.
    pub(super) fn listen(
        path: &Path,
        kind: SockType,
        mode: u32,
        flag: &'static str,
    ) -> Result<(OwnedFd, Self), StartError> {
        let failed = |source: io::Error| StartError::os(path, flag, source);
        let owned = || path.to_owned();
        let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty());
        let dir = dir.unwrap_or_else(|| Path::new("."));
        DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(dir)
            .map_err(failed)?;
        if dir.metadata().map_err(failed)?.mode() & 0o1002 == 0o0002 {
            let path = dir.to_owned();
            return Err(StartError::OpenDirectory { path, flag });
        }
        let lock = lock(path).map_err(failed)?;
        let taken = || StartError::Taken {
            path: owned(),
            flag,
        };
        let lock = lock.ok_or_else(taken)?;
        match path.symlink_metadata() {
            Ok(there) if !there.file_type().is_socket() => {
                let path = owned();
                return Err(StartError::NotASocket { path, flag });
            }
            // Only the holder of the lock may remove it: its owner is gone.
            Ok(_) => std::fs::remove_file(path).map_err(failed)?,
            Err(_) => {}
        }
        let socket = listen_at(path, kind, mode).map_err(failed)?;
        let inode = path.symlink_metadata().map_err(failed)?.ino();
        let file = Self {
            path: owned(),
            inode,
            _lock: lock,
        };
        Ok((socket, file))
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let there = self.path.symlink_metadata();
        if there.is_ok_and(|there| there.ino() == self.inode) {
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

/// The file never has a wider mode than `mode`: Linux makes it with the mode of the socket itself,
/// less the umask, and nobody can connect before `listen`.
fn listen_at(path: &Path, kind: SockType, mode: u32) -> io::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(AddressFamily::Unix, kind, flags, None)?;
    fchmod(&socket, Mode::from_bits_truncate(mode))?;
    bind(socket.as_raw_fd(), &UnixAddr::new(path)?)?;
    std::fs::set_permissions(path, Permissions::from_mode(mode))?;
    listen(&socket, Backlog::new(1024)?)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    fn listen_in(dir: &Path, name: &str, mode: u32) -> Result<(OwnedFd, SocketFile), StartError> {
        SocketFile::listen(&dir.join(name), SockType::Stream, mode, "--admin")
    }

    #[test]
    fn one_owner_at_a_time_and_a_stale_file_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        // Nobody listens any more; the file stays.
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        UnixStream::connect(&path).unwrap_err();
        let (_socket, file) = listen_in(dir.path(), "s", 0o660).unwrap();
        assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o660);
        UnixStream::connect(&path).unwrap();
        let second = listen_in(dir.path(), "s", 0o660).unwrap_err();
        assert!(second.to_string().ends_with("another --admin"), "{second}");
        UnixStream::connect(&path).unwrap();
        drop(file);
        assert!(!path.exists());
        listen_in(dir.path(), "s", 0o660).unwrap();
    }

    #[test]
    fn the_file_of_a_successor_and_what_is_no_socket_are_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        std::fs::write(&path, "kept").unwrap();
        let error = listen_in(dir.path(), "s", 0o600).unwrap_err();
        assert!(matches!(error, StartError::NotASocket { .. }), "{error}");
        std::fs::remove_file(&path).unwrap();
        let (_socket, file) = listen_in(dir.path(), "s", 0o600).unwrap();
        std::fs::rename(&path, dir.path().join("old")).unwrap();
        std::fs::write(&path, "kept").unwrap();
        drop(file);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "kept");
    }

    #[test]
    fn the_longest_path_of_a_socket_can_be_used() {
        let dir = tempfile::tempdir().unwrap();
        let left = 107 - dir.path().as_os_str().len() - 1;
        let name = "s".repeat(left);
        let (_socket, _file) = listen_in(dir.path(), &name, 0o600).unwrap();
        UnixStream::connect(dir.path().join(name)).unwrap();
    }

    #[test]
    fn a_directory_that_everybody_may_write_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::set_permissions(dir.path(), Permissions::from_mode(0o777)).unwrap();
        let error = listen_in(dir.path(), "s", 0o600).unwrap_err();
        assert!(matches!(error, StartError::OpenDirectory { .. }), "{error}");
    }
}
