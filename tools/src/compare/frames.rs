//! The frames of the Unix-socket baseline: the length of what follows (`u32`), the number of the
//! request (`u64`), the body; numbers in little-endian order.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

use ipc_tools::stage::Failure;

/// Bytes before the body.
pub(crate) const HEAD: usize = 12;
/// Largest body, in bytes.
const LARGEST: usize = 16 << 20;

/// Appends a frame.
pub(crate) fn push(out: &mut Vec<u8>, number: u64, body: &[u8]) {
    // Bodies are far smaller than 4 GiB.
    out.put_u32_le(u32::try_from(8 + body.len()).unwrap_or(u32::MAX));
    out.put_u64_le(number);
    out.extend_from_slice(body);
}

/// How many bytes the frame has whose beginning this is, once that is known.
///
/// # Errors
/// No frame has so many.
pub(crate) fn length(bytes: &[u8]) -> Result<Option<usize>, Failure> {
    let Some(&[a, b, c, d]) = bytes.first_chunk() else {
        return Ok(None);
    };
    let length = usize::try_from(u32::from_le_bytes([a, b, c, d])).unwrap_or(usize::MAX);
    if (8..=8 + LARGEST).contains(&length) {
        Ok(Some(4 + length))
    } else {
        Err(Failure::Failed(format!("a frame of {length} bytes")))
    }
}

/// Number and body of the first frame, if it has come in full, without copying the body.
///
/// # Errors
/// It is too large or too small.
pub(crate) fn split(buffer: &mut BytesMut) -> Result<Option<(u64, Bytes)>, Failure> {
    let Some(length) = length(buffer)?.filter(|&length| length <= buffer.len()) else {
        return Ok(None);
    };
    let mut frame = buffer.split_to(length).freeze();
    frame.advance(4);
    let number = frame.get_u64_le();
    Ok(Some((number, frame)))
}

/// A frame where it lies in a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Frame<'a> {
    pub(crate) number: u64,
    pub(crate) body: &'a [u8],
    /// Bytes of the whole frame.
    pub(crate) length: usize,
}

/// The first frame, if it has come in full.
///
/// # Errors
/// It is too large or too small.
pub(crate) fn first(bytes: &[u8]) -> Result<Option<Frame<'_>>, Failure> {
    let Some(length) = length(bytes)? else {
        return Ok(None);
    };
    let Some((mut head, body)) = bytes
        .get(4..length)
        .and_then(|frame| frame.split_at_checked(8))
    else {
        return Ok(None);
    };
    Ok(Some(Frame {
        number: head.get_u64_le(),
        body,
        length,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_read_as_they_are_written_however_they_are_cut() {
        let mut bytes = Vec::new();
        push(&mut bytes, 7, b"");
        push(&mut bytes, u64::MAX, b"body");
        let mut buffer = BytesMut::new();
        let mut found = Vec::new();
        for byte in &bytes {
            buffer.put_u8(*byte);
            while let Some((number, body)) = split(&mut buffer).unwrap() {
                found.push((number, body.to_vec()));
            }
        }
        let expected = [(7, vec![]), (u64::MAX, b"body".to_vec())];
        assert_eq!(found, expected);
        let frame = first(&bytes).unwrap().unwrap();
        assert_eq!((frame.number, frame.length), (7, HEAD));
        assert_eq!(first(&bytes[..HEAD - 1]).unwrap(), None);
        let next = first(&bytes[frame.length..]).unwrap().unwrap();
        assert_eq!((next.number, next.body), (u64::MAX, &b"body"[..]));
    }

    #[test]
    fn a_frame_that_cannot_be_is_said() {
        for length in [0, 7, u32::MAX] {
            let mut buffer = BytesMut::from(&length.to_le_bytes()[..]);
            split(&mut buffer).unwrap_err();
        }
    }
}
