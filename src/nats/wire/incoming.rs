//! What has come from the server and is not taken yet: lines are read where they lie, and a message's
//! parts are cut out of the buffer without being copied.

use core::future::Future as _;
use core::pin::pin;
use core::task::{Context, Poll};
use std::io;

use bytes::{Buf as _, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _};

use super::block::Message;
use super::info::Info;
use super::op::{Broken, Head, Op, Step, read};

/// Bytes that one read asks for.
const READ: usize = 64 * 1024;

/// A line that has come.
#[derive(Clone, Debug)]
pub enum Line {
    /// A message. [`Incoming::take`] it before asking for the next line.
    Message(Head),
    /// What the server says of itself.
    Info(Box<Info>),
    /// A complaint.
    Complaint(String),
    /// The server asks whether we are there.
    Ping,
    /// It answers the same question.
    Pong,
}

/// The bytes that have come.
#[derive(Debug)]
pub struct Incoming {
    bytes: BytesMut,
    /// Length of them at which the next line is whole at the soonest.
    least: usize,
}

impl Default for Incoming {
    fn default() -> Self {
        Self {
            bytes: BytesMut::new(),
            least: 1,
        }
    }
}

impl Incoming {
    /// Forgets what was not taken.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// The next line, if it has come whole.
    ///
    /// # Errors
    /// [`Broken`] when what has come is no line of the protocol. Nothing after it can be read.
    pub fn pop(&mut self) -> Result<Option<Line>, Broken> {
        while self.bytes.len() >= self.least {
            let (line, len) = match read(&self.bytes)? {
                Step::More(least) => {
                    self.least = least;
                    break;
                }
                // It is taken later.
                Step::Op(Op::Message(head), _) => return Ok(Some(Line::Message(head))),
                Step::Op(Op::Ping, len) => (Some(Line::Ping), len),
                Step::Op(Op::Pong, len) => (Some(Line::Pong), len),
                Step::Op(Op::Fine, len) => (None, len),
                Step::Op(Op::Complaint(text), len) => {
                    let text = String::from_utf8_lossy(text).into_owned();
                    (Some(Line::Complaint(text)), len)
                }
                Step::Op(Op::Info(json), len) => {
                    let info = Info::read(json).map_err(|_| Broken::Info)?;
                    (Some(Line::Info(Box::new(info))), len)
                }
            };
            self.bytes.advance(len);
            self.least = 1;
            if line.is_some() {
                return Ok(line);
            }
        }
        Ok(None)
    }

    /// The subject of a message that was not taken yet.
    #[must_use]
    pub fn subject(&self, head: &Head) -> &[u8] {
        self.bytes.get(head.subject.clone()).unwrap_or_default()
    }

    /// Takes the message of a line out of what has come.
    pub fn take(&mut self, head: &Head) -> Message {
        self.bytes.advance(head.body);
        let headers = match head.header_bytes {
            0 => Bytes::new(),
            bytes => self.bytes.split_to(bytes).freeze(),
        };
        let payload = self.bytes.split_to(head.body_bytes - head.header_bytes);
        self.bytes.advance(2);
        self.least = 1;
        if head.body_bytes > READ {
            // The buffer was made for it and goes with it.
            let rest = core::mem::take(&mut self.bytes);
            self.bytes.extend_from_slice(&rest);
        }
        Message {
            headers,
            payload: payload.freeze(),
        }
    }

    /// Reads what the transport has, once; how many bytes that was, 0 at its end.
    ///
    /// # Errors
    /// Those of the transport.
    pub fn poll_read<T: AsyncRead + Unpin>(
        &mut self,
        transport: &mut T,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let missing = self.least.saturating_sub(self.bytes.len());
        let spare = self.bytes.capacity() - self.bytes.len();
        if spare < missing.max(READ / 4) {
            self.bytes.reserve(missing.max(READ));
        }
        pin!(transport.read_buf(&mut self.bytes)).poll(cx)
    }
}

#[cfg(test)]
mod tests {
    use core::task::Waker;

    use proptest::prelude::*;

