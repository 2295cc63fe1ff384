//! The NATS protocol by hand: what a connection says first, and what the server says, parsed where
//! it lies in the buffer.
//!
//! Its purpose is to cost next to nothing, so that it shows what the server can do.

use std::io::{self, Read};

use ipc_tools::stage::{Failure, While as _};

/// Bytes that one read asks for, at least.
const CHUNK: usize = 256 * 1024;
/// Longest control line, in bytes.
const LONGEST_LINE: usize = 64 * 1024;

/// The first words of a connection that takes `subject` as subscription 1. The server answers the
/// PING once the subscription is in force.
pub(crate) fn greeting(name: &str, subject: &str) -> String {
    format!(
        "CONNECT {{\"verbose\":false,\"pedantic\":false,\"name\":\"{name}\",\"lang\":\"rust\",\
         \"version\":\"0\",\"protocol\":1,\"headers\":true,\"no_responders\":true}}\r\n\
         SUB {subject} 1\r\nPING\r\n"
    )
}

/// What the server says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Event<'a> {
    Message(Message<'a>),
    Ping,
    Pong,
    /// `INFO` or `+OK`.
    Other,
    /// The text of `-ERR`.
    Error(String),
}

/// A `MSG` or `HMSG`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Message<'a> {
    pub(crate) subject: &'a [u8],
    /// Where the answer shall go; empty when nobody asks.
    pub(crate) reply: &'a [u8],
    /// As on the wire; empty for a `MSG`.
    pub(crate) headers: &'a [u8],
    pub(crate) payload: &'a [u8],
}

/// Where what was parsed lies in the buffer.
enum Parsed {
    Message {
        subject: (usize, usize),
        reply: (usize, usize),
        headers: usize,
        body: usize,
        total: usize,
    },
    Ping,
    Pong,
    Other,
    Error(String),
}

/// Reads large chunks and hands out events.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    buffer: Vec<u8>,
    /// What is unread lies between these.
    start: usize,
    end: usize,
}

impl Reader {
    /// Reads once, as much as there is room for.
    ///
    /// # Errors
    /// The operating system's; `UnexpectedEof` when the server has closed the connection.
    pub(crate) fn fill(&mut self, from: &mut impl Read) -> io::Result<()> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
        if self.buffer.len() - self.end < CHUNK {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
            // What is unread may be a large message that has come in part.
            let wanted = (self.end * 2).max(self.end + 2 * CHUNK);
            if self.buffer.len() < wanted {
                self.buffer.resize(wanted, 0);
            }
        }
        let room = self.buffer.get_mut(self.end..).unwrap_or_default();
        match from.read(room)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            read => {
                self.end += read;
                Ok(())
            }
        }
    }

    /// The next event that has come in full.
    ///
    /// # Errors
    /// What came is not the protocol.
    pub(crate) fn next(&mut self) -> Result<Option<Event<'_>>, Failure> {
        let unread = self.buffer.get(self.start..self.end).unwrap_or_default();
        let Some((parsed, length)) = parse(unread)? else {
            return Ok(None);
        };
        self.start += length;
        Ok(Some(match parsed {
            Parsed::Message {
                subject,
                reply,
                headers,
                body,
                total,
            } => Event::Message(Message {
                subject: part(unread, subject.0, subject.1),
                reply: part(unread, reply.0, reply.1),
                headers: part(unread, body, body + headers),
                payload: part(unread, body + headers, body + total),
            }),
            Parsed::Ping => Event::Ping,
            Parsed::Pong => Event::Pong,
            Parsed::Other => Event::Other,
            Parsed::Error(text) => Event::Error(text),
        }))
    }
}

fn part(bytes: &[u8], from: usize, to: usize) -> &[u8] {
    bytes.get(from..to).unwrap_or_default()
}

fn malformed(line: &[u8]) -> Failure {
    Failure::new(format_args!(
        "the server said what is not NATS: {:?}",
        String::from_utf8_lossy(part(line, 0, line.len().min(80)))
    ))
}

