//! Connecting to a Unix socket whose listener may hang.

use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};

/// Connects while there is time, which `left` says. A listener whose queue is full makes `connect` wait.
///
/// # Errors
/// The operating system's, `WouldBlock` when it took too long, and what `left` says when there is no time.
pub fn connect_within(
    path: &Path,
    left: impl Fn() -> io::Result<Duration>,
) -> io::Result<UnixStream> {
    let kind = SockType::Stream;
    let stream = socket(AddressFamily::Unix, kind, SockFlag::SOCK_CLOEXEC, None)?;
    let stream = UnixStream::from(stream);
    let address = UnixAddr::new(path)?;
    loop {
        // It bounds the wait of `connect` too.
        stream.set_write_timeout(Some(left()?))?;
        match connect(stream.as_raw_fd(), &address) {
            Ok(()) => return Ok(stream),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}
