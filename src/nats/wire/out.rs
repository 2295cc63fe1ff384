//! What goes to the server: commands are gathered here and written together.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use tokio::io::AsyncWrite;

use crate::router_contract::Decimal;

/// Payloads of this many bytes and more are written from where they lie.
const LARGE: usize = 16 * 1024;
/// Written bytes at the beginning of the tail from which on they are taken out of it, if no more than as
/// many follow: each byte is moved once at most on average, and a transport that never takes everything
/// does not make the tail grow.
const STALE: usize = 64 * 1024;
/// Pieces that one system call writes at most.
const PIECES: usize = 64;

/// Commands that have not been written.
#[derive(Debug, Default)]
pub struct Out {
    /// Full pieces, the first of them written in part perhaps.
    pieces: VecDeque<Bytes>,
    /// What comes after them. Its buffer is kept.
    tail: Vec<u8>,
    /// Bytes of the tail that are written; 0 while there are pieces.
    written: usize,
    /// Bytes not written.
    len: usize,
    /// Whether the transport may hold back what was written.
    is_held_back: bool,
}

impl Out {
    /// Bytes that wait.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing waits.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// A command without a body.
    pub fn line(&mut self, words: &[&[u8]]) {
        for word in words {
            self.put(word);
        }
        self.put(b"\r\n");
    }

    /// A message. An empty `reply` is none, an empty header block as well.
    pub fn message(&mut self, subject: &[u8], reply: &[u8], block: &[u8], payload: &Bytes) {
        self.put(if block.is_empty() { b"PUB " } else { b"HPUB " });
        self.put(subject);
        self.put(b" ");
        if !reply.is_empty() {
            self.put(reply);
            self.put(b" ");
        }
        if !block.is_empty() {
            self.number(block.len());
            self.put(b" ");
        }
        self.number(block.len() + payload.len());
        self.put(b"\r\n");
        self.put(block);
        if payload.len() < LARGE {
            self.put(payload);
        } else {
            let written = core::mem::take(&mut self.written);
            let mut tail = Bytes::from(core::mem::take(&mut self.tail));
            tail.advance(written);
            self.pieces.push_back(tail);
            self.pieces.push_back(payload.clone());
            self.len += payload.len();
        }
        self.put(b"\r\n");
    }

    /// Writes what waits, as far as the transport takes it.
    ///
    /// # Errors
    /// Those of the transport.
    pub fn poll_flush<T: AsyncWrite + Unpin>(
        &mut self,
        transport: &mut T,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while !self.is_empty() {
            let mut transport = Pin::new(&mut *transport);
            let written = if self.pieces.is_empty() {
                let rest = self.tail.get(self.written..).unwrap_or_default();
                ready!(transport.poll_write(cx, rest))?
            } else {
                let mut slices = [IoSlice::new(&[]); PIECES];
                let pieces = self.pieces.iter().map(|piece| &**piece);
                let rest = core::iter::once(self.tail.as_slice());
                for (slice, piece) in slices.iter_mut().zip(pieces.chain(rest)) {
                    *slice = IoSlice::new(piece);
                }
                ready!(transport.as_mut().poll_write_vectored(cx, &slices))?
            };
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.advance(written);
            self.is_held_back = true;
        }
        if self.is_held_back {
            ready!(Pin::new(transport).poll_flush(cx))?;
            self.is_held_back = false;
        }
        Poll::Ready(Ok(()))
    }

    /// Notes that so many bytes are written.
    fn advance(&mut self, mut written: usize) {
        self.len = self.len.saturating_sub(written);
        while let Some(piece) = self.pieces.front_mut() {
            let part = written.min(piece.len());
            piece.advance(part);
            written -= part;
            if !piece.is_empty() {
                return;
            }
            self.pieces.pop_front();
        }
        self.written += written;
        if self.is_empty() {
            self.tail.clear();
            self.written = 0;
        } else if self.written >= STALE && self.written >= self.tail.len() / 2 {
            self.tail.drain(..self.written);
            self.written = 0;
        }
    }

    fn number(&mut self, number: usize) {
        let number = Decimal::new(u64::try_from(number).unwrap_or(u64::MAX));
        self.put(number.as_str().as_bytes());
    }

    fn put(&mut self, bytes: &[u8]) {
        self.tail.extend_from_slice(bytes);
        self.len += bytes.len();
    }
}

