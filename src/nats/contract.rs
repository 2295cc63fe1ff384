//! The seam to the Router's contract: what a reply body means, which headers a request carries,
//! and how a backpressure message is read.

use core::time::Duration;
use std::borrow::Cow;

use serde::Deserialize;

use crate::bridge::{Code, Request, headers};
use crate::clock::Nanos;
use crate::route::{ReplyContract, Route, RouteKind};

/// Header with the milliseconds left for a request.
const DEADLINE_HEADER: &str = "ipcgw-deadline-ms";
const VERSION_HEADER: &str = "version";
const TENANT_HEADER: &str = "tenant_id";

/// What a message on the reply inbox means for its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It completes the request.
    Complete(Code),
    /// It is a `PubAck` that a stream sent besides; the reply is still to come.
    KeepWaiting,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PubAck<'a> {
    #[serde(borrow)]
    #[expect(dead_code, reason = "its presence is the point")]
    stream: Cow<'a, str>,
    #[expect(dead_code, reason = "its presence is the point")]
    seq: u64,
    #[serde(borrow, default, rename = "domain")]
    _domain: Option<Cow<'a, str>>,
    #[serde(default, rename = "duplicate")]
    _duplicate: Option<bool>,
}

#[derive(Deserialize)]
struct RouterReply<'a> {
    ok: Option<bool>,
    #[serde(borrow)]
    error: Option<RouterError<'a>>,
}

#[derive(Deserialize)]
struct RouterError<'a> {
    #[serde(borrow)]
    code: Option<Cow<'a, str>>,
}

/// Judges the body of a message on the reply inbox.
pub(super) fn classify(route: &Route, body: &[u8]) -> Verdict {
    let is_puback = serde_json::from_slice::<PubAck<'_>>(body).is_ok();
    match (route.kind, route.contract) {
        (RouteKind::Stream, _) if is_puback => Verdict::Complete(Code::Stored),
        (RouteKind::Stream, _) => Verdict::Complete(Code::StreamError),
        (RouteKind::Request, _) if is_puback => Verdict::KeepWaiting,
        (RouteKind::Request, ReplyContract::Router) => Verdict::Complete(classify_router(body)),
        (RouteKind::Request, ReplyContract::Opaque) => Verdict::Complete(Code::Ok),
        (RouteKind::Publish, _) => Verdict::Complete(Code::Sent),
    }
}

fn classify_router(body: &[u8]) -> Code {
    let Ok(reply) = serde_json::from_slice::<RouterReply<'_>>(body) else {
        return Code::Ok;
    };
    if reply.ok != Some(false) {
        return Code::Ok;
    }
    match reply.error.and_then(|error| error.code).as_deref() {
        Some("invalid_request") => Code::RouterInvalidRequest,
        Some("unauthorized") => Code::RouterUnauthorized,
        Some("policy_not_found") => Code::RouterPolicyNotFound,
        Some("decision_failed") => Code::RouterDecisionFailed,
        Some("internal") => Code::RouterInternal,
        Some("extension_not_found") => Code::RouterExtensionNotFound,
        Some("extension_timeout") => Code::RouterExtensionTimeout,
        Some("validator_blocked") => Code::RouterValidatorBlocked,
        Some("post_processor_failed") => Code::RouterPostProcessorFailed,
        Some("extension_unavailable") => Code::RouterExtensionUnavailable,
        Some("extension_error") => Code::RouterExtensionError,
        Some("unavailable") => Code::RouterUnavailable,
        Some("rate_limit_exceeded") => Code::RouterRateLimitExceeded,
        _ => Code::RouterUnknown,
    }
}

/// Calls `add` with every header that goes out with a request, in order.
pub(super) fn outgoing_headers(
    route: &Route,
    request: &Request,
    now: Nanos,
    mut add: impl FnMut(&str, &str),
) {
    let router = route.contract == ReplyContract::Router;
    let ours = |name: &str| {
        let is = |own: &str| name.eq_ignore_ascii_case(own);
        is(DEADLINE_HEADER)
            || (router && is(VERSION_HEADER))
            || (request.tenant.is_some() && is(TENANT_HEADER))
    };
    for (name, value) in headers::decode(request.headers()).flatten() {
        if !ours(name) {
            add(name, value);
        }
    }
    if let Some(tenant) = &request.tenant {
        add(TENANT_HEADER, tenant);
    }
    if router {
        add(VERSION_HEADER, "1");
        let left = request.deadline.until(now).as_millis();
        add(DEADLINE_HEADER, &left.to_string());
    }
}

/// How much the Router wants to be left alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pressure {
    /// Not at all.
    Inactive,
    /// Half of the requests should stay away.
    Warning,
    /// All should.
    Active,
}

/// A backpressure status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Status {
    /// How much.
    pub(super) pressure: Pressure,
    /// For how long; `None` when the Router does not say.
    pub(super) retry_after: Option<Duration>,
}

/// Reads a backpressure message, pushed or polled; `None` when it says nothing usable.
pub(super) fn parse_backpressure(body: &[u8]) -> Option<Status> {
    let value: serde_json::Value = serde_json::from_slice(body).ok()?;
    let value = value.get("data").unwrap_or(&value);
    let pressure = match value.get("status")?.as_str()? {
        "active" => Pressure::Active,
        "warning" => Pressure::Warning,
        "inactive" => Pressure::Inactive,
        _ => return None,
    };
    let seconds = value
        .get("retry_after_seconds")
        .or_else(|| value.get("policy")?.get("retry_after_seconds"))
        .and_then(serde_json::Value::as_u64)
        .filter(|&seconds| seconds > 0);
    Some(Status {
        pressure,
        retry_after: seconds.map(Duration::from_secs),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_puback_is_not_the_answer_of_a_request_route() {
        let route = Route::decide();
        let ack = br#"{"stream":"S","seq":7}"#;
        assert_eq!(classify(&route, ack), Verdict::KeepWaiting);
        let error = br#"{"ok":false,"error":{"code":"internal"}}"#;
        assert_eq!(
            classify(&route, error),
            Verdict::Complete(Code::RouterInternal)
        );
    }

    #[test]
    fn both_forms_of_backpressure_are_read() {
        let pushed = br#"{"type":"backpressure_status","status":"active","retry_after_seconds":3}"#;
        let polled =
            br#"{"success":true,"data":{"status":"warning","policy":{"retry_after_seconds":30}}}"#;
        let seconds = |body: &[u8]| parse_backpressure(body).and_then(|status| status.retry_after);
        assert_eq!(seconds(pushed), Some(Duration::from_secs(3)));
        assert_eq!(seconds(polled), Some(Duration::from_secs(30)));
        assert_eq!(parse_backpressure(b"{}"), None);
    }
}
