//! Questions to a gateway's admin server: HTTP/1.1, each on a connection of its own.
//!
//! A gateway that is stopped or hangs must not hold up who asks, so questions are asked on a thread
//! of their own, with a time limit for the whole conversation.

use core::time::Duration;
use std::fmt::Display;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{self, Receiver};
use std::thread;

use super::exit::Exit;
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

/// Asks for `path` and reads an answer of at most so many bytes. May wait without limit.
///
/// # Errors
/// The operating system's, or `InvalidData` when the answer is not HTTP.
pub(super) fn get(address: &AdminAddress, path: &str, most: u64) -> io::Result<Answer> {
    match address {
        AdminAddress::Unix(socket) => converse(UnixStream::connect(socket)?, path, most),
        AdminAddress::Tcp(address) => {
            converse(TcpStream::connect_timeout(address, LIMIT)?, path, most)
        }
    }
}

fn converse(mut stream: impl Read + Write, path: &str, most: u64) -> io::Result<Answer> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.take(most).read_to_end(&mut answer)?;
    Answer::parse(&String::from_utf8_lossy(&answer))
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the answer is not HTTP"))
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
