//! Questions to the gateway's admin server.

use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// Longest wait for an answer.
const BOUND: Duration = Duration::from_secs(5);

/// The whole answer, head and body, of the server beside this socket.
pub(crate) fn get(socket: &Path, path: &str) -> io::Result<String> {
    get_within(socket, path, BOUND)
}

/// The same, with this much time for each read.
pub(crate) fn get_within(socket: &Path, path: &str, bound: Duration) -> io::Result<String> {
    let mut stream = UnixStream::connect(socket.with_file_name("admin.sock"))?;
    stream.set_read_timeout(Some(bound))?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: soak\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}
