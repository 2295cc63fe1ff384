//! A message that has come, and its header block.
//!
//! A server hands header blocks on without looking at them, so what a responder sends is what
//! comes. A block that cannot be read is an error of that one message.

use bytes::Bytes;

/// What every block begins with.
const VERSION: &str = "NATS/1.0";
/// The status of a server's answer that nobody listens.
const NO_RESPONDERS: u16 = 503;

/// A message as it came: the header block as on the wire, empty if it has none, and the payload.
///
/// ```
/// use ipc_gateway::nats::Message;
///
/// let message = Message { headers: "NATS/1.0 503\r\n\r\n".into(), payload: "".into() };
/// assert!(message.is_no_responders());
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// The header block, with its first line and the empty line at its end.
    pub headers: Bytes,
    /// The payload.
    pub payload: Bytes,
}

impl Message {
    /// Whether it is the server's answer that nobody listens.
    #[must_use]
    pub fn is_no_responders(&self) -> bool {
        self.payload.is_empty() && self.has_status(NO_RESPONDERS)
    }

    /// Whether the server says this.
    fn has_status(&self, status: u16) -> bool {
        !self.headers.is_empty()
            && Block::read(&self.headers).is_ok_and(|block| block.status == Some(status))
    }

    /// Whether it is word from the server in place of an answer.
    pub(in crate::nats) fn is_status(&self) -> bool {
        !self.headers.is_empty()
            && Block::read(&self.headers).is_ok_and(|block| block.status.is_some())
    }
}

/// A header block that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::nats) enum Malformed {
    /// It is not UTF-8.
    #[error("it is not UTF-8")]
    Text,
    /// It begins otherwise than `NATS/1.0`.
    #[error("it does not begin with {VERSION}")]
    Version,
    /// What follows the version is no number.
    #[error("its status is no number")]
    Status,
    /// A line has no colon.
    #[error("a line has no colon")]
    Line,
}

/// The parts of a header block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::nats) struct Block<'a> {
    /// What the server says, if it is from the server.
    pub(in crate::nats) status: Option<u16>,
    lines: &'a str,
}

impl<'a> Block<'a> {
    /// Reads the first line of a block.
    pub(in crate::nats) fn read(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let text = core::str::from_utf8(bytes).map_err(|_| Malformed::Text)?;
        let (first, lines) = text.split_once('\n').unwrap_or((text, ""));
        let rest = first.strip_prefix(VERSION).ok_or(Malformed::Version)?;
        let status = match rest.split_ascii_whitespace().next() {
            None => None,
            Some(number) => Some(number.parse().map_err(|_| Malformed::Status)?),
        };
        Ok(Self { status, lines })
    }

    /// The headers, in order: name, and value without the blanks around it. A value that goes on in
    /// the next line comes with the line's end in it.
    pub(in crate::nats) fn headers(
        self,
    ) -> impl Iterator<Item = Result<(&'a str, &'a str), Malformed>> {
        let mut rest = self.lines;
        core::iter::from_fn(move || {
            loop {
                if rest.is_empty() {
                    return None;
                }
                let mut end = line_end(rest, 0);
                while matches!(rest.as_bytes().get(end), Some(b' ' | b'\t')) {
                    end = line_end(rest, end);
                }
                let (line, after) = rest.split_at(end);
                rest = after;
                let line = line.trim_end();
                if !line.is_empty() {
                    let parts = line.split_once(':').ok_or(Malformed::Line);
                    return Some(parts.map(|(name, value)| (name, value.trim_start())));
                }
            }
        })
    }
}

/// Where the line that begins at `from` ends, after its line feed.
fn line_end(text: &str, from: usize) -> usize {
    let rest = text.as_bytes().get(from..).unwrap_or_default();
    memchr::memchr(b'\n', rest).map_or(text.len(), |at| from + at + 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(block: &str) -> Result<Vec<(&str, &str)>, Malformed> {
        Block::read(block.as_bytes())?.headers().collect()
    }

    #[test]
    fn headers_come_in_order_and_trimmed() {
        let block = "NATS/1.0\r\nA: 1\r\nb:2 \r\nA:\r\nurl: http://x:1\r\n\r\n";
        let expected = [("A", "1"), ("b", "2"), ("A", ""), ("url", "http://x:1")];
        assert_eq!(read(block), Ok(expected.to_vec()));
        assert_eq!(read("NATS/1.0\r\n\r\n"), Ok(vec![]));
        let folded = read("NATS/1.0\r\nA: 1\r\n 2\r\nb: 3\r\n\r\n").unwrap();
        assert_eq!(folded, [("A", "1\r\n 2"), ("b", "3")]);
    }

    #[test]
    fn a_status_is_the_servers() {
        let status = |block: &str| Block::read(block.as_bytes()).map(|block| block.status);
        assert_eq!(status("NATS/1.0\r\n\r\n"), Ok(None));
        assert_eq!(status("NATS/1.0 503\r\n\r\n"), Ok(Some(503)));
        let described = status("NATS/1.0 409 Leadership Change\r\nA: 1\r\n\r\n");
        assert_eq!(described, Ok(Some(409)));
        let message = |headers: &'static str, payload: &'static str| Message {
            headers: headers.into(),
            payload: payload.into(),
        };
        assert!(message("NATS/1.0 503\r\n\r\n", "").is_no_responders());
        assert!(!message("NATS/1.0 503\r\n\r\n", "x").is_no_responders());
        assert!(!message("NATS/1.0 404\r\n\r\n", "").is_no_responders());
        assert!(message("NATS/1.0 404\r\n\r\n", "").is_status());
        assert!(!message("", "").is_status() && !message("ABCDE", "").is_status());
    }

    #[test]
    fn what_cannot_be_read_is_told() {
        for (block, expected) in [
            ("ABCDE", Malformed::Version),
            ("", Malformed::Version),
            ("NATS/1.0 5o3\r\n\r\n", Malformed::Status),
            ("NATS/1.0\r\nno colon\r\n\r\n", Malformed::Line),
        ] {
            assert_eq!(read(block), Err(expected), "{block:?}");
        }
        assert_eq!(Block::read(b"NATS/1.0\xff\r\n"), Err(Malformed::Text));
    }

    proptest! {
        #[test]
        fn any_block_comes_to_an_end(block in "(NATS/1.0)?[ a:\r\n\t]{0,40}") {
            if let Ok(block) = Block::read(block.as_bytes()) {
                prop_assert!(block.headers().count() <= 40);
            }
        }
    }
}
