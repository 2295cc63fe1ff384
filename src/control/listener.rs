//! The socket that clients attach to.

use std::os::fd::OwnedFd;
use std::path::Path;

use nix::sys::socket::SockType;

use super::socket_file::SocketFile;
use super::start_error::StartError;

/// A bound socket; its file is removed when this is dropped.
#[derive(Debug)]
pub struct Listener {
    pub(super) socket: OwnedFd,
    _file: SocketFile,
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
            _file: file,
        })
    }
}
