//! The file of a Unix socket: owned by whoever holds the lock file beside it.
//!
//! A place is taken only if no other user but root could put something else there: every directory
//! on the way belongs to root or to this user, and one that its group or everybody may write has the
//! sticky bit.
//! What is there already is removed only by the holder of the lock, and only if it is a socket at
//! which nobody listens.

use std::fs::{DirBuilder, File, Metadata, OpenOptions, Permissions};
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, connect, listen, socket,
};
use nix::sys::stat::{Mode, fchmod, major, minor};
use nix::unistd::{AccessFlags, eaccess, geteuid};

use super::start_error::StartError;

/// The file of a bound socket; removed when dropped.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    inode: u64,
    /// None when the file was left to another gateway.
    lock: Option<Flock<File>>,
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
        let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty());
        let dir = dir.unwrap_or_else(|| Path::new("."));
        DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(dir)
            .map_err(failed)?;
        check_directory(dir, path, flag)?;
        let lock = lock(path, flag)?;
        match path.symlink_metadata() {
            Ok(there) if !there.file_type().is_socket() => {
                let path = path.to_owned();
                return Err(StartError::NotASocket { path, flag });
            }
            Ok(_) if !is_stale(path, kind).map_err(failed)? => {
                let path = path.to_owned();
                return Err(StartError::InUse { path, flag });
            }
            // Only the holder of the lock may remove it: its owner is gone.
            Ok(_) => std::fs::remove_file(path).map_err(failed)?,
            Err(_) => {}
        }
        let socket = listen_at(path, kind, mode).map_err(failed)?;
        let inode = path.symlink_metadata().map_err(failed)?.ino();
        let file = Self {
            path: path.to_owned(),
            inode,
            lock: Some(lock),
        };
        Ok((socket, file))
    }

    /// The file of a socket that another gateway has left to this one, with its lock.
    ///
    /// # Errors
    /// [`StartError`] when the lock is somebody else's, or the file is gone.
    pub(super) fn resume(
        path: PathBuf,
        lock: OwnedFd,
        flag: &'static str,
    ) -> Result<Self, StartError> {
        let taken = |_| StartError::Taken {
            path: path.clone(),
            flag,
        };
        let lock = Flock::lock(File::from(lock), FlockArg::LockExclusiveNonblock);
        let lock = lock.map_err(taken)?;
        let there = path.symlink_metadata();
        let inode = there
            .map_err(|error| StartError::os(&path, flag, error))?
            .ino();
        Ok(Self {
            path,
            inode,
            lock: Some(lock),
        })
    }

    /// Leaves the file to another gateway, which gets the lock. `None` when there is no descriptor
    /// for that; then the file is removed.
    pub(super) fn release(mut self) -> Option<(PathBuf, OwnedFd)> {
        let lock = self.lock.take()?;
        let Ok(fd) = lock.try_clone() else {
            self.lock = Some(lock);
            return None;
        };
        // Dropping it would give up the lock, which both descriptors share.
        let _kept = ManuallyDrop::new(lock);
        Some((self.path.clone(), fd.into()))
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if self.lock.is_none() {
            return;
        }
        let there = self.path.symlink_metadata();
        if there.is_ok_and(|there| there.ino() == self.inode) {
            std::fs::remove_file(&self.path).ok();
        }
    }
}

/// What is at the place of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vacancy {
    /// Nobody listens there, and the directory is there.
    Free,
    /// The directory is not there, and can be made.
    Unmade,
    /// Somebody listens there who does not hold the lock.
    Listening,
    /// A gateway holds the lock.
    Held {
        /// Whether somebody listens there.
        is_heard: bool,
    },
}

