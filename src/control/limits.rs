//! The limit on open descriptors, and what is kept back from clients.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use ipc_ringbuf::sys::packet_pair;
use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::socket::{getsockopt, sockopt};

/// Descriptors that a session takes while it is served.
const EACH: u64 = 8;
/// Descriptors that the gateway takes besides: clients that have not said hello, the admin server,
/// the workers, NATS.
const BESIDES: u64 = 1024;
/// Descriptors that no client gets, so that the gateway can connect to NATS (16 at most), answer its
/// operator (64) and be scraped (16) when clients have used up all others; a quarter of the limit if
/// that is less.
const RESERVED: u64 = 96;

/// Descriptors that so many sessions take, with the gateway's own.
#[must_use]
pub fn descriptors_for(sessions: u32) -> u64 {
    u64::from(sessions) * EACH + BESIDES
}

/// Whether the kernel tells which process is at the other end of a socket, in a way that shows its
/// end (Linux 6.5). Without it only the socket's end shows that a client has gone.
///
/// # Errors
/// When there are no sockets.
pub fn sees_processes() -> io::Result<bool> {
    let (socket, _other) = packet_pair()?;
    match getsockopt(&socket, sockopt::PeerPidfd) {
        Ok(_) => Ok(true),
        Err(Errno::ENOPROTOOPT) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Raises the soft limit to the hard one, and warns when that is not enough for so many sessions:
/// clients beyond it would be refused as OVERLOADED.
pub fn raise_descriptors(sessions: u32) {
    let wanted = descriptors_for(sessions);
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else {
        return;
    };
    let limit = match setrlimit(Resource::RLIMIT_NOFILE, hard, hard) {
        Ok(()) => hard,
        Err(_) => soft,
    };
    if limit < wanted {
        tracing::warn!(
            limit,
            wanted,
            "too few descriptors for control.max_sessions: raise LimitNOFILE or ulimit -n"
        );
    }
}

/// Whether one more session would need descriptors that are reserved. `newest` has just been made:
/// the kernel takes the lowest free number, so all below it are in use.
pub(super) fn is_scarce(newest: BorrowedFd<'_>) -> bool {
    let Ok((limit, _)) = getrlimit(Resource::RLIMIT_NOFILE) else {
        return false;
    };
    let in_use = u64::try_from(newest.as_raw_fd()).unwrap_or(u64::MAX);
    in_use.saturating_add(EACH) > limit - RESERVED.min(limit / 4)
}
