//! What a ring entry says: the submission descriptor and the completion descriptor.
//!
//! A descriptor is eight 64-bit words at the head of a block (`docs/PROTOCOL.md`, section 4). The
//! client writes an [`Sqe`], the gateway overwrites it in place with a [`Cqe`]. Everything here is
//! plain values: words come in as a private copy, and what leaves has been checked.

use core::fmt;

use crate::code::Code;

/// Number of 64-bit words in a descriptor.
pub const DESCRIPTOR_WORDS: usize = 8;
/// Bytes of a descriptor: one cache line.
pub const DESCRIPTOR_BYTES: usize = DESCRIPTOR_WORDS * 8;
/// Largest header block, in bytes, that a request or a reply may carry.
pub const MAX_HEADER_BYTES: u32 = 8 * 1024;

/// A descriptor as it lies in the block.
pub type Words = [u64; DESCRIPTOR_WORDS];

/// What a submission asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
#[non_exhaustive]
pub enum Opcode {
    /// Send the body to the route and complete as the route's kind says.
    Call = 1,
}

/// Flag bit: the request carries an idempotency key, and its route may send it again.
pub const FLAG_IDEMPOTENT: u8 = 1;
/// Flag bits that this version knows.
const KNOWN_FLAGS: u8 = FLAG_IDEMPOTENT;

/// A submission descriptor that has been parsed from a private copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sqe {
    /// The client's own mark, echoed in the completion and never interpreted.
    pub user_data: u64,
    /// What is asked for.
    pub opcode: Opcode,
    /// Whether the request may be sent more than once.
    pub idempotent: bool,
    /// Route number, as in the attach reply. Not yet checked against the routes.
    pub route: u16,
    /// Bytes of the header block, at most [`MAX_HEADER_BYTES`] and at most the session's message
    /// size less the payload.
    pub header_len: u32,
    /// Bytes of the payload.
    pub payload_len: u32,
    /// Time allowed, in nanoseconds from `submitted_ns`; 0 means the route's default.
    pub timeout_ns: u64,
    /// `CLOCK_MONOTONIC` nanoseconds when the client submitted. A claim: it can shorten the time
    /// allowed and never lengthen it, as 0 or what is yet to come means the moment of acceptance.
    pub submitted_ns: u64,
}

/// Why words are not a submission descriptor. The block they came from can still be completed, so
/// the request is completed as `BAD_RECORD` or `TOO_LARGE` and the session goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SqeError {
    /// The opcode is not known.
    Opcode(u8),
    /// A flag bit is set that this version does not know.
    Flags(u8),
    /// A reserved word is not zero.
    Reserved,
    /// Headers are longer than [`MAX_HEADER_BYTES`].
    HeaderLength(u32),
    /// Headers and payload together do not fit the block.
    TooLarge {
        /// Bytes asked for.
        bytes: u64,
        /// Bytes there are.
        limit: u32,
    },
}

impl SqeError {
    /// The code that a request with this fault completes with.
    #[must_use]
    pub const fn code(self) -> Code {
        match self {
            Self::TooLarge { .. } => Code::TooLarge,
            Self::HeaderLength(_) => Code::BadHeader,
            Self::Opcode(_) | Self::Flags(_) | Self::Reserved => Code::BadRecord,
        }
    }
}

impl fmt::Display for SqeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Opcode(opcode) => write!(f, "unknown opcode {opcode}"),
            Self::Flags(flags) => write!(f, "unknown flag bits {flags:#04x}"),
            Self::Reserved => f.write_str("a reserved word is not zero"),
            Self::HeaderLength(bytes) => {
                write!(
                    f,
                    "{bytes} bytes of headers, at most {MAX_HEADER_BYTES} are allowed"
                )
            }
            Self::TooLarge { bytes, limit } => {
                write!(
                    f,
                    "{bytes} bytes of headers and payload, the block holds {limit}"
                )
            }
        }
    }
}

impl core::error::Error for SqeError {}

