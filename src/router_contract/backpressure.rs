//! What the Router says about its load, under every spelling that is known of it.
//!
//! | form | example |
//! |---|---|
//! | map | `{"status":"active","metrics":{"latency_p95_ms":1},"policy":{"retry_after_seconds":30}}` |
//! | error | `{"status":"unknown","error":"..."}` |
//! | wrapper | `{"success":true,"data":{...}}`, `{"success":false,"error":"..."}` |
//! | push | `{"type":"backpressure_status","status":"warning","retry_after_seconds":0}` |
//! | promised reply | `{"status":"active","pending_messages":1,"latency_p95":1,"retry_after_seconds":30}` |
//!
//! Reading is liberal: each number is taken from wherever it stands. A status is heard some times
//! a second at most, so this file may allocate.

use core::time::Duration;

use serde_json::{Map, Value, json};

use crate::bridge::Admission;

/// How long to keep away from a Router that is overloaded and does not say how long: its own
/// default.
pub const DEFAULT_RETRY_AFTER: Duration = Duration::from_secs(30);

/// How loaded the Router says it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    /// Two or more of its limits are exceeded: it drops requests without an answer.
    Active,
    /// One limit is exceeded.
    Warning,
    /// None is.
    Inactive,
    /// It does not know, or says something that nobody knows.
    Unknown,
}

/// What one status message says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backpressure {
    /// How loaded.
    pub status: Status,
    /// The subject that it speaks of, when it names one.
    pub subject: Option<String>,
    /// Time after which to try again, when it says one above zero.
    pub retry_after: Option<Duration>,
    /// Messages that wait for the Router.
    pub pending_messages: Option<u64>,
    /// 95th percentile of its latency, in milliseconds, rounded up.
    pub latency_p95_ms: Option<u64>,
    /// Messages that it works on.
    pub inflight_messages: Option<u64>,
}

impl Backpressure {
    /// What to do about it; `None` means to go on as before.
    #[must_use]
    pub fn admission(&self) -> Option<Admission> {
        match self.status {
            Status::Active => Some(Admission::Closed {
                retry_after_ms: millis(self.retry_after.unwrap_or(DEFAULT_RETRY_AFTER)),
            }),
            Status::Warning => Some(Admission::Half {
                retry_after_ms: self.retry_after.map_or(0, millis),
            }),
            Status::Inactive => Some(Admission::Open),
            Status::Unknown => None,
        }
    }

    const fn unknown() -> Self {
        Self {
            status: Status::Unknown,
            subject: None,
            retry_after: None,
            pending_messages: None,
            latency_p95_ms: None,
            inflight_messages: None,
        }
    }
}

/// Reads a status message; `None` when the bytes are not one, for example our own [`Poll`].
///
/// ```
/// use std::time::Duration;
/// use ipc_gateway::router_contract::{Status, parse_backpressure};
///
/// let pushed = br#"{"type":"backpressure_status","status":"warning","retry_after_seconds":2}"#;
/// let heard = parse_backpressure(pushed).unwrap();
/// assert_eq!(heard.status, Status::Warning);
/// assert_eq!(heard.retry_after, Some(Duration::from_secs(2)));
/// assert_eq!(parse_backpressure(b"hello"), None);
/// ```
#[must_use]
pub fn parse_backpressure(body: &[u8]) -> Option<Backpressure> {
    let Value::Object(outer) = serde_json::from_slice(body).ok()? else {
        return None;
    };
    match (outer.get("success"), outer.get("data"), outer.get("error")) {
        (Some(Value::Bool(true)), Some(Value::Object(data)), _) => read(data),
        (Some(Value::Bool(false)), _, Some(_)) => Some(Backpressure::unknown()),
        _ => read(&outer),
    }
}

fn read(message: &Map<String, Value>) -> Option<Backpressure> {
    if message
        .get("type")
        .is_some_and(|kind| kind != "backpressure_status")
    {
        return None;
    }
    let status = match message.get("status")?.as_str()? {
        "active" => Status::Active,
        "warning" => Status::Warning,
        "inactive" => Status::Inactive,
        _ => Status::Unknown,
    };
    let metric = |names: &[&str]| find(message, "metrics", names, whole_number);
    Some(Backpressure {
        status,
        subject: message
            .get("subject")
            .and_then(Value::as_str)
            .map(str::to_owned),
        retry_after: find(
            message,
            "policy",
            &["retry_after_seconds", "retry_after"],
            seconds,
        ),
        pending_messages: metric(&["pending_messages"]),
        latency_p95_ms: metric(&["latency_p95_ms", "latency_p95"]),
        inflight_messages: metric(&["inflight_messages"]),
    })
}

/// The first of these names that has a usable value, at the top or in the object `section`.
fn find<T>(
    message: &Map<String, Value>,
    section: &str,
    names: &[&str],
    parse: fn(&Value) -> Option<T>,
) -> Option<T> {
    let section = message.get(section).and_then(Value::as_object);
    [Some(message), section]
        .into_iter()
        .flatten()
        .flat_map(|object| names.iter().filter_map(|name| object.get(*name)))
        .find_map(parse)
}

/// A number of seconds; zero is how the push form says that it names none.
fn seconds(value: &Value) -> Option<Duration> {
    let duration = Duration::try_from_secs_f64(value.as_f64()?).ok()?;
    (!duration.is_zero()).then_some(duration)
}

