//! From a request to what goes on the wire.

use std::task::Context;

use super::connection::{Connection, TooLarge};
use super::held::Held;
use crate::clock::Nanos;
use crate::route::{Route, RouteKind};
use crate::router_contract::{Decimal, outgoing_headers};

/// How an attempt to hand a request over ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Handover {
    /// The connection has it: it may have been sent.
    Done,
    /// The connection has no room now, or has ended: it was not sent.
    Blocked,
    /// It is larger than the server takes: it was not sent.
    TooLarge,
    /// Nothing could confirm it, as the server lets no marker through: it was not sent.
    Unconfirmed,
}

/// Hands a request to a connection if that has room.
pub(super) fn hand_over(
    held: &Held,
    route: &Route,
    connection: &mut Connection,
    cx: &mut Context<'_>,
    now: Nanos,
) -> Handover {
    if !connection.has_room(cx) {
        return Handover::Blocked;
    }
    let request = &held.request;
    let (token, subject, payload) = (request.token, route.subject.as_str(), request.payload());
    let headers = |block: &mut Vec<u8>| headers(held, route, now, block);
    let sent = match route.kind {
        RouteKind::Publish if !connection.confirms(now) => return Handover::Unconfirmed,
        RouteKind::Publish => connection.publish(token, subject, headers, &payload),
        RouteKind::Request if route.answers_once => {
            connection.request_once(token, subject, headers, &payload, now)
        }
        RouteKind::Request | RouteKind::Stream => {
            connection.request(token, subject, headers, &payload)
        }
    };
    match sent {
        Ok(()) => Handover::Done,
        Err(TooLarge) => Handover::TooLarge,
    }
}

/// Writes the header block of a request; nothing when it has no headers.
fn headers(held: &Held, route: &Route, now: Nanos, block: &mut Vec<u8>) {
    let request = &held.request;
    let left = request.deadline.until(now).as_millis();
    let left = Decimal::new(u64::try_from(left).unwrap_or(u64::MAX));
    let tenant = request.tenant.as_deref();
    let headers = outgoing_headers(request.headers(), tenant, route.contract, &left);
    write_headers(headers, block);
}

/// Writes a header block as it goes on the wire. The worker has checked names and values: there is
/// no colon, no blank and no control character in a name, and no control character in a value. One
/// that had would begin another header, so it is left out here too.
pub(super) fn write_headers<'a>(
    headers: impl Iterator<Item = (&'a str, &'a str)>,
    block: &mut Vec<u8>,
) {
    let is_line_end = |byte: &u8| matches!(byte, b'\r' | b'\n');
    for (name, value) in headers {
        if name.bytes().any(|byte| byte == b':' || byte <= b' ')
            || value.as_bytes().iter().any(is_line_end)
        {
            continue;
        }
        if block.is_empty() {
            block.extend_from_slice(b"NATS/1.0\r\n");
        }
        block.extend_from_slice(name.as_bytes());
        block.extend_from_slice(b": ");
        block.extend_from_slice(value.as_bytes());
        block.extend_from_slice(b"\r\n");
    }
    if !block.is_empty() {
        block.extend_from_slice(b"\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_header_begins_another() {
        let write = |headers: &[(&'static str, &'static str)]| {
            let mut block = Vec::new();
            write_headers(headers.iter().copied(), &mut block);
            String::from_utf8(block).unwrap()
        };
        assert_eq!(write(&[]), "");
        assert_eq!(
            write(&[("a", "b: c"), ("d", "")]),
            "NATS/1.0\r\na: b: c\r\nd: \r\n\r\n"
        );
        assert_eq!(
            write(&[("a", "b\r\nc: d"), ("a:b", "c"), ("a\nb", "c")]),
            ""
        );
    }
}
