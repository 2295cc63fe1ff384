//! What goes through the queues: plain values.

use std::sync::Arc;

use bytes::Bytes;

use super::{Code, headers};
use crate::clock::Nanos;

/// Names one request in flight: worker, place in its slab, and the generation of that place.
///
/// A place that is used again has another generation, so an answer that comes late finds nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Token(u64);

impl Token {
    /// Most places that one worker's slab may have.
    pub const MAX_PLACES: u32 = 1 << 24;

    /// Packs worker (8 bits), place (24 bits) and generation (32 bits).
    #[must_use]
    pub const fn new(worker: u8, place: u32, generation: u32) -> Self {
        // { worker: 8, place: 24, generation: 32 }
        let place = (place & (Self::MAX_PLACES - 1)) as u64;
        Self(((worker as u64) << 56) | (place << 32) | generation as u64)
    }

    /// The token with these bits, as they came back from outside. Any value is a token; whether
    /// it names a request is for the slab to say.
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The bits, for the way out.
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// The worker that owns the request.
    #[must_use]
    pub const fn worker(self) -> u8 {
        let [worker, ..] = self.0.to_be_bytes();
        worker
    }

    /// The place in that worker's slab.
    #[must_use]
    pub const fn place(self) -> u32 {
        let [_, p0, p1, p2, ..] = self.0.to_be_bytes();
        u32::from_be_bytes([0, p0, p1, p2])
    }

    /// The generation of the place.
    #[must_use]
    pub const fn generation(self) -> u32 {
        let [_, _, _, _, g0, g1, g2, g3] = self.0.to_be_bytes();
        u32::from_be_bytes([g0, g1, g2, g3])
    }
}

/// A request on its way out: accepted, checked, and private to this process.
#[derive(Clone, Debug)]
pub struct Request {
    /// Whom the answer belongs to.
    pub token: Token,
    /// Place of the route in the configured list; checked.
    pub route: u16,
    /// Number of the session: requests of one session keep their order on one connection.
    pub session: u32,
    /// Whether it may be sent more than once, if its route says so too: the client does, and has given a
    /// key.
    pub idempotent: bool,
    /// When the worker took it.
    pub accepted: Nanos,
    /// When it stops being worth sending.
    pub deadline: Nanos,
    /// The header block and after it the payload, as `ipc_ringbuf::headers` encodes them; checked.
    pub body: Bytes,
    /// Bytes of `body` that are headers.
    pub header_len: u32,
    /// The tenant that this session is bound to, which overrides what the client says.
    pub tenant: Option<Arc<str>>,
}

impl Request {
    /// The header block. Decode with `ipc_ringbuf::headers::decode`.
    #[must_use]
    pub fn headers(&self) -> &[u8] {
        self.body
            .get(..self.header_len as usize)
            .unwrap_or_default()
    }

    /// The payload, sharing the body's buffer.
    #[must_use]
    pub fn payload(&self) -> Bytes {
        self.body
            .slice((self.header_len as usize).min(self.body.len())..)
    }
}

/// How a request ended.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The request that this answers.
    pub token: Token,
    /// Outcome and reason.
    pub code: Code,
    /// Header block, as `ipc_ringbuf::headers` encodes it.
    pub headers: Bytes,
    /// Payload.
    pub payload: Bytes,
    /// Milliseconds after which to try again; 0 when nothing is known.
    pub retry_after_ms: u32,
    /// When the request was handed to a connection and when its answer came; none for what was not
    /// answered.
    pub times: Option<Times>,
}

/// The moments of a request that a worker does not see, to the resolution of a turn of the other
/// side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// When it was handed to a connection, the last time if it was sent again.
    pub published: Nanos,
    /// When its answer came.
    pub answered: Nanos,
}

impl Reply {
    /// A reply without a body.
    #[must_use]
    pub const fn bare(token: Token, code: Code) -> Self {
        Self {
            token,
            code,
            headers: Bytes::new(),
            payload: Bytes::new(),
            retry_after_ms: 0,
            times: None,
        }
    }

    /// What stands in for a reply of `bytes` bytes that is too large: nothing is cut silently.
    #[must_use]
    pub fn too_large(token: Token, bytes: u64) -> Self {
        let mut note = Vec::new();
        // Digits are a value that any header may have.
        let _ = headers::encode("ipcgw-reply-bytes", &bytes.to_string(), &mut note);
        Self {
            headers: note.into(),
            ..Self::bare(token, Code::BadReply)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_keeps_its_parts() {
        let token = Token::new(3, 0x00ab_cdef, 0xdead_beef);
        assert_eq!((token.worker(), token.place()), (3, 0x00ab_cdef));
        assert_eq!(token.generation(), 0xdead_beef);
        assert_eq!(Token::from_bits(token.bits()), token);
    }
}