fn whole_number(value: &Value) -> Option<u64> {
    let rounded_up = || {
        let millis = Duration::try_from_secs_f64(value.as_f64()?.ceil()).ok()?;
        Some(millis.as_secs())
    };
    value.as_u64().or_else(rounded_up)
}

fn millis(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}

/// A question for the Router's status, to be sent as a request to the status subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Poll {
    /// The JSON body: the subject that is asked about, and nothing that could be taken for a
    /// status when it comes back to a subscriber of the same subject.
    pub payload: Vec<u8>,
    /// The headers that version 2 of the contract requires.
    pub headers: [(&'static str, String); 3],
}

impl Poll {
    /// Asks about requests to `subject`, on behalf of `tenant_id`.
    #[must_use]
    pub fn new(subject: &str, tenant_id: &str, trace_id: &str) -> Self {
        Self {
            payload: json!({ "subject": subject }).to_string().into_bytes(),
            headers: [
                ("x_trace_id", trace_id.to_owned()),
                ("x_tenant_id", tenant_id.to_owned()),
                ("x_contract_version", "2".to_owned()),
            ],
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(value: &Value) -> Option<Backpressure> {
        parse_backpressure(value.to_string().as_bytes())
    }

    fn full(status: Status) -> Backpressure {
        Backpressure {
            status,
            subject: Some("s".to_owned()),
            retry_after: Some(Duration::from_secs(30)),
            pending_messages: Some(1001),
            latency_p95_ms: Some(5001),
            inflight_messages: Some(501),
        }
    }

    fn map_form(status: &str) -> Value {
        json!({
            "subject": "s", "status": status, "timestamp": 1,
            "metrics": {"pending_messages": 1001, "latency_p95_ms": 5001, "inflight_messages": 501},
            "thresholds": {"queue_overload": 1000, "latency_overload_ms": 5000, "inflight_overload": 500},
            "policy": {"retry_after_seconds": 30, "max_retry_attempts": 3},
        })
    }

    #[test]
    fn every_form_is_understood() {
        let wrapped = json!({"success": true, "data": map_form("active")});
        let push = json!({
            "type": "backpressure_status", "status": "active", "subject": "s", "timestamp": 1,
            "metrics": {"pending_messages": 1001, "latency_p95": 5000.5, "inflight_messages": 501},
            "retry_after_seconds": 30,
        });
        let promised = json!({
            "status": "active", "subject": "s", "pending_messages": 1001, "inflight_messages": 501,
            "latency_p95": 5001, "retry_after": 30.0,
        });
        for form in [map_form("active"), wrapped, push, promised] {
            assert_eq!(parse(&form), Some(full(Status::Active)), "{form}");
        }
        assert_eq!(parse(&map_form("warning")), Some(full(Status::Warning)));
        assert_eq!(parse(&map_form("inactive")), Some(full(Status::Inactive)));
    }

    #[test]
    fn a_router_that_does_not_know_changes_nothing() {
        for form in [
            map_form("unknown"),
            map_form("on fire"),
            json!({"subject": "s", "status": "unknown", "error": "badarg", "timestamp": 1}),
            json!({"success": false, "error": "unavailable"}),
        ] {
            let heard = parse(&form).expect("it is a status");
            assert_eq!(heard.status, Status::Unknown, "{form}");
            assert_eq!(heard.admission(), None);
        }
    }

    #[test]
    fn what_is_not_a_status_is_not_heard() {
        let own = Poll::new("beamline.router.v1.decide", "t", "abc");
        assert_eq!(parse_backpressure(&own.payload), None);
        for body in [
            "",
            "active",
            "[]",
            "{}",
            r#"{"status":1}"#,
            r#"{"success":true}"#,
            r#"{"success":true,"data":{}}"#,
            r#"{"type":"heartbeat","status":"active"}"#,
            r#"{"ok":false,"error":{"code":"internal"}}"#,
        ] {
            assert_eq!(parse_backpressure(body.as_bytes()), None, "{body}");
        }
    }

    #[test]
    fn admission_follows_the_status() {
        let admission = |body: Value| parse(&body).and_then(|heard| heard.admission());
        let closed = |retry_after_ms| Some(Admission::Closed { retry_after_ms });
        let half = |retry_after_ms| Some(Admission::Half { retry_after_ms });
        assert_eq!(admission(json!({"status": "active"})), closed(30_000));
        assert_eq!(
            admission(json!({"status": "active", "retry_after_seconds": 0})),
            closed(30_000)
        );
        assert_eq!(
            admission(
                json!({"status": "active", "retry_after_seconds": 0, "policy": {"retry_after": 2}})
            ),
            closed(2_000)
        );
        assert_eq!(
            admission(json!({"status": "active", "retry_after_seconds": 1e12})),
            closed(u32::MAX)
        );
        assert_eq!(
            admission(json!({"status": "active", "retry_after_seconds": -5})),
            closed(30_000)
        );
        assert_eq!(admission(json!({"status": "warning"})), half(0));
        assert_eq!(
            admission(json!({"status": "warning", "retry_after_seconds": 0.5})),
            half(500)
        );
        assert_eq!(
            admission(json!({"status": "inactive"})),
            Some(Admission::Open)
        );
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(body in prop::collection::vec(any::<u8>(), 0..200)) {
            drop(parse_backpressure(&body));
        }

        #[test]
        fn arbitrary_numbers_never_panic(retry in any::<f64>(), latency in any::<f64>()) {
            let heard = parse(&json!({"status": "active", "retry_after": retry, "latency_p95": latency}));
            prop_assert!(heard.and_then(|heard| heard.admission()).is_some());
        }
    }
}
