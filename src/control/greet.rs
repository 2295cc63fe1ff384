//! Clients that come: accepted, asked who they are and what they want, and watched from then on.

use std::cell::RefCell;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;

use ipc_ringbuf::error::EndReason;
use ipc_ringbuf::handshake::{HELLO_BYTES, Refusal};
use ipc_ringbuf::sys;
use nix::errno::Errno;
use nix::sys::socket::{getsockopt, sockopt};
use tokio::io::unix::AsyncFd;

use super::attach::{self, Peer};
use super::limits;
use super::rest::Rest;
use super::room::{Room, refusal};
use crate::metrics::control::AcceptError;

/// Stands for no user in particular, where log lines are counted by user.
pub(super) const ANYBODY: u32 = u32::MAX;

/// Accepts clients until the task is dropped.
pub(super) async fn accept(room: Rc<RefCell<Room>>, listener: AsyncFd<OwnedFd>) {
    let mut rest = Rest::default();
    loop {
        let Ok(mut ready) = listener.readable().await else {
            return;
        };
        match sys::accept(listener.get_ref().as_fd()) {
            Ok(client) => {
                rest.over();
                // Before anything is waited for: who was accepted gets an answer, even if this task ends.
                if limits::is_scarce(client.as_fd()) {
                    refuse(&room, &client, ANYBODY, &scarce());
                } else {
                    tokio::task::spawn_local(greet(Rc::clone(&room), client));
                }
                // A socket that stays ready would be returned to at once, and nobody else would have a turn.
                tokio::task::yield_now().await;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready.clear_ready(),
            Err(error) => {
                not_accepted(&room, &error);
                rest.take().await;
            }
        }
    }
}

fn not_accepted(room: &Rc<RefCell<Room>>, error: &io::Error) {
    let mut room = room.borrow_mut();
    let errno = error.raw_os_error().map(Errno::from_raw);
    room.report.sources.control.accept_error(match errno {
        Some(Errno::EMFILE) => AcceptError::ProcessDescriptors,
        Some(Errno::ENFILE) => AcceptError::SystemDescriptors,
        Some(Errno::ENOMEM | Errno::ENOBUFS) => AcceptError::Memory,
        _ => AcceptError::Other,
    });
    if room.may_log("accept", ANYBODY) {
        tracing::warn!(%error, "cannot accept a client");
    }
}

async fn greet(room: Rc<RefCell<Room>>, client: OwnedFd) {
    let peer = Peer::of(client.as_fd());
    let uid = peer.as_ref().map_or(ANYBODY, |peer| peer.uid);
    let result = match peer {
        Ok(peer) => welcome(&room, &client, &peer).await,
        Err(error) => Err(refusal(EndReason::Overloaded, error)),
    };
    if let Err(refusal) = result {
        refuse(&room, &client, uid, &refusal);
    }
}

/// Tells a client why it is not let in, and counts it.
fn refuse(room: &Rc<RefCell<Room>>, client: &OwnedFd, uid: u32, refusal: &Refusal) {
    let mut room = room.borrow_mut();
    room.report.sources.control.refuse(refusal.reason);
    if room.may_log("refused", uid) {
        tracing::info!(uid, reason = %refusal.reason, detail = %refusal.detail, "client refused");
    }
    sys::send_packet(client.as_fd(), &refusal.encode(), &[]).ok();
}

fn scarce() -> Refusal {
    let detail = "the gateway has no descriptors left for clients";
    refusal(EndReason::Overloaded, detail)
}

async fn welcome(room: &Rc<RefCell<Room>>, client: &OwnedFd, peer: &Peer) -> Result<(), Refusal> {
    let os = |error: io::Error| refusal(EndReason::Overloaded, error);
    attach::policy(&room.borrow().settings, peer)?;
    let mut packet = [0; HELLO_BYTES + 1];
    // Mostly the hello is there already, and the client need not wait among the silent ones.
    let mut hello = read(client, &mut packet)?;
    let watched = client
        .try_clone()
        .and_then(sys::watch_readable)
        .map_err(os)?;
    if hello.is_none() {
        hello_comes(room, &watched, peer.uid).await?;
        hello = read(client, &mut packet)?;
    }
    let bytes = hello.ok_or_else(|| refusal(EndReason::Protocol, "no hello"))?;
    let hello = packet.get(..bytes).unwrap_or_default();
    let pidfd = pidfd(client)?;
    let id = room.borrow_mut().attach(hello, peer, client)?;
    watch(room, id, watched, pidfd);
    Ok(())
}

/// The process at the other end.
pub(super) fn pidfd(client: &OwnedFd) -> Result<Option<OwnedFd>, Refusal> {
    match getsockopt(client, sockopt::PeerPidfd) {
        // It was let in when there were enough, but others may have been faster since.
        Ok(pidfd) if limits::is_scarce(pidfd.as_fd()) => Err(scarce()),
        Ok(pidfd) => Ok(Some(pidfd)),
        // Before Linux 6.5 only the socket tells.
        Err(Errno::ENOPROTOOPT) => Ok(None),
        Err(error) => Err(refusal(EndReason::Overloaded, io::Error::from(error))),
    }
}

/// Ends a session when its client goes. From here on anything that is readable ends it too: bytes
/// are not of the protocol.
pub(super) fn watch(
    room: &Rc<RefCell<Room>>,
    id: u32,
    watched: AsyncFd<OwnedFd>,
    pidfd: Option<OwnedFd>,
) {
    let by_socket = tokio::task::spawn_local({
        let room = Rc::clone(room);
        async move {
            let reason = farewell_of(&watched).await;
            room.borrow_mut().detach(id, reason);
        }
    });
    let by_process = tokio::task::spawn_local({
        let room = Rc::clone(room);
        async move {
            match pidfd.map(sys::watch_readable) {
                Some(Ok(pidfd)) => drop(pidfd.readable().await),
                _ => std::future::pending().await,
            }
            room.borrow_mut().detach(id, EndReason::PeerDied);
        }
    });
    room.borrow_mut().watch(id, vec![by_socket, by_process]);
}

/// Waits until a client closes its socket, or says something, for which there is no reason.
async fn farewell_of(watched: &AsyncFd<OwnedFd>) -> EndReason {
    loop {
        let Ok(mut ready) = watched.readable().await else {
            return EndReason::Detached;
        };
        match sys::receive_plain(watched.get_ref().as_fd(), &mut [0; 1]) {
            Ok(None) => return EndReason::Detached,
            Ok(Some(_)) => return EndReason::Protocol,
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock => ready.clear_ready(),
                // More than a byte, or descriptors.
                io::ErrorKind::InvalidData => return EndReason::Protocol,
                _ => return EndReason::Detached,
            },
        }
    }
}

/// Reads a packet; none if none has come.
fn read(client: &OwnedFd, packet: &mut [u8]) -> Result<Option<usize>, Refusal> {
    match sys::receive_plain(client.as_fd(), packet) {
        Ok(Some(bytes)) => Ok(Some(bytes)),
        Ok(None) => Err(refusal(EndReason::Protocol, "no hello")),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(refusal(EndReason::Protocol, error)),
    }
}

/// Waits for the hello, but not for ever, and not when too many others wait too.
async fn hello_comes(
    room: &Rc<RefCell<Room>>,
    watched: &AsyncFd<OwnedFd>,
    uid: u32,
) -> Result<(), Refusal> {
    let bound = room.borrow().settings.attach_timeout;
    let evicted = room.borrow_mut().wait_for_hello(uid);
    let result = tokio::select! {
        ready = tokio::time::timeout(bound, watched.readable()) => match ready {
            Ok(Ok(mut ready)) => {
                ready.clear_ready();
                Ok(())
            }
            _ => Err(refusal(EndReason::Protocol, "no hello in time")),
        },
        () = evicted.notified() => Err(room.borrow().eviction()),
    };
    room.borrow_mut().no_longer_waits(&evicted);
    result
}
