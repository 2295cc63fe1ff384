//! What goes over a control socket: packets with descriptors, single bytes that wake, and the end.

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout};
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, recv, recvmsg, send, sendmsg, sockopt,
};

use super::interrupted::repeat;

/// Whether a read of this descriptor would return at once. Never waits and takes nothing.
#[must_use]
pub fn is_readable(fd: BorrowedFd<'_>) -> bool {
    let mut fds = [PollFd::new(fd, PollFlags::POLLIN)];
    let _ = nix::poll::poll(&mut fds, PollTimeout::ZERO);
    let [fd] = fds;
    fd.any().unwrap_or(false)
}

/// Sends one packet with descriptors. Never waits.
///
/// # Errors
/// The operating system's; `WouldBlock` when the peer does not read.
pub fn send_packet(socket: BorrowedFd<'_>, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let fds: Vec<RawFd> = fds.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&fds)];
    let control = if fds.is_empty() { &[][..] } else { &rights[..] };
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
    let sent = sendmsg::<()>(
        socket.as_raw_fd(),
        &[IoSlice::new(bytes)],
        control,
        flags,
        None,
    )?;
    if sent == bytes.len() {
        Ok(())
    } else {
        Err(io::Error::new(io::ErrorKind::WriteZero, "packet was cut"))
    }
}

/// Receives one packet into `buffer`, and its descriptors. `Ok(None)` when the peer has closed. Signals
/// do not end it.
///
/// # Errors
/// The operating system's; `InvalidData` when the packet or its descriptors did not fit.
pub fn receive_packet(
    socket: BorrowedFd<'_>,
    buffer: &mut [u8],
) -> io::Result<Option<(usize, Vec<OwnedFd>)>> {
    repeat(socket, sockopt::ReceiveTimeout, || {
        let mut space = nix::cmsg_space!([RawFd; 4]);
        let mut iov = [IoSliceMut::new(buffer)];
        let flags = MsgFlags::MSG_CMSG_CLOEXEC;
        let message = recvmsg::<()>(socket.as_raw_fd(), &mut iov, Some(&mut space), flags)?;
        let mut fds = Vec::new();
        for control in message.cmsgs()? {
            if let ControlMessageOwned::ScmRights(received) = control {
                for fd in received {
                    // SAFETY: the kernel has just made this descriptor for us; nobody else owns it.
                    fds.push(unsafe { OwnedFd::from_raw_fd(fd) });
                }
            }
        }
        check_whole(message.flags)?;
        Ok((message.bytes != 0).then_some((message.bytes, fds)))
    })
}

/// Receives one packet without descriptors: those sent with it are dropped by the kernel. Never
/// waits. `Ok(None)` when the peer has closed.
///
/// # Errors
/// The operating system's; `InvalidData` when the packet did not fit or carried descriptors.
pub fn receive_plain(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<Option<usize>> {
    let mut iov = [IoSliceMut::new(buffer)];
    let message = recvmsg::<()>(socket.as_raw_fd(), &mut iov, None, MsgFlags::MSG_DONTWAIT)?;
    check_whole(message.flags)?;
    Ok((message.bytes != 0).then_some(message.bytes))
}

/// Refuses a packet of which a part, bytes or descriptors, did not fit.
fn check_whole(flags: MsgFlags) -> io::Result<()> {
    if flags.intersects(MsgFlags::MSG_TRUNC | MsgFlags::MSG_CTRUNC) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "packet is too large",
        ));
    }
    Ok(())
}

/// Sends one byte, to wake a peer that waits for its socket. Never waits; a full socket is a peer
/// that has bytes to wake for.
pub(crate) fn nudge(socket: BorrowedFd<'_>, byte: u8) {
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
    let _ = send(socket.as_raw_fd(), &[byte], flags);
}

/// Takes all packets that wait on the socket; says whether the peer is still there. The last
/// packet's first bytes come back for those that say why a session ended.
pub(crate) fn drain(socket: BorrowedFd<'_>) -> (Peer, Option<[u8; 3]>) {
    let mut last = None;
    let mut buffer = [0; 64];
    loop {
        match recv(socket.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT) {
            Ok(0) => return (Peer::Gone, last),
            Ok(_) => last = buffer.first_chunk().copied().or(last),
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) => return (Peer::Present, last),
            Err(_) => return (Peer::Gone, last),
        }
    }
}

/// Whether the other end of a socket is still there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peer {
    /// It is.
    Present,
    /// It has closed, or its process has ended.
    Gone,
}

/// Whether the socket has been closed at the other end, without reading from it.
pub(crate) fn hung_up(socket: BorrowedFd<'_>) -> Peer {
    let mut fds = [PollFd::new(socket, PollFlags::empty())];
    let _ = nix::poll::poll(&mut fds, PollTimeout::ZERO);
    let [fd] = fds;
    let gone = PollFlags::POLLHUP | PollFlags::POLLERR;
    match fd.revents() {
        Some(events) if events.intersects(gone) => Peer::Gone,
        _ => Peer::Present,
    }
}

/// Watches a descriptor for reading on the tokio runtime that this is called on.
///
/// # Errors
/// The operating system's.
#[cfg(feature = "tokio")]
pub fn watch_readable(fd: OwnedFd) -> io::Result<tokio::io::unix::AsyncFd<OwnedFd>> {
    use tokio::io::{Interest, unix::AsyncFd};
    // SAFETY: an `OwnedFd` is open and keeps its number for as long as it lives, and the
    // `AsyncFd` owns it.
    let watched = unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) };
    watched.map_err(io::Error::from)
}
