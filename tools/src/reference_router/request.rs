//! A decide request as borrowed text: nothing is copied, and nothing is judged.
//!
//! Values stay the JSON text that they came as until `validate` asks what they are.

use std::borrow::Cow;

use async_nats::HeaderMap;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// A member of an object as it was written, or nothing if it is absent. `null` is not absent.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Member<'a>(Option<&'a RawValue>);

/// What a member is, as far as the contract asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value<'a> {
    Absent,
    Text(Cow<'a, str>),
    Other,
}

impl<'a> Member<'a> {
    /// The JSON text, if the member is there.
    pub(crate) fn json(self) -> Option<&'a str> {
        self.0.map(RawValue::get)
    }

    /// The member as text, if it is a string.
    pub(crate) fn value(self) -> Value<'a> {
        let Some(json) = self.json() else {
            return Value::Absent;
        };
        let quoted = json
            .strip_prefix('"')
            .and_then(|rest| rest.strip_suffix('"'));
        match quoted {
            Some(plain) if !plain.contains('\\') => Value::Text(Cow::Borrowed(plain)),
            Some(_) => serde_json::from_str(json).map_or(Value::Other, Value::Text),
            None => Value::Other,
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Member<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <&'a RawValue>::deserialize(deserializer).map(|raw| Self(Some(raw)))
    }
}

/// Members of a decide request that the contract speaks of; the others are skipped.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Request<'a> {
    #[serde(borrow)]
    pub(crate) version: Member<'a>,
    #[serde(borrow)]
    pub(crate) tenant_id: Member<'a>,
    #[serde(borrow)]
    pub(crate) request_id: Member<'a>,
    #[serde(borrow)]
    pub(crate) task: Member<'a>,
    #[serde(borrow)]
    pub(crate) run_id: Member<'a>,
    #[serde(borrow)]
    pub(crate) flow_id: Member<'a>,
    #[serde(borrow)]
    pub(crate) step_id: Member<'a>,
    #[serde(borrow)]
    pub(crate) trace_id: Member<'a>,
    #[serde(borrow)]
    pub(crate) idempotency_key: Member<'a>,
}

/// Members of a request's `task`.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Task<'a> {
    #[serde(borrow, rename = "type")]
    pub(crate) kind: Member<'a>,
    #[serde(borrow)]
    pub(crate) payload_ref: Member<'a>,
    #[serde(borrow)]
    pub(crate) payload: Member<'a>,
}

impl<'a> Request<'a> {
    /// Reads a payload; `None` if it is not one JSON object.
    pub(crate) fn parse(payload: &'a [u8]) -> Option<Self> {
        is_object(payload)
            .then(|| serde_json::from_slice(payload).ok())
            .flatten()
    }
}

impl<'a> Task<'a> {
    /// Reads a task; `None` if it is not an object.
    pub(crate) fn parse(json: &'a str) -> Option<Self> {
        is_object(json.as_bytes())
            .then(|| serde_json::from_str(json).ok())
            .flatten()
    }
}

/// Whether JSON begins as an object: serde would read an array as one too.
pub(crate) fn is_object(json: &[u8]) -> bool {
    json.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{')
}

/// Headers that the contract reads. Their names are lower case, exactly.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Headers<'a> {
    pub(crate) version: Option<&'a str>,
    pub(crate) tenant_id: Option<&'a str>,
    pub(crate) trace_id: Option<&'a str>,
}

impl<'a> Headers<'a> {
    /// Picks them out of a message's headers.
    pub(crate) fn pick(headers: Option<&'a HeaderMap>) -> Self {
        let mut picked = Self::default();
        for (name, values) in headers.into_iter().flat_map(HeaderMap::iter) {
            let place = match AsRef::<str>::as_ref(name) {
                "version" => &mut picked.version,
                "tenant_id" => &mut picked.tenant_id,
                "trace_id" => &mut picked.trace_id,
                _ => continue,
            };
            *place = values.first().map(async_nats::HeaderValue::as_str);
        }
        picked
    }
}

/// What a reply says about the request that it answers.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Context<'a> {
    /// JSON text of the request's identifier.
    pub(crate) request_id: Option<&'a str>,
    pub(crate) trace_id: Option<TraceId<'a>>,
}

/// Where the trace identifier came from.
#[derive(Clone, Copy, Debug)]
pub(crate) enum TraceId<'a> {
    /// The header, as it is.
    Header(&'a str),
    /// The payload, as JSON text.
    Json(&'a str),
}

impl<'a> Context<'a> {
    /// The context of a request; the header's trace identifier goes before the payload's.
    pub(crate) fn of(request: Option<&Request<'a>>, headers: Headers<'a>) -> Self {
        let in_payload = request.and_then(|request| request.trace_id.json());
        Self {
            request_id: request.and_then(|request| request.request_id.json()),
            trace_id: headers
                .trace_id
                .map(TraceId::Header)
                .or_else(|| in_payload.map(TraceId::Json)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_borrowed_unless_they_have_escapes() {
        let request = Request::parse(br#" {"request_id":"r-1","trace_id":"a\u0062","version":1}"#);
        let request = request.unwrap();
        assert!(matches!(
            request.request_id.value(),
            Value::Text(Cow::Borrowed("r-1"))
        ));
        assert_eq!(request.trace_id.value(), Value::Text("ab".into()));
        assert_eq!(request.version.value(), Value::Other);
        assert_eq!(request.task.value(), Value::Absent);
    }

    #[test]
    fn null_is_there_and_is_not_text() {
        let request = Request::parse(br#"{"request_id":null}"#).unwrap();
        assert_eq!(request.request_id.value(), Value::Other);
    }

    #[test]
    fn only_one_json_object_is_a_request() {
        for bad in ["", "[]", "\"x\"", "{", "{}x", "{}{}", "\u{0}", "null"] {
            assert!(Request::parse(bad.as_bytes()).is_none(), "{bad:?}");
        }
        assert!(Request::parse(b"{}").is_some());
    }
}
