//! The formats that identifiers of the Router's contract have.

use core::hash::BuildHasher;
use std::cell::Cell;
use std::hash::RandomState;

/// Whether text is a UUID of version 4, in upper or lower case.
pub(super) fn is_uuid_v4(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(place, byte)| match place {
            8 | 13 | 18 | 23 => byte == b'-',
            14 => byte == b'4',
            19 => matches!(byte, b'8' | b'9' | b'a' | b'b' | b'A' | b'B'),
            _ => byte.is_ascii_hexdigit(),
        })
}

/// Whether text is a ULID: 26 characters of Crockford's base 32, in upper case.
pub(super) fn is_ulid(text: &str) -> bool {
    let crockford = |byte: u8| {
        byte.is_ascii_digit()
            || (byte.is_ascii_uppercase() && !matches!(byte, b'I' | b'L' | b'O' | b'U'))
    };
    text.len() == 26 && text.bytes().all(crockford)
}

/// Whether text can be a trace id: 32 hexadecimal digits or a UUID of version 4.
pub(super) fn is_trace_id(text: &str) -> bool {
    (text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit())) || is_uuid_v4(text)
}

/// The trace id inside a W3C `traceparent`; `None` when it is not a valid one.
///
/// ```
/// let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
/// assert_eq!(
///     ipc_ringbuf::decide::trace_id_of(parent),
///     Some("4bf92f3577b34da6a3ce929d0e0e4736")
/// );
/// ```
#[must_use]
pub fn trace_id_of(traceparent: &str) -> Option<&str> {
    let mut parts = traceparent.split('-');
    let version = hex(parts.next()?, 2)?;
    let trace_id = hex(parts.next()?, 32)?;
    let parent_id = hex(parts.next()?, 16)?;
    hex(parts.next()?, 2)?;
    let all_zero = |text: &str| text.bytes().all(|byte| byte == b'0');
    // Only later versions may have more parts, and no version is ff.
    if version == "ff" || (version == "00" && parts.next().is_some()) {
        return None;
    }
    (!all_zero(trace_id) && !all_zero(parent_id)).then_some(trace_id)
}

fn hex(text: &str, length: usize) -> Option<&str> {
    let lower_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    (text.len() == length && text.bytes().all(lower_hex)).then_some(text)
}

/// A trace id that no other request has: unique, not secret.
pub(super) fn new_trace_id() -> String {
    thread_local! {
        static MADE: Cell<u64> = const { Cell::new(0) };
    }
    let made = MADE.get();
    MADE.set(made.wrapping_add(1));
    let keys = RandomState::new();
    let half = |lane: u8| {
        keys.hash_one((
            lane,
            made,
            std::process::id(),
            std::thread::current().id(),
            crate::monotonic_ns(),
        ))
    };
    format!("{:016x}{:016x}", half(0), half(1))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn uuids_of_version_4_are_known() {
        assert!(is_uuid_v4("9b2f1d7e-6c3a-4f58-8e21-0a1b2c3d4e5f"));
        assert!(is_uuid_v4("9B2F1D7E-6C3A-4F58-BE21-0A1B2C3D4E5F"));
        for bad in [
            "",
            "9b2f1d7e-6c3a-1f58-8e21-0a1b2c3d4e5f",
            "9b2f1d7e-6c3a-4f58-ce21-0a1b2c3d4e5f",
            "9b2f1d7e6c3a-4f58-8e21-0a1b2c3d4e5f-",
            "9b2f1d7e-6c3a-4f58-8e21-0a1b2c3d4e5g",
            "{9b2f1d7e-6c3a-4f58-8e21-0a1b2c3d4e5}",
        ] {
            assert!(!is_uuid_v4(bad), "{bad}");
        }
    }

    #[test]
    fn ulids_are_known() {
        assert!(is_ulid("01ARZ3NDEKTSV4RRFFQ69G5FAV"));
        for bad in [
            "01ARZ3NDEKTSV4RRFFQ69G5FA",
            "01arz3ndektsv4rrffq69g5fav",
            "01ARZ3NDEKTSV4RRFFQ69G5FAI",
        ] {
            assert!(!is_ulid(bad), "{bad}");
        }
    }

    #[test]
    fn traceparents_are_read_as_w3c_says() {
        let id = "4bf92f3577b34da6a3ce929d0e0e4736";
        assert_eq!(
            trace_id_of(&format!("00-{id}-00f067aa0ba902b7-01")),
            Some(id)
        );
        assert_eq!(
            trace_id_of(&format!("01-{id}-00f067aa0ba902b7-01-more")),
            Some(id)
        );
        for bad in [
            String::new(),
            id.to_owned(),
            format!("ff-{id}-00f067aa0ba902b7-01"),
            format!("00-{id}-00f067aa0ba902b7-01-more"),
            format!("00-{id}-00f067aa0ba902b7"),
            format!("00-{id}-0000000000000000-01"),
            format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32)),
            format!("00-{}-00f067aa0ba902b7-01", id.to_uppercase()),
        ] {
            assert_eq!(trace_id_of(&bad), None, "{bad}");
        }
    }

    #[test]
    fn made_trace_ids_are_valid_and_differ() {
        let made: HashSet<_> = (0..1000).map(|_| new_trace_id()).collect();
        assert_eq!(made.len(), 1000);
        assert!(made.iter().all(|id| is_trace_id(id)));
    }
}
