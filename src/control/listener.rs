//! The socket that clients attach to.

use std::os::fd::OwnedFd;
use std::path::Path;

use nix::sys::socket::SockType;

use super::socket_file::SocketFile;
use super::start_error::StartError;

/// A bound socket. Its file is removed when this is dropped, unless somebody else has bound it.
#[derive(Debug)]
pub struct Listener {
    pub(super) socket: OwnedFd,
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

    /// A socket that listens already and outlives this gateway.
    pub(super) const fn kept_by_manager(socket: OwnedFd) -> Self {
        Self { socket, file: None }
    }

    /// Whether it goes on listening when this gateway ends: who connects then waits for the next.
    pub(super) const fn outlives(&self) -> bool {
        self.file.is_none()
    }
}
