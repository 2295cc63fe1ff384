//! The reply inbox of one connection: `<prefix>.<boot>.<serial>.<suffix>`, how suffixes are written
//! without allocating, and what a suffix that comes back names.

use async_nats::Subject;
use bytes::{BufMut, Bytes, BytesMut};

use super::error::NatsError;
use super::outstanding::Serial;
use crate::bridge::Token;

/// Bytes that subjects are cut from before another buffer is made.
const BLOCK_BYTES: usize = 32 * 1024;
/// Hexadecimal digits of a 64-bit number.
const DIGITS: usize = 16;
const MARKER: u8 = b'm';
const STATUS: &[u8] = b"b";

/// 128 bits that no other process has, for the name of its inboxes.
pub(super) fn boot_bits() -> Result<[u8; 16], NatsError> {
    let mut bits = [0; 16];
    getrandom::fill(&mut bits).map_err(NatsError::Random)?;
    Ok(bits)
}

/// These bits in hexadecimal.
pub(super) fn boot_name(bits: [u8; 16]) -> String {
    format!("{:032x}", u128::from_ne_bytes(bits))
}

/// What a message on the inbox is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Address {
    /// An answer to a request.
    Reply(Token),
    /// A marker of our own: what was published before it has arrived at the broker.
    Marker(u64),
    /// An answer to a backpressure poll.
    Status,
}

/// Writes and reads the subjects of one inbox.
#[derive(Debug)]
pub(super) struct Inbox {
    prefix: Box<[u8]>,
    block: BytesMut,
}

impl Inbox {
    pub(super) fn new(prefix: &str, boot: &str, serial: Serial) -> Self {
        Self {
            prefix: format!("{prefix}.{boot}.{serial}.").into_bytes().into(),
            block: BytesMut::new(),
        }
    }

    /// The subject to subscribe to.
    pub(super) fn wildcard(&self) -> String {
        format!("{}*", String::from_utf8_lossy(&self.prefix))
    }

    /// Where the answer to a request shall go.
    pub(super) fn reply(&mut self, token: Token) -> Subject {
        let digits = hex(token.bits());
        self.subject(&[], &digits)
    }

    /// Where a marker goes.
    pub(super) fn marker(&mut self, number: u64) -> Subject {
        let digits = hex(number);
        self.subject(&[MARKER], &digits)
    }

    /// Where the answer to a backpressure poll shall go.
    pub(super) fn status(&mut self) -> Subject {
        self.subject(STATUS, &[])
    }

    /// What a subject of this inbox names; `None` when it was not written here.
    pub(super) fn parse(&self, subject: &str) -> Option<Address> {
        let suffix = subject.as_bytes().strip_prefix(&*self.prefix)?;
        if suffix == STATUS {
            return Some(Address::Status);
        }
        match suffix.split_first()? {
            (&MARKER, number) => unhex(number).map(Address::Marker),
            _ => unhex(suffix).map(Token::from_bits).map(Address::Reply),
        }
    }

    fn subject(&mut self, head: &[u8], tail: &[u8]) -> Subject {
        let length = self.prefix.len() + head.len() + tail.len();
        if self.block.capacity() < length {
            self.block.reserve(BLOCK_BYTES);
        }
        self.block.put_slice(&self.prefix);
        self.block.put_slice(head);
        self.block.put_slice(tail);
        let bytes: Bytes = self.block.split().freeze();
        // Every byte is ASCII, so this cannot fail; the empty subject would be refused by publish.
        Subject::from_utf8(bytes).unwrap_or(Subject::from_static(""))
    }
}

fn hex(number: u64) -> [u8; DIGITS] {
    let mut digits = [0; DIGITS];
    for (digit, shift) in digits.iter_mut().zip((0..16).rev()) {
        let [nibble, ..] = ((number >> (shift * 4)) & 0xf).to_le_bytes();
        *digit = if nibble < 10 {
            b'0' + nibble
        } else {
            b'a' + nibble - 10
        };
    }
    digits
}

fn unhex(digits: &[u8]) -> Option<u64> {
    if digits.len() != DIGITS {
        return None;
    }
    digits.iter().try_fold(0, |number: u64, &digit| {
        let nibble = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some((number << 4) | u64::from(nibble))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_come_back_as_what_they_were() {
        let mut inbox = Inbox::new("_INBOX", "boot", 3);
        for bits in [0, 1, 0xdead_beef_0123_4567, u64::MAX] {
            let token = Token::from_bits(bits);
            let subject = inbox.reply(token);
            assert_eq!(inbox.parse(&subject), Some(Address::Reply(token)));
            let subject = inbox.marker(bits);
            assert_eq!(inbox.parse(&subject), Some(Address::Marker(bits)));
        }
        let status = inbox.status();
        assert_eq!(inbox.parse(&status), Some(Address::Status));
        assert_eq!(inbox.wildcard(), "_INBOX.boot.3.*");
    }

    #[test]
    fn foreign_subjects_name_nothing() {
        let inbox = Inbox::new("_INBOX", "boot", 3);
        for suffix in [
            "",
            "m",
            "zz",
            "0123",
            "G123456789abcdef",
            "0123456789abcdef0",
            "m0",
        ] {
            assert_eq!(inbox.parse(&format!("_INBOX.boot.3.{suffix}")), None);
        }
        assert_eq!(inbox.parse("_INBOX.boot.4.0123456789abcdef"), None);
        assert_eq!(inbox.parse(""), None);
    }
}
