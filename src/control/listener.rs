//! The socket that clients attach to.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use ipc_ringbuf::sys;
use nix::sys::socket::SockType;
use tokio::io::unix::AsyncFd;

use super::handover::{HandOver, Place};
use super::socket_file::SocketFile;
use super::start_error::StartError;

/// A bound socket. Its file is removed when this is dropped, unless somebody else has bound it.
#[derive(Debug)]
pub struct Listener {
    socket: OwnedFd,
    /// None when the service manager keeps the socket.
    file: Option<SocketFile>,
}

impl Listener {
    /// Takes the lock, removes a stale socket, binds with this mode and listens.
    ///
    /// # Errors
    /// [`StartError`] with what to do.
    pub fn bind(path: &Path, mode: u32) -> Result<Self, StartError> {
        let (socket, file) = SocketFile::listen(path, SockType::SeqPacket, mode, "--socket")?;
        Ok(Self {
            socket,
            file: Some(file),
        })
    }

    /// A socket that listens already. Without a file it outlives this gateway.
    pub(super) const fn resume(socket: OwnedFd, file: Option<SocketFile>) -> Self {
        Self { socket, file }
    }

    /// The socket, for who is to be told when a client comes.
    ///
    /// # Errors
    /// The operating system's.
    pub(super) fn watch(&self) -> io::Result<AsyncFd<OwnedFd>> {
        sys::watch_readable(self.socket.try_clone()?)
    }

    /// Leaves the socket to another gateway.
    pub(super) fn release(self, to: &mut HandOver) -> Place {
        let socket = to.add(self.socket);
        let file = self.file.and_then(SocketFile::release);
        let file = file.map(|(path, lock)| (path, to.add(lock)));
        Place { socket, file }
    }

    /// Whether it goes on listening when this gateway ends: who connects then waits for the next.
    pub(super) const fn outlives(&self) -> bool {
        self.file.is_none()
    }
}