impl Sqe {
    /// Checks a private copy of a descriptor against the session's message size (bytes).
    ///
    /// # Errors
    /// [`SqeError`] says which rule the words break; `user_data` is the first word in any case.
    #[inline]
    pub const fn parse(words: &Words, message_size: u32) -> Result<Self, SqeError> {
        let [
            user_data,
            head,
            lengths,
            timeout_ns,
            submitted_ns,
            r5,
            r6,
            r7,
        ] = *words;
        let [opcode, flags, route_low, route_high, h0, h1, h2, h3] = head.to_le_bytes();
        let [p0, p1, p2, p3, s0, s1, s2, s3] = lengths.to_le_bytes();
        if opcode != Opcode::Call as u8 {
            return Err(SqeError::Opcode(opcode));
        }
        if flags & !KNOWN_FLAGS != 0 {
            return Err(SqeError::Flags(flags));
        }
        let spare = u32::from_le_bytes([s0, s1, s2, s3]);
        if (r5 | r6 | r7) != 0 || spare != 0 {
            return Err(SqeError::Reserved);
        }
        let header_len = u32::from_le_bytes([h0, h1, h2, h3]);
        let payload_len = u32::from_le_bytes([p0, p1, p2, p3]);
        if header_len > MAX_HEADER_BYTES {
            return Err(SqeError::HeaderLength(header_len));
        }
        // Two u32 cannot overflow a u64.
        let bytes = header_len as u64 + payload_len as u64;
        if bytes > message_size as u64 {
            return Err(SqeError::TooLarge {
                bytes,
                limit: message_size,
            });
        }
        Ok(Self {
            user_data,
            opcode: Opcode::Call,
            idempotent: flags & FLAG_IDEMPOTENT != 0,
            route: u16::from_le_bytes([route_low, route_high]),
            header_len,
            payload_len,
            timeout_ns,
            submitted_ns,
        })
    }

    /// The words that [`parse`](Self::parse) turns back into `self`.
    #[inline]
    #[must_use]
    pub const fn to_words(&self) -> Words {
        let [route_low, route_high] = self.route.to_le_bytes();
        let [h0, h1, h2, h3] = self.header_len.to_le_bytes();
        let flags = if self.idempotent { FLAG_IDEMPOTENT } else { 0 };
        let head = [
            self.opcode as u8,
            flags,
            route_low,
            route_high,
            h0,
            h1,
            h2,
            h3,
        ];
        [
            self.user_data,
            u64::from_le_bytes(head),
            self.payload_len as u64,
            self.timeout_ns,
            self.submitted_ns,
            0,
            0,
            0,
        ]
    }
}

/// A completion descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cqe {
    /// The mark of the submission that this completes.
    pub user_data: u64,
    /// Outcome and reason.
    pub code: Code,
    /// Bytes of the reply's header block.
    pub header_len: u32,
    /// Bytes of the reply's payload.
    pub payload_len: u32,
    /// Nanoseconds between submission and acceptance by the worker.
    pub ring_wait_ns: u64,
    /// Nanoseconds between acceptance and completion.
    pub upstream_ns: u64,
    /// Milliseconds after which to try again; 0 when nothing is known.
    pub retry_after_ms: u32,
}

/// Why words are not a completion descriptor: the gateway end misbehaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CqeError {
    /// The code is not one of the list.
    Code(u16),
    /// Headers and payload do not fit the block.
    Length,
}

impl fmt::Display for CqeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(number) => write!(f, "unknown completion code {number}"),
            Self::Length => f.write_str("completion is longer than its block"),
        }
    }
}

impl core::error::Error for CqeError {}

impl Cqe {
    /// A completion without a body.
    #[must_use]
    pub const fn bare(user_data: u64, code: Code) -> Self {
        Self {
            user_data,
            code,
            header_len: 0,
            payload_len: 0,
            ring_wait_ns: 0,
            upstream_ns: 0,
            retry_after_ms: 0,
        }
    }

