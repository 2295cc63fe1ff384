//! Control sockets: connecting, accepting, and who is at the other end.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, UnixAddr, connect, setsockopt, socket, socketpair, sockopt,
};
use nix::sys::time::TimeVal;

use super::interrupted::repeat;

/// Connects to a listening `SOCK_SEQPACKET` socket. `timeout` bounds this, and every later receive.
/// Signals do not end it.
///
/// # Errors
/// The operating system's.
pub fn connect_seqpacket(path: &Path, timeout: Duration) -> io::Result<OwnedFd> {
    let fd = socket(
        AddressFamily::Unix,
        SockType::SeqPacket,
        SockFlag::SOCK_CLOEXEC,
        None,
    )?;
    let seconds = i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX);
    let bound = TimeVal::new(seconds, i64::from(timeout.subsec_micros()));
    setsockopt(&fd, sockopt::ReceiveTimeout, &bound)?;
    setsockopt(&fd, sockopt::SendTimeout, &bound)?;
    let address = UnixAddr::new(path)?;
    repeat(fd.as_fd(), sockopt::SendTimeout, || {
        Ok(connect(fd.as_raw_fd(), &address)?)
    })?;
    Ok(fd)
}

/// Makes the two ends of a connected `SOCK_SEQPACKET` socket, for both ends of a session in one
/// process.
///
/// # Errors
/// The operating system's.
pub fn packet_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = SockFlag::SOCK_CLOEXEC;
    let pair = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags)?;
    Ok(pair)
}

/// Whether connecting failed because the listening socket is not a `SOCK_SEQPACKET` one.
pub(crate) fn is_other_socket_type(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EPROTOTYPE)
}

/// Accepts a connection; the new socket is non-blocking.
///
/// # Errors
/// The operating system's; `WouldBlock` when nobody waits.
pub fn accept(listener: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd = nix::sys::socket::accept4(listener.as_raw_fd(), flags)?;
    // SAFETY: the kernel has just made this descriptor for us; nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// The user that the process at the other end ran as when the connection was made.
///
/// # Errors
/// The operating system's.
pub fn peer_uid(socket: BorrowedFd<'_>) -> io::Result<u32> {
    Ok(nix::sys::socket::getsockopt(&socket, sockopt::PeerCredentials)?.uid())
}

/// The groups of the process at the other end besides its primary one, as they were when the
/// connection was made (`SO_PEERGROUPS`).
///
/// # Errors
/// The operating system's.
pub fn peer_groups(socket: BorrowedFd<'_>) -> io::Result<Vec<u32>> {
    let each = size_of::<libc::gid_t>();
    let mut groups: Vec<libc::gid_t> = vec![0; 32];
    loop {
        let room = groups.len();
        let mut bytes = libc::socklen_t::try_from(room * each).map_err(io::Error::other)?;
        // SAFETY: the kernel writes at most `bytes` bytes to `groups`, which has so many and may
        // hold any bits, and the number that it has or needs to `bytes`.
        let result = unsafe {
            libc::getsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_PEERGROUPS,
                groups.as_mut_ptr().cast(),
                &raw mut bytes,
            )
        };
        let count = usize::try_from(bytes).map_err(io::Error::other)? / each;
        if result == 0 {
            groups.truncate(count);
            return Ok(groups);
        }
        let error = io::Error::last_os_error();
        if error.raw_os_error() != Some(libc::ERANGE) || count <= room {
            return Err(error);
        }
        groups.resize(count, 0);
    }
}

/// Takes over a descriptor that this process was started with, such as a socket of the service
/// manager. It is closed at the next `exec` from then on.
///
/// # Errors
/// `InvalidInput` when the number is one of the three standard ones, or of a descriptor that this
/// process has opened or taken over before; the operating system's when there is none.
pub fn take_inherited(number: RawFd) -> io::Result<OwnedFd> {
    static TAKING: Mutex<()> = Mutex::new(());
    let refused = |why| Err(io::Error::new(io::ErrorKind::InvalidInput, why));
    if number <= libc::STDERR_FILENO {
        return refused("a standard descriptor cannot be taken over");
    }
    let _one_at_a_time = TAKING.lock().unwrap_or_else(PoisonError::into_inner);
    // SAFETY: asks for the flags of a number, which may be any.
    let flags = unsafe { libc::fcntl(number, libc::F_GETFD) };
    if flags < 0 {
        return Err(io::Error::last_os_error());
    }
    if flags & libc::FD_CLOEXEC != 0 {
        return refused("the descriptor was not inherited, or was taken over before");
    }
    // SAFETY: sets the flag of an open descriptor; no descriptor is closed or made.
    if unsafe { libc::fcntl(number, libc::F_SETFD, flags | libc::FD_CLOEXEC) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: without FD_CLOEXEC it came through `exec`: everything here and in the standard
    // library opens with the flag. So nobody in this process owned it, and as it has the flag now
    // nobody gets it a second time.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// The user that this process runs as.
#[must_use]
pub fn own_uid() -> u32 {
    nix::unistd::geteuid().as_raw()
}
