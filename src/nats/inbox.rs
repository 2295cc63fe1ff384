//! The reply inbox of one connection: `<prefix>.<boot>.<serial>.<suffix>`, how suffixes are written
//! without allocating, and what a suffix that comes back names.

use std::hash::{BuildHasher as _, RandomState};

use async_nats::Subject;
use bytes::{BufMut, Bytes, BytesMut};

use super::digits::digits;
use super::error::NatsError;
use super::outstanding::Serial;
use crate::bridge::Token;

/// Bytes that subjects are cut from before another buffer is made.
const BLOCK_BYTES: usize = 32 * 1024;
/// Digits of a number, and of the check that follows it.
const DIGITS: usize = 11;
const CHECK_DIGITS: usize = 6;
/// What a suffix begins with, before the number and its check.
const REPLY: u8 = b'r';
const MARKER: u8 = b'm';
const STATUS: u8 = b'b';
const SLOT: u8 = b's';
const PROBE: u8 = b'p';

/// 128 bits that no other process has, for the name of its inboxes.
pub(super) fn boot_bits() -> Result<[u8; 16], NatsError> {
    let mut bits = [0; 16];
    getrandom::fill(&mut bits).map_err(NatsError::Random)?;
    Ok(bits)
}

/// These bits as digits.
pub(super) fn boot_name(bits: [u8; 16]) -> String {
    let bits = u128::from_ne_bytes(bits).to_le_bytes();
    let (low, high) = bits.split_at(8);
    let half = |bytes: &[u8]| digits::<11>(bytes.iter().fold(0, |n, &b| (n << 8) | u64::from(b)));
    [half(high), half(low)]
        .concat()
        .iter()
        .map(|&b| char::from(b))
        .collect()
}

/// What a message on the inbox is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Address {
    /// An answer to a request.
    Reply(Token),
    /// An answer on a subject that is used again.
    Slot(u64),
    /// A marker of our own: what was published before it has arrived at the broker.
    Marker(u64),
    /// An answer to a backpressure poll.
    Status,
    /// A message of our own that measures how long it takes.
    Probe(u64),
}

/// Writes and reads the subjects of one inbox.
///
/// Each suffix ends with 36 bits that nobody can compute who does not know the key, so that whoever
/// has seen some of them, the Router for example, still cannot make others.
#[derive(Debug)]
pub(super) struct Inbox {
    prefix: Box<[u8]>,
    block: BytesMut,
    /// Random, of this inbox alone (`SipHash`).
    key: RandomState,
}

impl Inbox {
    pub(super) fn new(prefix: &str, boot: &str, serial: Serial) -> Self {
        Self {
            prefix: format!("{prefix}.{boot}.{serial}.").into_bytes().into(),
            block: BytesMut::new(),
            key: RandomState::new(),
        }
    }

    /// The subject to subscribe to.
    pub(super) fn wildcard(&self) -> String {
        format!("{}*", String::from_utf8_lossy(&self.prefix))
    }

    /// Where the answer to a request shall go.
    pub(super) fn reply(&mut self, token: Token) -> Subject {
        self.subject(REPLY, token.bits())
    }

    /// Where the answers to the requests of a slot shall go.
    pub(super) fn slot(&mut self, number: u64) -> Subject {
        self.subject(SLOT, number)
    }

    /// Where a marker goes.
    pub(super) fn marker(&mut self, number: u64) -> Subject {
        self.subject(MARKER, number)
    }

    /// Where the answer to a backpressure poll shall go.
    pub(super) fn status(&mut self) -> Subject {
        self.subject(STATUS, 0)
    }

    /// Where a message goes that measures how long it takes.
    pub(super) fn probe(&mut self, number: u64) -> Subject {
        self.subject(PROBE, number)
    }

    /// What a subject of this inbox names; `None` when it was not written here.
    pub(super) fn parse(&self, subject: &str) -> Option<Address> {
        let suffix = subject.as_bytes().strip_prefix(&*self.prefix)?;
        let (&kind, digits) = suffix.split_first()?;
        let (number, check) = digits.split_at_checked(DIGITS)?;
        let number = super::digits::number(number)?;
        if check != self.check(kind, number) {
            return None;
        }
        match kind {
            REPLY => Some(Address::Reply(Token::from_bits(number))),
            SLOT => Some(Address::Slot(number)),
            MARKER => Some(Address::Marker(number)),
            STATUS => Some(Address::Status),
            PROBE => Some(Address::Probe(number)),
            _ => None,
        }
    }

    /// The digits that end the suffix of this kind and number.
    fn check(&self, kind: u8, number: u64) -> [u8; CHECK_DIGITS] {
        digits(self.key.hash_one((kind, number)))
    }

    fn subject(&mut self, kind: u8, number: u64) -> Subject {
        let length = self.prefix.len() + 1 + DIGITS + CHECK_DIGITS;
        if self.block.capacity() < length {
            self.block.reserve(BLOCK_BYTES);
        }
        let check = self.check(kind, number);
        self.block.put_slice(&self.prefix);
        self.block.put_u8(kind);
        self.block.put_slice(&digits::<DIGITS>(number));
        self.block.put_slice(&check);
        let bytes: Bytes = self.block.split().freeze();
        // Every byte is ASCII, so this cannot fail; the empty subject would be refused by publish.
        Subject::from_utf8(bytes).unwrap_or(Subject::from_static(""))
    }
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
            let subject = inbox.slot(bits);
            assert_eq!(inbox.parse(&subject), Some(Address::Slot(bits)));
            let subject = inbox.marker(bits);
            assert_eq!(inbox.parse(&subject), Some(Address::Marker(bits)));
            let subject = inbox.probe(bits);
            assert_eq!(inbox.parse(&subject), Some(Address::Probe(bits)));
        }
        let status = inbox.status();
        assert_eq!(inbox.parse(&status), Some(Address::Status));
        assert_eq!(inbox.wildcard(), "_INBOX.boot.3.*");
    }

    #[test]
    fn foreign_subjects_name_nothing() {
        let mut inbox = Inbox::new("_INBOX", "boot", 3);
        let good = inbox
            .reply(Token::from_bits(0x0123_4567_89ab_cdef))
            .to_string();
        assert!(inbox.parse(&good).is_some());
        for end in 0..good.len() {
            assert_eq!(inbox.parse(&good[..end]), None, "{end}");
        }
        for at in 0..good.len() {
            for byte in [b'0', b'1', b'a', b'f', b'm', b'b', b's', b'p', b'A', b'.'] {
                let mut changed = good.clone().into_bytes();
                changed[at] = byte;
                let changed = String::from_utf8(changed).unwrap();
                assert!(
                    changed == good || inbox.parse(&changed).is_none(),
                    "{changed}"
                );
            }
        }
        assert_eq!(inbox.parse(&format!("{good}0")), None);
        assert_eq!(inbox.parse(&good.to_ascii_lowercase()), None);
        // Another inbox of the same name has another key.
        assert_eq!(Inbox::new("_INBOX", "boot", 3).parse(&good), None);
    }
}
