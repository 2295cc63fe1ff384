//! Questions to a gateway's admin server: HTTP/1.1, each on a connection of its own.
//!
//! A gateway that is stopped or hangs must not hold up who asks: a conversation has a time limit,
//! and is over with its connection by then. Who cannot wait so long asks on a thread of its own.

use core::time::Duration;
use std::fmt::Display;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{self, Receiver};
use std::thread;

use super::exit::Exit;
use crate::clock::{Clock as _, Nanos, System};
use crate::control::connect_within;
use crate::settings::AdminAddress;

/// Time for the whole conversation.
pub(super) const LIMIT: Duration = Duration::from_secs(3);

/// An answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: String,
}

impl Answer {
    /// Reads what came on the connection; none if that is not HTTP.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (head, body) = text.split_once("\r\n\r\n")?;
        let status = head.strip_prefix("HTTP/1.")?.split(' ').nth(1)?;
        Some(Self {
            status: status.parse().ok()?,
            body: body.to_owned(),
        })
    }
}

/// Asks for `path` and reads an answer of at most so many bytes, for at most [`LIMIT`].
///
/// # Errors
/// The operating system's, `TimedOut`, or `InvalidData` when the answer is not HTTP.
pub(super) fn get(address: &AdminAddress, path: &str, most: u64) -> io::Result<Answer> {
    get_within(LIMIT, address, path, most)
}

fn get_within(
    limit: Duration,
    address: &AdminAddress,
    path: &str,
    most: u64,
) -> io::Result<Answer> {
    let end = System.now().after(limit);
    let answer = match address {
        AdminAddress::Unix(socket) => connect_within(socket, || left(end))
            .and_then(|stream| converse(stream, end, path, most)),
        AdminAddress::Tcp(address) => left(end)
            .and_then(|wait| TcpStream::connect_timeout(address, wait))
            .and_then(|stream| converse(stream, end, path, most)),
    };
    answer.map_err(|error| match error.kind() {
        // The first is what a wait that was bounded ends with.
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => late(limit),
        _ => error,
    })
}

fn converse(stream: impl Bounded, end: Nanos, path: &str, most: u64) -> io::Result<Answer> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    let mut talk = Talk { stream, end };
    talk.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    talk.take(most).read_to_end(&mut answer)?;
    Answer::parse(&String::from_utf8_lossy(&answer))
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the answer is not HTTP"))
}

/// Time left until this moment; an error when it has passed.
fn left(end: Nanos) -> io::Result<Duration> {
    let left = end.until(System.now());
    if left.is_zero() {
        return Err(io::ErrorKind::TimedOut.into());
    }
    Ok(left)
}

/// A connection of which each wait can be bounded.
trait Bounded: Read + Write {
    /// Bounds the waits from here on.
    fn bound(&self, wait: Duration) -> io::Result<()>;
}

impl Bounded for UnixStream {
    fn bound(&self, wait: Duration) -> io::Result<()> {
        self.set_read_timeout(Some(wait))?;
        self.set_write_timeout(Some(wait))
    }
}

impl Bounded for TcpStream {
    fn bound(&self, wait: Duration) -> io::Result<()> {
        self.set_read_timeout(Some(wait))?;
        self.set_write_timeout(Some(wait))
    }
}

/// A conversation that is over by `end`, however slowly the other side speaks.
struct Talk<S> {
    stream: S,
    end: Nanos,
}

impl<S: Bounded> Read for Talk<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.bound(left(self.end)?)?;
        self.stream.read(buffer)
    }
}

impl<S: Bounded> Write for Talk<S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.bound(left(self.end)?)?;
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

/// Asks on a thread of its own; what it has heard comes once.
///
/// # Errors
/// The operating system's when there can be no thread.
pub(super) fn aside<T: Send + 'static>(
    ask: impl FnOnce() -> T + Send + 'static,
) -> io::Result<Receiver<T>> {
    let (sender, receiver) = mpsc::channel();
    // Nobody listens any more when this has taken too long.
    thread::Builder::new().spawn(move || sender.send(ask()).ok())?;
    Ok(receiver)
}

/// The same, waited for.
///
/// # Errors
/// What `ask` returns, the operating system's, or `TimedOut`.
pub(super) fn within<T: Send + 'static>(
    limit: Duration,
    ask: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    aside(ask)?.recv_timeout(limit).map_err(|_| late(limit))?
}

/// What is said of a question that has not been answered in time.
pub(super) fn late(limit: Duration) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, format!("no answer in {limit:?}"))
}

/// What is said of a gateway that does not answer.
pub(super) fn not_reachable(address: impl Display, error: &io::Error) -> String {
    let advice = if unanswered(error) == Exit::NoPermission {
        "run as the gateway's user, or let its group in: control.admin_mode"
    } else {
        "is the gateway running, and is this its --admin or --socket?"
    };
    format!("not reachable: {address}: {error}; {advice}")
}

/// What a program ends with that got no answer.
pub(super) fn unanswered(error: &io::Error) -> Exit {
    if error.kind() == io::ErrorKind::PermissionDenied {
        Exit::NoPermission
    } else {
        Exit::Unavailable
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::{AsRawFd as _, OwnedFd};
    use std::os::unix::net::UnixListener;
    use std::path::Path;

    use nix::errno::Errno;
    use nix::sys::socket::{
        AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, connect, listen, socket,
    };

    use super::*;

    const SHORT: Duration = Duration::from_millis(100);

    /// Asks for as long as [`SHORT`]; there must be no answer, and soon.
    fn is_late(path: &Path) {
        let start = System.now();
        let address = AdminAddress::Unix(path.to_owned());
        let error = get_within(SHORT, &address, "/status", 1 << 20).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut, "{error}");
        assert_eq!(error.to_string(), "no answer in 100ms");
        assert!(System.now() < start.after(LIMIT));
    }

    #[test]
    fn who_says_nothing_or_little_at_a_time_is_left_at_the_limit() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("admin.sock");
        let listener = UnixListener::bind(&path).unwrap();
        // Connected by the kernel, and never accepted.
        is_late(&path);
        drop(listener.accept().unwrap());
        let drip = thread::spawn(move || {
            let mut stream = listener.accept().unwrap().0;
            stream.set_read_timeout(Some(SHORT / 10)).unwrap();
            let mut buffer = [0; 1024];
            // Until the connection is closed: it is not left behind.
            while stream.write_all(b"H").is_ok() {
                if stream.read(&mut buffer).is_ok_and(|bytes| bytes == 0) {
                    return;
                }
            }
        });
        is_late(&path);
        drip.join().unwrap();
    }

    #[test]
    fn a_full_queue_is_left_at_the_limit_too() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("admin.sock");
        let unconnected = |flags: SockFlag| -> OwnedFd {
            socket(AddressFamily::Unix, SockType::Stream, flags, None).unwrap()
        };
        let address = UnixAddr::new(&path).unwrap();
        let listener = unconnected(SockFlag::SOCK_CLOEXEC);
        bind(listener.as_raw_fd(), &address).unwrap();
        listen(&listener, Backlog::new(1).unwrap()).unwrap();
        let mut waiting = Vec::new();
        loop {
            let one = unconnected(SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK);
            match connect(one.as_raw_fd(), &address) {
                Ok(()) => waiting.push(one),
                Err(error) => break assert_eq!(error, Errno::EAGAIN),
            }
        }
        is_late(&path);
    }
}
