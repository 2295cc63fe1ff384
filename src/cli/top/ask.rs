//! Asking a gateway for everything.

use core::fmt;
use std::io;

use crate::cli::admin::{self, not_reachable, unanswered};
use crate::cli::exit::Exit;
use crate::settings::AdminAddress;
use crate::status::Status;

/// Most bytes of an answer: more than the largest number of sessions needs.
const MOST: u64 = 64 << 20;

/// Why there is no answer.
#[derive(Debug)]
pub(in crate::cli) enum NoStatus {
    /// Nobody answers.
    Unreachable(io::Error),
    /// What answers is no gateway that can say this.
    Other(String),
}

impl NoStatus {
    /// What is said of it on a line of its own.
    pub(super) fn line(&self, address: &AdminAddress) -> String {
        match self {
            Self::Unreachable(error) => not_reachable(address, error),
            Self::Other(what) => format!("{address}: {what}"),
        }
    }

    /// What the program ends with.
    pub(super) fn exit(&self) -> Exit {
        match self {
            Self::Unreachable(error) => unanswered(error),
            Self::Other(_) => Exit::Unavailable,
        }
    }
}

impl fmt::Display for NoStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(error) => error.fmt(f),
            Self::Other(what) => what.fmt(f),
        }
    }
}

/// Asks, and waits for the answer for at most [`admin::LIMIT`].
///
/// # Errors
/// Why there is none.
pub(super) fn ask(address: &AdminAddress) -> Result<Status, NoStatus> {
    let answer = admin::get(address, "/status", MOST).map_err(NoStatus::Unreachable)?;
    match answer.status {
        200 => serde_json::from_str(&answer.body).map_err(|error| {
            NoStatus::Other(format!(
                "the answer cannot be read ({error}): this gateway is of another release"
            ))
        }),
        404 => Err(NoStatus::Other(
            "it does not answer GET /status: this gateway is of an earlier release".to_owned(),
        )),
        status => Err(NoStatus::Other(format!("it answers with status {status}"))),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::os::unix::net::UnixListener;
    use std::thread;

    use super::*;

    /// What is said of a server that answers so.
    fn said_of(answer: &'static str) -> String {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("admin.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let server = thread::spawn(move || {
            let mut stream = listener.accept().unwrap().0;
            let mut question = [0; 1024];
            let bytes = stream.read(&mut question).unwrap();
            assert!(question[..bytes].starts_with(b"GET /status HTTP/1.1\r\n"));
            stream.write_all(answer.as_bytes()).unwrap();
        });
        let said = ask(&AdminAddress::Unix(path)).unwrap_err().to_string();
        server.join().unwrap();
        said
    }

    #[test]
    fn gateways_of_other_releases_are_told_from_what_is_none() {
        let said = said_of("HTTP/1.1 404 Not Found\r\n\r\n");
        assert!(said.contains("earlier release"), "{said}");
        let said = said_of("HTTP/1.1 200 OK\r\n\r\n{}");
        assert!(said.contains("another release"), "{said}");
        assert_eq!(said_of("SSH-2.0\r\n\r\n"), "the answer is not HTTP");
        let said = said_of("HTTP/1.1 500 No\r\n\r\n");
        assert!(said.contains("status 500"), "{said}");
    }
}
