//! What a server sends, one protocol line at a time: read from the bytes that have come, without
//! taking or copying them.

use core::ops::Range;

/// Longest protocol line. `INFO` is the longest: it lists the servers of a cluster.
const MAX_LINE: usize = 256 * 1024;
/// Longest body of a message. nats-server takes 1 MiB unless told otherwise, and warns of more than 8; one
/// that was told to take more than this and does so loses its connection.
const MAX_BODY: usize = 64 * 1024 * 1024;
/// What ends a line and a body.
const END: &[u8; 2] = b"\r\n";

/// What the server sends cannot be told apart any more; the connection is of no use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// A line has no end.
    #[error("a line of the server is longer than {MAX_LINE} bytes")]
    Long,
    /// A line that the protocol does not have.
    #[error("the server sent what is not of the NATS protocol")]
    Unknown,
    /// What it says of itself is no JSON, or not what the protocol has.
    #[error("the server sent an INFO that cannot be read")]
    Info,
    /// A message's line has other fields than the protocol says.
    #[error("the server sent a message whose first line cannot be read")]
    Message,
    /// A message's body ends elsewhere than its line says.
    #[error("the server sent a message that does not end where it says")]
    Body,
}

/// A protocol line, and the body where it has one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Op<'a> {
    /// A message.
    Message(Head),
    /// What the server says of itself, as JSON.
    Info(&'a [u8]),
    /// A complaint, without its quotes.
    Complaint(&'a [u8]),
    /// The server asks whether we are there.
    Ping,
    /// It answers the same question.
    Pong,
    /// It has taken what was sent. Not asked for.
    Fine,
}

/// Where the parts of a message lie in the bytes that it was read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The subscription that it is for.
    pub sid: u64,
    /// Its subject.
    pub subject: Range<usize>,
    /// Whether somebody waits for an answer.
    pub has_reply: bool,
    /// Where the body begins.
    pub(super) body: usize,
    /// Bytes of the body that are the header block.
    pub(super) header_bytes: usize,
    /// Bytes of the body.
    pub(super) body_bytes: usize,
}

impl Head {
    /// Bytes of the whole message as it came.
    const fn len(&self) -> usize {
        self.body + self.body_bytes + END.len()
    }
}

/// What the bytes hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step<'a> {
    /// A whole line with its body, and its length in bytes.
    Op(Op<'a>, usize),
    /// The beginning of one, whose end is at this length at the soonest.
    More(usize),
}

/// Reads the first line of what has come.
pub(super) fn read(bytes: &[u8]) -> Result<Step<'_>, Broken> {
    let Some(end) = memchr::memchr(b'\n', bytes) else {
        return if bytes.len() < MAX_LINE {
            Ok(Step::More(bytes.len() + 1))
        } else {
            Err(Broken::Long)
        };
    };
    let line = bytes.get(..end).unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let after = end + 1;
    let (name, rest) = match line.iter().position(|byte| is_blank(*byte)) {
        Some(at) => line.split_at(at),
        None => (line, &[][..]),
    };
    let op = match name {
        b"MSG" | b"HMSG" => {
            let head = head(line, name.len(), after).ok_or(Broken::Message)?;
            let (body_end, len) = (head.body + head.body_bytes, head.len());
            if bytes.len() < len {
                return Ok(Step::More(len));
            }
            if bytes.get(body_end..len) != Some(END) {
                return Err(Broken::Body);
            }
            return Ok(Step::Op(Op::Message(head), len));
        }
        b"PING" => Op::Ping,
        b"PONG" => Op::Pong,
        b"+OK" => Op::Fine,
        b"INFO" => Op::Info(rest.trim_ascii()),
        b"-ERR" => {
            let text = rest.trim_ascii();
            let text = text.strip_prefix(b"'").unwrap_or(text);
            Op::Complaint(text.strip_suffix(b"'").unwrap_or(text))
        }
        _ => return Err(Broken::Unknown),
    };
    Ok(Step::Op(op, after))
}

const fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// Reads `MSG <subject> <sid> [reply] <bytes>` or `HMSG <subject> <sid> [reply] <header bytes>
/// <bytes>`, of which the name has been read. The body follows at `body`.
fn head(line: &[u8], name: usize, body: usize) -> Option<Head> {
    let has_headers = name == b"HMSG".len();
    let mut fields = [(0, 0); 5];
    let mut count = 0;
    let mut at = name;
    while let Some(&byte) = line.get(at) {
        if is_blank(byte) {
            at += 1;
            continue;
        }
        let rest = line.get(at..)?;
        let length = memchr::memchr2(b' ', b'\t', rest).unwrap_or(rest.len());
        *fields.get_mut(count)? = (at, at + length);
        count += 1;
        at += length;
    }
    let least = if has_headers { 4 } else { 3 };
    if count != least && count != least + 1 {
        return None;
    }
    let field = |place: usize| {
        let &(from, to) = fields.get(place)?;
        line.get(from..to)
    };
    let &(from, to) = fields.first()?;
    let body_bytes = number(field(count - 1)?, MAX_BODY)?;
    let header_bytes = if has_headers {
        number(field(count - 2)?, body_bytes)?
    } else {
        0
    };
    Some(Head {
        sid: u64::try_from(number(field(1)?, usize::MAX)?).ok()?,
        subject: from..to,
        has_reply: count > least,
        body,
        header_bytes,
        body_bytes,
    })
}