    use super::*;

    /// Gives the bytes in parts of these sizes, over and over.
    struct Parts<'a>(&'a [u8], std::iter::Cycle<std::vec::IntoIter<usize>>);

    impl AsyncRead for Parts<'_> {
        fn poll_read(
            mut self: core::pin::Pin<&mut Self>,
            _: &mut Context<'_>,
            into: &mut tokio::io::ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            let size = self.1.next().unwrap_or(1);
            let part = size.min(self.0.len()).min(into.remaining());
            let (now, later) = self.0.split_at(part);
            into.put_slice(now);
            self.0 = later;
            Poll::Ready(Ok(()))
        }
    }

    /// What comes of these bytes, as text and lengths.
    fn lines(bytes: &[u8], sizes: Vec<usize>) -> Vec<String> {
        let mut transport = Parts(bytes, sizes.into_iter().cycle());
        let mut cx = Context::from_waker(Waker::noop());
        let (mut incoming, mut lines) = (Incoming::default(), Vec::new());
        loop {
            while let Some(line) = incoming.pop().unwrap() {
                lines.push(match line {
                    Line::Message(head) => {
                        let subject = incoming.subject(&head).to_owned();
                        let message = incoming.take(&head);
                        format!("{subject:?} {message:?}")
                    }
                    line => format!("{line:?}"),
                });
            }
            match incoming.poll_read(&mut transport, &mut cx) {
                Poll::Ready(Ok(0)) => return lines,
                Poll::Ready(Ok(_)) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    fn message(number: usize, size: usize, has_headers: bool) -> Vec<u8> {
        let block = format!("NATS/1.0\r\nn: {number}\r\n\r\n");
        let body = vec![b'a' + u8::try_from(number % 26).unwrap(); size];
        let line = if has_headers {
            let (headers, all) = (block.len(), block.len() + size);
            format!("HMSG s.{number} 1 {headers} {all}\r\n{block}")
        } else {
            format!("MSG s.{number} 1 r.{number} {size}\r\n")
        };
        [line.as_bytes(), &body, b"\r\n"].concat()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn what_comes_in_parts_is_what_was_sent(
            sent in prop::collection::vec(
                (prop_oneof![0..300_usize, READ - 2..READ + 2, Just(3 * READ)], any::<bool>(), 0..4_u8),
                1..10,
            ),
            sizes in prop::collection::vec(1..100_000_usize, 1..8),
        ) {
            let mut bytes = b"INFO {\"version\":\"2\"}\r\n".to_vec();
            for (number, (size, has_headers, between)) in sent.iter().enumerate() {
                bytes.extend(message(number, *size, *has_headers));
                let between: &[u8] = match between {
                    0 => b"PING\r\n",
                    1 => b"+OK\r\n",
                    2 => b"-ERR 'x'\r\n",
                    _ => b"",
                };
                bytes.extend_from_slice(between);
            }
            let whole = lines(&bytes, vec![usize::MAX]);
            let messages = whole.iter().filter(|line| line.contains("Message {")).count();
            prop_assert_eq!(messages, sent.len());
            prop_assert!(whole == lines(&bytes, sizes));
        }
    }

    #[test]
    fn a_byte_at_a_time_is_enough_and_a_large_message_keeps_no_buffer() {
        let bytes = [
            message(0, 5, true),
            message(1, 0, false),
            b"PONG\r\n".to_vec(),
        ]
        .concat();
        assert_eq!(lines(&bytes, vec![1]).len(), 3);
        let large = message(2, 8 * 1024 * 1024, false);
        let mut transport = Parts(&large, vec![usize::MAX].into_iter().cycle());
        let mut cx = Context::from_waker(Waker::noop());
        let mut incoming = Incoming::default();
        let head = loop {
            if let Some(Line::Message(head)) = incoming.pop().unwrap() {
                break head;
            }
            assert!(incoming.poll_read(&mut transport, &mut cx).is_ready());
        };
        drop(incoming.take(&head));
        assert!(incoming.bytes.capacity() <= READ);
    }
}
