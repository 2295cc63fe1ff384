//! Header blocks: the encoding of a request's or a reply's headers between descriptor and payload.
//!
//! A block is a sequence of `[u16 name length][u16 value length][name][value]`, little-endian, with
//! no padding and nothing after the last one. Names are 1 to 64 bytes of `A-Z a-z 0-9 - _ .`;
//! values are up to 4,096 bytes of UTF-8 without control characters. At most [`MAX_HEADERS`].

use core::fmt;

/// Most headers that one request or reply may carry.
pub const MAX_HEADERS: usize = 64;
/// Longest header name, in bytes.
pub const MAX_NAME_BYTES: usize = 64;
/// Longest header value, in bytes.
pub const MAX_VALUE_BYTES: usize = 4096;

/// Which rule of the encoding a header block or a header breaks.
///
/// ```no_run
/// use ipc_ringbuf::{ClientBuilder, HeaderError, Request, SubmitError};
///
/// let mut client = ClientBuilder::new().connect()?;
/// let refused = client.submit(Request::to("decide").header("no spaces", "x"));
/// assert!(matches!(refused, Err(SubmitError::BadHeader(HeaderError::Name, _))));
/// # Ok::<(), ipc_ringbuf::AttachError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HeaderError {
    /// The block ends inside a header.
    Truncated,
    /// More than [`MAX_HEADERS`].
    TooMany,
    /// The name is empty, too long, or has a character that is not allowed.
    Name,
    /// The value is too long, not UTF-8, or has a control character.
    Value,
}

impl fmt::Display for HeaderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Truncated => "header block ends inside a header",
            Self::TooMany => "more than 64 headers",
            Self::Name => "header name must be 1 to 64 characters of A-Z a-z 0-9 - _ .",
            Self::Value => {
                "header value must be at most 4096 bytes of UTF-8 without control characters"
            }
        })
    }
}

impl core::error::Error for HeaderError {}

/// Checks one header by the rules of this module.
///
/// # Errors
/// [`HeaderError::Name`] or [`HeaderError::Value`].
pub fn check(name: &str, value: &str) -> Result<(), HeaderError> {
    if name.is_empty() || name.len() > MAX_NAME_BYTES || !name.bytes().all(is_of_name) {
        return Err(HeaderError::Name);
    }
    // Every byte is looked at, without a branch for each: 16 at a time.
    let control = |found: bool, byte: u8| found | (byte < 0x20) | (byte == 0x7f);
    if value.len() > MAX_VALUE_BYTES || value.bytes().fold(false, control) {
        return Err(HeaderError::Value);
    }
    Ok(())
}

/// Whether a name may have this byte: letters, digits and `-_.`.
#[inline]
const fn is_of_name(byte: u8) -> bool {
    // One bit for each of the first 128 bytes.
    const ALLOWED: u128 = {
        let (mut allowed, mut byte) = (0_u128, 0_u8);
        while byte < 128 {
            if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.') {
                allowed |= 1 << byte;
            }
            byte += 1;
        }
        allowed
    };
    byte < 128 && (ALLOWED >> byte) & 1 != 0
}

/// Appends one header to a block in `out`.
///
/// # Errors
/// [`HeaderError`] when the header breaks a rule; `out` is then unchanged.
pub fn encode(name: &str, value: &str, out: &mut Vec<u8>) -> Result<(), HeaderError> {
    check(name, value)?;
    let name_len = u16::try_from(name.len()).map_err(|_| HeaderError::Name)?;
    let value_len = u16::try_from(value.len()).map_err(|_| HeaderError::Value)?;
    out.extend_from_slice(&name_len.to_le_bytes());
    out.extend_from_slice(&value_len.to_le_bytes());
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(value.as_bytes());
    Ok(())
}

/// The headers of a block, in order. Stops after the first error.
#[must_use]
pub const fn decode(block: &[u8]) -> Headers<'_> {
    Headers {
        rest: block,
        seen: 0,
    }
}

/// Iterator over the headers of a block; made by [`decode`].
#[derive(Clone, Debug)]
pub struct Headers<'a> {
    rest: &'a [u8],
    seen: usize,
}

impl<'a> Headers<'a> {
    fn take(&mut self) -> Result<(&'a str, &'a str), HeaderError> {
        if self.seen == MAX_HEADERS {
            return Err(HeaderError::TooMany);
        }
        let (lengths, rest) = self
            .rest
            .split_first_chunk::<4>()
            .ok_or(HeaderError::Truncated)?;
        let [n0, n1, v0, v1] = *lengths;
        let name_len = usize::from(u16::from_le_bytes([n0, n1]));
        let value_len = usize::from(u16::from_le_bytes([v0, v1]));
        let (name, rest) = rest
            .split_at_checked(name_len)
            .ok_or(HeaderError::Truncated)?;
        let (value, rest) = rest
            .split_at_checked(value_len)
            .ok_or(HeaderError::Truncated)?;
        let name = core::str::from_utf8(name).map_err(|_| HeaderError::Name)?;
        let value = core::str::from_utf8(value).map_err(|_| HeaderError::Value)?;
        check(name, value)?;
        self.rest = rest;
        self.seen += 1;
        Ok((name, value))
    }
}

impl<'a> Iterator for Headers<'a> {
    type Item = Result<(&'a str, &'a str), HeaderError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let item = self.take();
        if item.is_err() {
            self.rest = &[];
        }
        Some(item)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_come_back_in_order() {
        let mut block = Vec::new();
        encode("trace_id", "abc", &mut block).unwrap();
        encode("x", "", &mut block).unwrap();
        let back: Vec<_> = decode(&block).collect::<Result<_, _>>().unwrap();
        assert_eq!(back, [("trace_id", "abc"), ("x", "")]);
    }

    #[test]
    fn every_cut_of_a_block_is_refused() {
        let mut block = Vec::new();
        encode("trace_id", "abc", &mut block).unwrap();
        for end in 1..block.len() {
            assert_eq!(
                decode(&block[..end]).last(),
                Some(Err(HeaderError::Truncated))
            );
        }
    }

    #[test]
    fn injection_is_refused() {
        let mut out = Vec::new();
        assert_eq!(encode("a", "x\r\nb: c", &mut out), Err(HeaderError::Value));
        assert_eq!(encode("a:b", "x", &mut out), Err(HeaderError::Name));
        assert_eq!(encode("", "x", &mut out), Err(HeaderError::Name));
        assert!(out.is_empty());
        let forged = [1, 0, 2, 0, b'a', b'\r', b'\n'];
        assert_eq!(decode(&forged).last(), Some(Err(HeaderError::Value)));
    }

    #[test]
    fn too_many_headers_are_refused() {
        let mut block = Vec::new();
        for _ in 0..=MAX_HEADERS {
            encode("a", "b", &mut block).unwrap();
        }
        assert_eq!(decode(&block).last(), Some(Err(HeaderError::TooMany)));
    }
}