/// Looks whether a gateway of this user could listen for clients at this path; makes and takes
/// nothing.
///
/// # Errors
/// [`StartError`] as at the start of a gateway. That somebody listens there, or holds the lock, is
/// none.
pub fn vacancy(path: &Path, flag: &'static str) -> Result<Vacancy, StartError> {
    let failed = |source: io::Error| StartError::os(path, flag, source);
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty());
    let dir = dir.unwrap_or_else(|| Path::new("."));
    let mut there = dir;
    while !there.try_exists().map_err(failed)? {
        there = there
            .parent()
            .filter(|dir| !dir.as_os_str().is_empty())
            .unwrap_or_else(|| Path::new("."));
    }
    if !there.is_dir() {
        return Err(failed(io::ErrorKind::NotADirectory.into()));
    }
    check_directory(there, path, flag)?;
    let access = AccessFlags::W_OK | AccessFlags::X_OK;
    eaccess(there, access).map_err(|errno| failed(errno.into()))?;
    if there != dir {
        return Ok(Vacancy::Unmade);
    }
    let is_held = is_held(path, flag)?;
    match path.symlink_metadata() {
        Ok(it) if !it.file_type().is_socket() => {
            let path = path.to_owned();
            Err(StartError::NotASocket { path, flag })
        }
        Ok(it) => match is_stale(path, SockType::SeqPacket).map_err(failed)? {
            false if is_held => Ok(Vacancy::Held { is_heard: true }),
            false => Ok(Vacancy::Listening),
            true if is_held => Ok(Vacancy::Held { is_heard: false }),
            true if may_remove(&it, dir).map_err(failed)? => Ok(Vacancy::Free),
            true => Err(failed(io::ErrorKind::PermissionDenied.into())),
        },
        Err(_) if is_held => Ok(Vacancy::Held { is_heard: false }),
        Err(_) => Ok(Vacancy::Free),
    }
}

/// Whether somebody holds the lock beside this socket. Taking it would be in the way of a gateway
/// that starts, so the kernel's list of locks is read. A lock that is held in another container, or
/// was handed over in one, is not in it, and one on a file system whose files have other device
/// numbers than itself (btrfs) is not found.
fn is_held(socket: &Path, flag: &'static str) -> Result<bool, StartError> {
    let path = lock_path(socket);
    let Ok(it) = path.symlink_metadata() else {
        return Ok(false);
    };
    if it.is_file() {
        let refused = |errno: Errno| StartError::os(socket, flag, errno.into());
        eaccess(&path, AccessFlags::W_OK).map_err(refused)?;
    }
    if !it.is_file() || (it.uid() != 0 && it.uid() != geteuid().as_raw()) {
        return Err(StartError::BadLock { path, flag });
    }
    let locks = std::fs::read_to_string("/proc/locks").unwrap_or_default();
    let (device, inode) = (it.dev(), it.ino());
    Ok(is_listed(&locks, major(device), minor(device), inode))
}

/// Whether a file is in the kernel's list of locks: `1: FLOCK ADVISORY WRITE 42 00:1a:77 0 EOF`.
fn is_listed(locks: &str, major: u64, minor: u64, inode: u64) -> bool {
    let file = format!("{major:02x}:{minor:02x}:{inode}");
    locks.lines().any(|line| {
        let mut words = line.split_whitespace().skip(1);
        words.next() == Some("FLOCK") && words.any(|word| word == file)
    })
}

/// Whether this user may remove what is there from a directory that it may write: in a sticky one
/// only its owner, the directory's, and root may.
fn may_remove(there: &Metadata, dir: &Path) -> io::Result<bool> {
    let dir = dir.metadata()?;
    let this_user = geteuid();
    let is_own = [there.uid(), dir.uid()].contains(&this_user.as_raw());
    Ok(dir.mode() & 0o1000 == 0 || this_user.is_root() || is_own)
}

/// Checks that nobody else can put something in the place of the socket: the directory and all
/// above it are root's or this user's, and neither their group nor everybody may write them unless they
/// are sticky. Who is in the group does not matter: it can have another member tomorrow.
fn check_directory(dir: &Path, socket: &Path, flag: &'static str) -> Result<(), StartError> {
    let failed = |source: io::Error| StartError::os(socket, flag, source);
    let dir = dir.canonicalize().map_err(failed)?;
    let this_user = geteuid().as_raw();
    for dir in dir.ancestors() {
        let there = dir.symlink_metadata().map_err(failed)?;
        let (path, owner) = (dir.to_owned(), there.uid());
        if owner != 0 && owner != this_user {
            return Err(StartError::ForeignDirectory { path, owner, flag });
        }
        if there.mode() & 0o1002 == 0o0002 {
            return Err(StartError::OpenDirectory { path, flag });
        }
        if there.mode() & 0o1020 == 0o0020 {
            let group = there.gid();
            return Err(StartError::GroupDirectory { path, group, flag });
        }
    }
    Ok(())
}

