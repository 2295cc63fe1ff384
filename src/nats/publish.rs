//! From a request to what goes on the wire.

use core::str::FromStr;
use std::task::{Context, Poll};

use async_nats::{HeaderMap, HeaderName, HeaderValue, Subject};

use super::connection::{Connection, Refusal};
use super::held::Held;
use crate::clock::Nanos;
use crate::route::{Route, RouteKind};
use crate::router_contract::{
    DEADLINE, Decimal, TENANT_ID, TRACE_ID, TRACEPARENT, VERSION, outgoing_headers,
};

/// How an attempt to hand a request over ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Handover {
    /// The library has it: it may have been sent.
    Done,
    /// The library has no room now, or the connection has ended: it was not sent.
    Blocked,
    /// It is larger than the server takes: it was not sent.
    TooLarge,
}

/// Hands a request to a connection if that has room.
pub(super) fn hand_over(
    held: &Held,
    route: &Route,
    subject: &Subject,
    connection: &mut Connection,
    cx: &mut Context<'_>,
    now: Nanos,
) -> Handover {
    if !matches!(connection.poll_room(cx), Poll::Ready(Ok(()))) {
        return Handover::Blocked;
    }
    let request = &held.request;
    let (token, subject) = (request.token, subject.clone());
    let headers = headers(held, route, now);
    let sent = match route.kind {
        RouteKind::Publish => connection.publish(token, subject, headers, request.payload()),
        RouteKind::Request if route.answers_once => {
            connection.request_once(token, subject, headers, request.payload(), now)
        }
        RouteKind::Request | RouteKind::Stream => {
            connection.request(token, subject, headers, request.payload())
        }
    };
    match sent {
        Ok(()) => Handover::Done,
        Err(Refusal::TooLarge) => Handover::TooLarge,
        Err(Refusal::Ended) => Handover::Blocked,
    }
}

/// The headers of a request; `None` when it has none, so that none are encoded.
fn headers(held: &Held, route: &Route, now: Nanos) -> Option<HeaderMap> {
    let request = &held.request;
    let left = request.deadline.until(now).as_millis();
    let left = Decimal::new(u64::try_from(left).unwrap_or(u64::MAX));
    let tenant = request.tenant.as_deref();
    let mut map: Option<HeaderMap> = None;
    for (name, value) in outgoing_headers(request.headers(), tenant, route.contract, &left) {
        // The infallible conversions of async-nats panic. What the worker has checked is valid
        // here too; a header that is not is left out.
        if let (Some(name), Ok(value)) = (header_name(name), HeaderValue::from_str(value)) {
            map.get_or_insert_default().append(name, value);
        }
    }
    map
}

/// The name as the library wants it; the usual ones without an allocation.
fn header_name(name: &str) -> Option<HeaderName> {
    Some(match name {
        VERSION => HeaderName::from_static(VERSION),
        DEADLINE => HeaderName::from_static(DEADLINE),
        TENANT_ID => HeaderName::from_static(TENANT_ID),
        TRACE_ID => HeaderName::from_static(TRACE_ID),
        TRACEPARENT => HeaderName::from_static(TRACEPARENT),
        _ => HeaderName::from_str(name).ok()?,
    })
}
