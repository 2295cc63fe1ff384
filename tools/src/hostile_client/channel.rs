//! Attacks on the bells and the control socket.

use std::os::fd::{AsFd as _, AsRawFd as _};
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;

use fastrand::Rng;
use ipc_ringbuf::doorbell;
use ipc_ringbuf::layout::Line;
use ipc_ringbuf::sys;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::socket::{Shutdown, shutdown};

use crate::counts::Counts;
use crate::session::{MOST_FDS, Session};

/// Rings in one stroke.
const STORM: u32 = 4096;

/// Rings without work, and a bell that says that this client sleeps although it does not.
pub(crate) fn wakes(session: &mut Session, rng: &mut Rng, counts: &mut Counts) {
    let bell = session.region.line32(Line::ClientBell);
    let how = match rng.u8(..3) {
        0 => doorbell::ASLEEP,
        1 => doorbell::ASLEEP_ON_SOCKET,
        _ => rng.u32(..),
    };
    bell.store(how, Ordering::Relaxed);
    for _ in 0..STORM {
        session.ring(counts);
    }
    session.take(counts);
    session.fill(rng, counts);
}

/// Fills the eventfd and lets it block; whoever wrote it now would wait for ever.
pub(crate) fn eventfd(session: &mut Session, rng: &mut Rng, counts: &mut Counts) {
    let eventfd = session.eventfd.as_fd();
    fcntl(eventfd, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).ok();
    let mut value = [0; 8];
    nix::unistd::read(eventfd, &mut value).ok();
    if nix::unistd::write(eventfd, &(u64::MAX - 1).to_ne_bytes()).is_ok() {
        counts.eventfds_filled += 1;
    }
    fcntl(eventfd, FcntlArg::F_SETFL(OFlag::empty())).ok();
    session.take(counts);
    fcntl(
        session.eventfd.as_fd(),
        FcntlArg::F_SETFL(OFlag::O_NONBLOCK),
    )
    .ok();
    session.fill(rng, counts);
}

/// Bytes on a socket that is for the gateway to speak on, or half of it closed.
pub(crate) fn socket(session: &Session, rng: &mut Rng, counts: &mut Counts) {
    let socket = session.socket.as_fd();
    match rng.u8(..4) {
        0 => {
            let bytes = vec![rng.u8(..); rng.usize(1..=65_536)];
            sys::send_packet(socket, &bytes, &[]).ok();
            counts.packets += 1;
        }
        1 => {
            for _ in 0..256 {
                sys::send_packet(socket, &[rng.u8(..)], &[]).ok();
                counts.packets += 1;
            }
        }
        2 => {
            shutdown(socket.as_raw_fd(), Shutdown::Write).ok();
            counts.half_closes += 1;
        }
        _ => {
            shutdown(socket.as_raw_fd(), Shutdown::Read).ok();
            counts.half_closes += 1;
        }
    }
}

/// Descriptors with every packet.
pub(crate) fn fds(session: &Session, counts: &mut Counts) {
    let fds = [session.eventfd.as_fd(); MOST_FDS];
    for _ in 0..16 {
        if sys::send_packet(session.socket.as_fd(), b"take these", &fds).is_ok() {
            counts.fds_sent += MOST_FDS as u64;
        }
    }
}

/// A connection that never becomes a session.
pub(crate) fn bad_greeting(path: &Path, rng: &mut Rng, counts: &mut Counts) {
    let Ok(socket) = sys::connect_seqpacket(path, Duration::from_secs(1)) else {
        return;
    };
    match rng.u8(..3) {
        0 => {
            let bytes: Vec<u8> = (0..rng.usize(1..200)).map(|_| rng.u8(..)).collect();
            sys::send_packet(socket.as_fd(), &bytes, &[]).ok();
            counts.packets += 1;
        }
        1 => {
            shutdown(socket.as_raw_fd(), Shutdown::Write).ok();
            counts.half_closes += 1;
        }
        // It goes without a word.
        _ => {}
    }
}