/// The first event of these bytes and its length.
fn parse(bytes: &[u8]) -> Result<Option<(Parsed, usize)>, Failure> {
    let Some(newline) = memchr::memchr(b'\n', bytes) else {
        return if bytes.len() > LONGEST_LINE {
            Err(malformed(bytes))
        } else {
            Ok(None)
        };
    };
    let whole = part(bytes, 0, newline);
    let line = whole.strip_suffix(b"\r").unwrap_or(whole);
    let after = newline + 1;
    let parsed = match line {
        [b'M', b'S', b'G', b' ', ..] => return message(bytes, line, 4, after),
        [b'H', b'M', b'S', b'G', b' ', ..] => return message(bytes, line, 5, after),
        b"PING" => Parsed::Ping,
        b"PONG" => Parsed::Pong,
        b"+OK" => Parsed::Other,
        [b'I', b'N', b'F', b'O', b' ', ..] => Parsed::Other,
        [b'-', b'E', b'R', b'R', rest @ ..] => {
            Parsed::Error(String::from_utf8_lossy(rest).trim().to_owned())
        }
        _ => return Err(malformed(line)),
    };
    Ok(Some((parsed, after)))
}

/// `MSG subject sid [reply] total` or `HMSG subject sid [reply] headers total`, whose words begin
/// at `words`, and the body that follows at `body`.
fn message(
    bytes: &[u8],
    line: &[u8],
    words: usize,
    body: usize,
) -> Result<Option<(Parsed, usize)>, Failure> {
    let mut found = [(0, 0); 5];
    let (mut count, mut from) = (0, words);
    for to in memchr::memchr_iter(b' ', part(line, words, line.len()))
        .map(|at| at + words)
        .chain([line.len()])
    {
        if to > from {
            *found.get_mut(count).ok_or_else(|| malformed(line))? = (from, to);
            count += 1;
        }
        from = to + 1;
    }
    let has_headers = words == 5;
    let numbers = if has_headers { 2 } else { 1 };
    let [subject, _, third, fourth, fifth] = found;
    let (reply, headers, total) = match (count - numbers.min(count), has_headers) {
        (2, false) => ((0, 0), None, third),
        (3, false) => (third, None, fourth),
        (2, true) => ((0, 0), Some(third), fourth),
        (3, true) => (third, Some(fourth), fifth),
        _ => return Err(malformed(line)),
    };
    let number = |(from, to)| decimal(part(line, from, to)).ok_or_else(|| malformed(line));
    let headers = headers.map_or(Ok(0), number)?;
    let total = number(total)?;
    if headers > total {
        return Err(malformed(line));
    }
    let end = body + total + 2;
    if bytes.len() < end {
        return Ok(None);
    }
    if part(bytes, end - 2, end) != b"\r\n" {
        return Err(malformed(line));
    }
    let parsed = Parsed::Message {
        subject,
        reply,
        headers,
        body,
        total,
    };
    Ok(Some((parsed, end)))
}

/// A number as the protocol writes it.
pub(crate) fn decimal(digits: &[u8]) -> Option<usize> {
    if digits.is_empty() || digits.len() > 9 {
        return None;
    }
    digits.iter().try_fold(0, |number, &digit| {
        let value = digit.wrapping_sub(b'0');
        (value < 10).then(|| number * 10 + usize::from(value))
    })
}

/// Appends a number as the protocol writes it.
pub(crate) fn push_decimal(out: &mut Vec<u8>, mut number: usize) {
    let mut digits = [0; 20];
    let mut length = 0;
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + u8::try_from(number % 10).unwrap_or(0);
        number /= 10;
        length += 1;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(digits.get(digits.len() - length..).unwrap_or_default());
}