/// A decimal number, if it is one and not above `most`.
fn number(digits: &[u8], most: usize) -> Option<usize> {
    if digits.is_empty() {
        return None;
    }
    let number = digits.iter().try_fold(0_usize, |number, &byte| {
        let digit = byte.is_ascii_digit().then(|| usize::from(byte - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    })?;
    (number <= most).then_some(number)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message(bytes: &[u8]) -> (Head, usize) {
        match read(bytes) {
            Ok(Step::Op(Op::Message(head), len)) => (head, len),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn messages_are_read_with_and_without_headers_and_reply() {
        let bytes = b"MSG a.b 9 5\r\nhello\r\nPING\r\n";
        let (head, len) = message(bytes);
        assert_eq!(&bytes[head.subject.clone()], b"a.b");
        assert_eq!((head.sid, head.has_reply, len), (9, false, 20));
        assert_eq!(&bytes[head.body..head.body + head.body_bytes], b"hello");
        assert_eq!(read(&bytes[len..]), Ok(Step::Op(Op::Ping, 6)));
        let bytes = b"HMSG a  1\tr.1 12 13\r\nNATS/1.0\r\n\r\nx\r\n";
        let (head, len) = message(bytes);
        assert_eq!((head.header_bytes, head.body_bytes), (12, 13));
        assert!(head.has_reply && len == bytes.len());
        let (head, len) = message(b"MSG a 1 0\r\n\r\n");
        assert_eq!((head.body_bytes, len), (0, 13));
    }

    #[test]
    fn other_lines_are_read() {
        for (bytes, op) in [
            ("PONG\r\n", Op::Pong),
            ("+OK\r\n", Op::Fine),
            ("INFO {\"a\":1} \r\n", Op::Info(b"{\"a\":1}")),
            (
                "-ERR 'Stale Connection'\r\n",
                Op::Complaint(b"Stale Connection"),
            ),
            ("-ERR\r\n", Op::Complaint(b"")),
        ] {
            assert_eq!(read(bytes.as_bytes()), Ok(Step::Op(op, bytes.len())));
        }
    }

    #[test]
    fn what_is_not_of_the_protocol_is_told() {
        for (bytes, broken) in [
            ("HTTP/1.1 400 Bad Request\r\n", Broken::Unknown),
            ("\r\n", Broken::Unknown),
            ("MSG a 1\r\n", Broken::Message),
            ("MSG a 1 r x 5\r\n", Broken::Message),
            ("MSG a x 5\r\n", Broken::Message),
            ("MSG a 1 -5\r\n", Broken::Message),
            ("MSG a 1 67108865\r\n", Broken::Message),
            ("MSG a 1 99999999999999999999\r\n", Broken::Message),
            ("HMSG a 1 6 5\r\n", Broken::Message),
            ("HMSG a 1 5\r\n", Broken::Message),
            ("MSG a 1 1\r\nxyz", Broken::Body),
        ] {
            assert_eq!(read(bytes.as_bytes()), Err(broken), "{bytes:?}");
        }
        assert_eq!(read(&vec![b'x'; MAX_LINE]), Err(Broken::Long));
    }

    #[test]
    fn a_part_of_a_message_asks_for_the_rest() {
        let bytes = b"HMSG inbox.1 1 12 17\r\nNATS/1.0\r\n\r\nhello\r\n";
        for end in 0..bytes.len() {
            let Ok(Step::More(least)) = read(&bytes[..end]) else {
                panic!("{end}");
            };
            assert!(end < least && least <= bytes.len());
        }
    }

    proptest! {
        #[test]
        fn no_bytes_are_read_beyond_their_end(
            start in prop_oneof![Just("MSG "), Just("HMSG "), Just("")],
            rest in prop::collection::vec(prop_oneof![
                Just(b' '), Just(b'\r'), Just(b'\n'), Just(b'1'), Just(b'9'), any::<u8>()
            ], 0..64),
        ) {
            let bytes = [start.as_bytes(), &rest].concat();
            match read(&bytes) {
                Ok(Step::Op(Op::Message(head), len)) => {
                    prop_assert!(len <= bytes.len() && head.len() == len);
                    prop_assert!(head.header_bytes <= head.body_bytes);
                    prop_assert!(head.subject.end < head.body && !head.subject.is_empty());
                }
                Ok(Step::Op(_, len)) => prop_assert!(len <= bytes.len()),
                Ok(Step::More(least)) => prop_assert!(least > bytes.len()),
                Err(_) => {}
            }
        }
    }
}