#[cfg(test)]
mod tests {
    use core::task::Waker;

    use proptest::prelude::*;

    use super::*;

    /// Takes so many bytes at a time, and then none until it is asked again.
    struct Narrow {
        taken: Vec<u8>,
        width: usize,
        is_full: bool,
    }

    impl AsyncWrite for Narrow {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            self.is_full = !self.is_full;
            if self.is_full {
                return Poll::Pending;
            }
            let part = bytes.len().min(self.width);
            self.taken.extend_from_slice(&bytes[..part]);
            Poll::Ready(Ok(part))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    fn written(out: &mut Out, width: usize) -> Vec<u8> {
        let mut narrow = Narrow {
            taken: Vec::new(),
            width,
            is_full: false,
        };
        let mut cx = Context::from_waker(Waker::noop());
        while out.poll_flush(&mut narrow, &mut cx).is_pending() {}
        assert_eq!(out.len(), 0);
        narrow.taken
    }

    #[test]
    fn commands_are_written_as_the_protocol_says() {
        let mut out = Out::default();
        out.line(&[b"SUB ", b"a.*", b" ", b"1"]);
        out.message(b"a", b"", b"", &Bytes::from("hello"));
        out.message(b"a", b"r.1", b"", &Bytes::new());
        out.message(b"a", b"r", b"NATS/1.0\r\nx: y\r\n\r\n", &Bytes::from("z"));
        out.message(b"a", b"", b"NATS/1.0\r\n\r\n", &Bytes::new());
        let text = "SUB a.* 1\r\nPUB a 5\r\nhello\r\nPUB a r.1 0\r\n\r\n\
                    HPUB a r 18 19\r\nNATS/1.0\r\nx: y\r\n\r\nz\r\n\
                    HPUB a 12 12\r\nNATS/1.0\r\n\r\n\r\n";
        assert_eq!(written(&mut out, usize::MAX), text.as_bytes());
    }

    #[test]
    fn a_transport_that_never_takes_all_does_not_make_it_grow() {
        let mut out = Out::default();
        let mut narrow = Narrow {
            taken: Vec::new(),
            width: 60_000,
            is_full: false,
        };
        let mut cx = Context::from_waker(Waker::noop());
        let payload = Bytes::from(vec![b'x'; 1000]);
        let mut sent = 0;
        for _ in 0..1000 {
            while out.len() < 128 * 1024 {
                out.message(b"subject", b"reply", b"", &payload);
                sent += "PUB subject reply 1000\r\n".len() + payload.len() + 2;
            }
            assert!(out.poll_flush(&mut narrow, &mut cx).is_pending());
            assert!(out.tail.capacity() < 1024 * 1024, "{}", out.tail.capacity());
        }
        assert!(sent > 50_000_000);
        narrow.taken.extend(written(&mut out, usize::MAX));
        assert_eq!(narrow.taken.len(), sent);
        let mut lines = narrow
            .taken
            .chunks_exact("PUB subject reply 1000\r\n".len() + 1002);
        assert!(lines.all(|line| line.starts_with(b"PUB subject") && line.ends_with(b"x\r\n")));
    }

    proptest! {
        #[test]
        fn what_is_written_in_parts_is_the_same(
            sizes in prop::collection::vec(prop_oneof![0..64_usize, LARGE - 1..LARGE + 2], 1..12),
            width in 1..40_000_usize,
            between in 0..8_u32,
        ) {
            let mut out = Out::default();
            let mut narrow = Narrow { taken: Vec::new(), width, is_full: false };
            let mut expected = Vec::new();
            let mut cx = Context::from_waker(Waker::noop());
            for (number, size) in sizes.into_iter().enumerate() {
                let payload = vec![b'a' + u8::try_from(number).unwrap(); size];
                expected.extend_from_slice(format!("PUB s {size}\r\n").as_bytes());
                expected.extend_from_slice(&payload);
                expected.extend_from_slice(b"\r\n");
                out.message(b"s", b"", b"", &payload.into());
                for _ in 0..between {
                    let _ready = out.poll_flush(&mut narrow, &mut cx);
                }
                prop_assert_eq!(out.len(), expected.len() - narrow.taken.len());
            }
            narrow.taken.extend(written(&mut out, width));
            prop_assert!(narrow.taken == expected);
        }
    }
}
