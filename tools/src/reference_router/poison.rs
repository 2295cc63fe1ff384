//! Replies with a header block that nats-server forwards unchecked and that no client library can
//! parse, or would send. So they have a plain TCP connection of their own.

use std::io;

use async_nats::{ServerAddr, Subject};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc::UnboundedReceiver;

/// Bytes that a server sends in one go at most, before they are looked at.
const READ_BYTES: usize = 4096;

/// Sends a malformed reply to every subject that comes in, until no more can come.
pub(crate) async fn serve(server: &ServerAddr, mut replies: UnboundedReceiver<Subject>) {
    while let Some(first) = replies.recv().await {
        if let Err(error) = session(server, first, &mut replies).await {
            crate::serve::report(&format!("connection for malformed replies: {error}"));
        }
    }
}

/// One connection. It ends with an error, or when no more replies can come.
async fn session(
    server: &ServerAddr,
    first: Subject,
    replies: &mut UnboundedReceiver<Subject>,
) -> io::Result<()> {
    let mut stream = TcpStream::connect((server.host(), server.port())).await?;
    stream.write_all(connect_line(server).as_bytes()).await?;
    stream.write_all(malformed(&first).as_bytes()).await?;
    let mut received = [0; READ_BYTES];
    loop {
        tokio::select! {
            reply = replies.recv() => match reply {
                Some(subject) => stream.write_all(malformed(&subject).as_bytes()).await?,
                None => return Ok(()),
            },
            read = stream.read(&mut received) => {
                let lines = received.get(..read?).unwrap_or_default();
                heed(lines, &mut stream).await?;
            }
        }
    }
}

/// Answers pings and reports what the server refuses. Only INFO, PING, PONG and -ERR ever come, and
/// a server sends each in one piece.
async fn heed(lines: &[u8], stream: &mut TcpStream) -> io::Result<()> {
    if lines.is_empty() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    for line in lines.split(|byte| *byte == b'\n') {
        if line.starts_with(b"PING") {
            stream.write_all(b"PONG\r\n").await?;
        } else if line.starts_with(b"-ERR") {
            return Err(io::Error::other(String::from_utf8_lossy(line).into_owned()));
        }
    }
    Ok(())
}

fn connect_line(server: &ServerAddr) -> String {
    let mut options = serde_json::json!({
        "verbose": false,
        "pedantic": false,
        "headers": true,
        "lang": "rust",
        "version": env!("CARGO_PKG_VERSION"),
        "name": "reference-router malformed replies",
    });
    if let (Some(user), Some(options)) = (server.username(), options.as_object_mut()) {
        options.insert("user".to_owned(), user.into());
        options.insert("pass".to_owned(), server.password().into());
    }
    format!("CONNECT {options}\r\n")
}

/// Five bytes that are no header block, and one of payload.
fn malformed(reply: &Subject) -> String {
    format!("HPUB {reply} 5 6\r\nABCDEx\r\n")
}