    /// Checks a private copy of a descriptor against the session's message size (bytes).
    ///
    /// # Errors
    /// [`CqeError`] when the words cannot be a completion of this session.
    #[inline]
    pub const fn parse(words: &Words, message_size: u32) -> Result<Self, CqeError> {
        let [
            user_data,
            head,
            lengths,
            ring_wait_ns,
            upstream_ns,
            retry,
            _,
            _,
        ] = *words;
        let [_, _, c0, c1, h0, h1, h2, h3] = head.to_le_bytes();
        let [p0, p1, p2, p3, ..] = lengths.to_le_bytes();
        let number = u16::from_le_bytes([c0, c1]);
        let Some(code) = Code::from_number(number) else {
            return Err(CqeError::Code(number));
        };
        let header_len = u32::from_le_bytes([h0, h1, h2, h3]);
        let payload_len = u32::from_le_bytes([p0, p1, p2, p3]);
        if header_len as u64 + payload_len as u64 > message_size as u64 {
            return Err(CqeError::Length);
        }
        let [r0, r1, r2, r3, ..] = retry.to_le_bytes();
        Ok(Self {
            user_data,
            code,
            header_len,
            payload_len,
            ring_wait_ns,
            upstream_ns,
            retry_after_ms: u32::from_le_bytes([r0, r1, r2, r3]),
        })
    }

    /// The words that [`parse`](Self::parse) turns back into `self`. The outcome is written beside
    /// the code so that a reader of the wire need not know every code.
    #[inline]
    #[must_use]
    pub const fn to_words(&self) -> Words {
        let [c0, c1] = self.code.number().to_le_bytes();
        let [h0, h1, h2, h3] = self.header_len.to_le_bytes();
        let head = [self.code.outcome() as u8, 0, c0, c1, h0, h1, h2, h3];
        [
            self.user_data,
            u64::from_le_bytes(head),
            self.payload_len as u64,
            self.ring_wait_ns,
            self.upstream_ns,
            self.retry_after_ms as u64,
            0,
            0,
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SQE: Sqe = Sqe {
        user_data: 0xfeed,
        opcode: Opcode::Call,
        idempotent: true,
        route: 0x0102,
        header_len: 7,
        payload_len: 9,
        timeout_ns: 5,
        submitted_ns: 6,
    };

    #[test]
    fn submission_survives_the_wire() {
        assert_eq!(Sqe::parse(&SQE.to_words(), 16), Ok(SQE));
    }

    #[test]
    fn submission_larger_than_its_block_is_refused() {
        let error = Sqe::parse(&SQE.to_words(), 15);
        assert_eq!(
            error,
            Err(SqeError::TooLarge {
                bytes: 16,
                limit: 15
            })
        );
    }

    #[test]
    fn lengths_that_would_wrap_are_refused() {
        let mut words = SQE.to_words();
        words[2] = u64::from(u32::MAX);
        assert_eq!(
            Sqe::parse(&words, u32::MAX).map_err(SqeError::code),
            Err(Code::TooLarge)
        );
    }

    #[test]
    fn reserved_words_and_flags_must_be_zero() {
        for word in 5..DESCRIPTOR_WORDS {
            let mut words = SQE.to_words();
            words[word] = 1;
            assert_eq!(Sqe::parse(&words, 16), Err(SqeError::Reserved));
        }
        let mut words = SQE.to_words();
        words[1] |= 0x8000;
        assert_eq!(Sqe::parse(&words, 16), Err(SqeError::Flags(0x81)));
    }

    #[test]
    fn completion_survives_the_wire() {
        for &code in Code::ALL {
            let cqe = Cqe {
                user_data: 1,
                code,
                header_len: 2,
                payload_len: 3,
                ring_wait_ns: 4,
                upstream_ns: 5,
                retry_after_ms: 6,
            };
            assert_eq!(Cqe::parse(&cqe.to_words(), 5), Ok(cqe));
            assert_eq!(Cqe::parse(&cqe.to_words(), 4), Err(CqeError::Length));
        }
    }
}