/// Reads until the server has answered the greeting's PING.
///
/// # Errors
/// The connection's, and what the server complains of.
pub(crate) fn until_greeted(
    reader: &mut Reader,
    stream: &mut impl Read,
    server: &str,
) -> Result<(), Failure> {
    loop {
        while let Some(event) = reader.next()? {
            match event {
                Event::Pong => return Ok(()),
                Event::Error(text) => {
                    return Err(Failure::Failed(format!(
                        "{server} refuses the connection: {text}"
                    )));
                }
                _ => {}
            }
        }
        reader
            .fill(stream)
            .or_say(format_args!("cannot read from {server}"))?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives at most this many bytes at once.
    struct Drip<'a>(&'a [u8], usize);

    impl Read for Drip<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let count = self.1.min(self.0.len()).min(buffer.len());
            let (now, later) = self.0.split_at(count);
            buffer[..count].copy_from_slice(now);
            self.0 = later;
            Ok(count)
        }
    }

    fn events(bytes: &[u8], at_once: usize) -> Vec<String> {
        let (mut reader, mut from) = (Reader::default(), Drip(bytes, at_once));
        let mut found = Vec::new();
        loop {
            while let Some(event) = reader.next().unwrap() {
                found.push(match event {
                    Event::Message(message) => [
                        message.subject,
                        message.reply,
                        message.headers,
                        message.payload,
                    ]
                    .map(|bytes| String::from_utf8_lossy(bytes).into_owned())
                    .join("|"),
                    other => format!("{other:?}"),
                });
            }
            if reader.fill(&mut from).is_err() {
                return found;
            }
        }
    }

    #[test]
    fn every_event_is_found_however_it_is_cut() {
        let text = b"INFO {\"a\":1}\r\nPING\r\nPONG\r\n+OK\r\nMSG a.b 1 5\r\nhe\r\no\r\n\
            MSG a 1 _INBOX.x.7 0\r\n\r\nHMSG a 1 r 12 14\r\nNATS/1.0\r\n\r\nok\r\n\
            HMSG r 1 16 16\r\nNATS/1.0 503\r\n\r\n\r\n-ERR 'Stale Connection'\r\n";
        let expected = [
            "Other",
            "Ping",
            "Pong",
            "Other",
            "a.b|||he\r\no",
            "a|_INBOX.x.7||",
            "a|r|NATS/1.0\r\n\r\n|ok",
            "r||NATS/1.0 503\r\n\r\n|",
            "Error(\"'Stale Connection'\")",
        ];
        for at_once in [1, 2, 3, 7, 64, 10_000] {
            assert_eq!(events(text, at_once), expected, "{at_once} bytes at once");
        }
    }

    #[test]
    fn a_large_message_makes_the_buffer_grow() {
        let body = "x".repeat(3_000_000);
        let text = format!("MSG a 1 {}\r\n{body}\r\nPING\r\n", body.len());
        let found = events(text.as_bytes(), 100_000);
        assert_eq!(found, [format!("a|||{body}"), "Ping".to_owned()]);
    }

    #[test]
    fn what_is_not_the_protocol_is_said() {
        for text in [
            "HELLO\r\n",
            "MSG a 1\r\n",
            "MSG a 1 x\r\n",
            "MSG a 1 r 1 2 3 4\r\n",
            "MSG a 1 2\r\nabcd",
            "HMSG a 1 9 4\r\nabcd\r\n",
        ] {
            let (mut reader, mut from) = (Reader::default(), text.as_bytes());
            reader.fill(&mut from).unwrap();
            assert!(reader.next().is_err(), "{text}");
        }
    }

    #[test]
    fn numbers_are_written_as_they_are_read() {
        for number in [0, 7, 10, 16_384, 999_999_999] {
            let mut digits = Vec::new();
            push_decimal(&mut digits, number);
            assert_eq!(digits, number.to_string().as_bytes());
            assert_eq!(decimal(&digits), Some(number));
        }
        assert_eq!(decimal(b""), None);
        assert_eq!(decimal(b"12a"), None);
    }
}
