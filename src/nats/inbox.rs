//! The reply inbox of one connection: `<prefix>.<boot>.<serial>.<suffix>`, how suffixes are written
//! without allocating, and what a suffix that comes back names.

use std::hash::{BuildHasher as _, RandomState};

use super::digits::{ALL, digits, is_shortest, shortest};
use super::error::NatsError;
use super::outstanding::Serial;
use crate::bridge::Token;

/// Digits of the check that stands before a number.
const CHECK_DIGITS: usize = 6;
/// What a suffix begins with, before the check and the number.
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
    let half = |bytes: &[u8]| digits::<ALL>(bytes.iter().fold(0, |n, &b| (n << 8) | u64::from(b)));
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
/// Each suffix has 36 bits that nobody can compute who does not know the key, so that whoever has seen
/// some of them, the Router for example, still cannot make others. The number after them is as short
/// as it can be: a server reads each letter of a subject several times.
#[derive(Debug)]
pub(super) struct Inbox {
    prefix: Box<[u8]>,
    /// The subject written last.
    subject: Vec<u8>,
    /// Random, of this inbox alone (`SipHash`).
    key: RandomState,
}

impl Inbox {
    pub(super) fn new(prefix: &str, boot: &str, serial: Serial) -> Self {
        Self {
            prefix: format!("{prefix}.{boot}.{serial}.").into_bytes().into(),
            subject: Vec::new(),
            key: RandomState::new(),
        }
    }

    /// The subject to subscribe to.
    pub(super) fn wildcard(&self) -> String {
        format!("{}*", String::from_utf8_lossy(&self.prefix))
    }

    /// Where the answer to a request shall go.
    pub(super) fn reply(&mut self, token: Token) -> &[u8] {
        self.subject(REPLY, token.bits())
    }

    /// Where the answers to the requests of a slot shall go.
    pub(super) fn slot(&mut self, number: u64) -> &[u8] {
        self.subject(SLOT, number)
    }

    /// Where a marker goes.
    pub(super) fn marker(&mut self, number: u64) -> &[u8] {
        self.subject(MARKER, number)
    }

    /// Where the answer to a backpressure poll shall go.
    pub(super) fn status(&mut self) -> &[u8] {
        self.subject(STATUS, 0)
    }

    /// Where a message goes that measures how long it takes.
    pub(super) fn probe(&mut self, number: u64) -> &[u8] {
        self.subject(PROBE, number)
    }

    /// What a subject of this inbox names; `None` when it was not written here.
    pub(super) fn parse(&self, subject: &[u8]) -> Option<Address> {
        let suffix = subject.strip_prefix(&*self.prefix)?;
        let (&kind, digits) = suffix.split_first()?;
        let (check, digits) = digits.split_at_checked(CHECK_DIGITS)?;
        let number = super::digits::number(digits)?;
        if check != self.check(kind, number) || !is_shortest(digits) {
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

    fn subject(&mut self, kind: u8, number: u64) -> &[u8] {
        let check = self.check(kind, number);
        self.subject.clear();
        self.subject.extend_from_slice(&self.prefix);
        self.subject.push(kind);
        self.subject.extend_from_slice(&check);
        self.subject
            .extend_from_slice(shortest(&digits::<ALL>(number)));
        &self.subject
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
            let subject = inbox.reply(token).to_owned();
            assert_eq!(inbox.parse(&subject), Some(Address::Reply(token)));
            let subject = inbox.slot(bits).to_owned();
            assert_eq!(inbox.parse(&subject), Some(Address::Slot(bits)));
            let subject = inbox.marker(bits).to_owned();
            assert_eq!(inbox.parse(&subject), Some(Address::Marker(bits)));
            let subject = inbox.probe(bits).to_owned();
            assert_eq!(inbox.parse(&subject), Some(Address::Probe(bits)));
        }
        let status = inbox.status().to_owned();
        assert_eq!(inbox.parse(&status), Some(Address::Status));
        assert_eq!(inbox.wildcard(), "_INBOX.boot.3.*");
        // A number takes as many letters as it needs, and is written in one way only.
        let slot = inbox.slot(64).to_owned();
        assert_eq!(slot.len(), "_INBOX.boot.3.s".len() + CHECK_DIGITS + 2);
        let (name, number) = slot.split_at(slot.len() - 2);
        assert_eq!(inbox.parse(&[name, b"A", number].concat()), None);
    }

    #[test]
    fn foreign_subjects_name_nothing() {
        let mut inbox = Inbox::new("_INBOX", "boot", 3);
        let good = inbox
            .reply(Token::from_bits(0x0123_4567_89ab_cdef))
            .to_owned();
        assert!(inbox.parse(&good).is_some());
        for end in 0..good.len() {
            assert_eq!(inbox.parse(&good[..end]), None, "{end}");
        }
        for at in 0..good.len() {
            for byte in [b'0', b'1', b'a', b'f', b'm', b'b', b's', b'p', b'A', b'.'] {
                let mut changed = good.clone();
                changed[at] = byte;
                assert!(
                    changed == good || inbox.parse(&changed).is_none(),
                    "{changed:?}"
                );
            }
        }
        assert_eq!(inbox.parse(&[good.as_slice(), b"0"].concat()), None);
        assert_eq!(inbox.parse(&good.to_ascii_lowercase()), None);
        // Another inbox of the same name has another key.
        assert_eq!(Inbox::new("_INBOX", "boot", 3).parse(&good), None);
    }
}