/// Takes the lock file beside the socket.
fn lock(socket: &Path, flag: &'static str) -> Result<Flock<File>, StartError> {
    let failed = |source: io::Error| StartError::os(socket, flag, source);
    let path = lock_path(socket);
    // Opening a pipe that somebody left there must not wait.
    let flags = nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK;
    let opened = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .custom_flags(flags)
        .open(&path);
    let file = match opened {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Err(failed(error)),
        Err(_) if path.symlink_metadata().is_ok_and(|it| !it.is_file()) => {
            return Err(StartError::BadLock { path, flag });
        }
        Err(error) => return Err(failed(error)),
    };
    let it = file.metadata().map_err(failed)?;
    if !it.is_file() || (it.uid() != 0 && it.uid() != geteuid().as_raw()) {
        return Err(StartError::BadLock { path, flag });
    }
    let path = socket.to_owned();
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|_| StartError::Taken { path, flag })
}

/// The lock file beside a socket.
fn lock_path(socket: &Path) -> PathBuf {
    let mut path = socket.as_os_str().to_owned();
    path.push(".lock");
    path.into()
}

/// Whether nobody listens at this socket's file.
fn is_stale(path: &Path, kind: SockType) -> io::Result<bool> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let probe = socket(AddressFamily::Unix, kind, flags, None)?;
    match connect(probe.as_raw_fd(), &UnixAddr::new(path)?) {
        Err(Errno::ECONNREFUSED) => Ok(true),
        Err(error @ (Errno::EACCES | Errno::EPERM)) => Err(error.into()),
        // Listening, at least for sockets of another type.
        _ => Ok(false),
    }
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
    fn a_directory_that_others_may_write_is_refused_unless_it_is_sticky() {
        let dir = tempfile::tempdir().unwrap();
        let listen = |mode| {
            std::fs::set_permissions(dir.path(), Permissions::from_mode(mode)).unwrap();
            listen_in(dir.path(), "s", 0o600).map(drop)
        };
        let error = listen(0o777).unwrap_err();
        assert!(matches!(error, StartError::OpenDirectory { .. }), "{error}");
        for mode in [0o770, 0o775, 0o2770] {
            let error = listen(mode).unwrap_err();
            assert!(
                matches!(error, StartError::GroupDirectory { .. }),
                "{error}"
            );
        }
        for mode in [0o750, 0o755, 0o1770, 0o1777] {
            listen(mode).unwrap();
        }
    }

    #[test]
    fn a_look_sees_who_holds_the_place_and_takes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let look = || vacancy(&path, "--socket").unwrap();
        assert_eq!(look(), Vacancy::Free);
        assert!(!lock_path(&path).exists());
        let kind = SockType::SeqPacket;
        let (socket, file) = SocketFile::listen(&path, kind, 0o600, "--socket").unwrap();
        assert_eq!(look(), Vacancy::Held { is_heard: true });
        drop(socket);
        assert_eq!(look(), Vacancy::Held { is_heard: false });
        std::fs::remove_file(&path).unwrap();
        assert_eq!(look(), Vacancy::Held { is_heard: false });
        drop(file);
        assert!(lock_path(&path).exists());
        assert_eq!(look(), Vacancy::Free);
        // It knows nothing of the lock.
        let _listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        assert_eq!(look(), Vacancy::Listening);
        std::fs::remove_file(lock_path(&path)).unwrap();
        std::fs::create_dir(lock_path(&path)).unwrap();
        let error = vacancy(&path, "--socket").unwrap_err();
        assert!(matches!(error, StartError::BadLock { .. }), "{error}");
    }

    #[test]
    fn a_lock_is_found_in_the_list_by_its_file() {
        let locks = "1: POSIX  ADVISORY  WRITE 41 00:1a:78 0 EOF\n\
                     2: FLOCK  ADVISORY  WRITE 42 00:1a:77 0 EOF\n\
                     2: -> FLOCK  ADVISORY  WRITE 43 00:1a:77 0 EOF\n";
        assert!(is_listed(locks, 0, 26, 77));
        assert!(!is_listed(locks, 0, 26, 78));
        assert!(!is_listed(locks, 1, 26, 77));
    }
}
