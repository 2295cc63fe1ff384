//! What one walk over a JSON reply finds, as far as its meaning depends on it.
//!
//! Only the fields of the object itself are read, and `code` inside `error`; everything else is
//! skipped. Nothing is borrowed and nothing is allocated for a well-formed reply (the parser keeps
//! a few bytes when what it skips is nested twice or more). What was found before a syntax error
//! stays found: an object that says `ok: false` and then breaks off has said it.

use core::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::bridge::Code;

/// What a boolean field said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Said {
    #[default]
    Nothing,
    True,
    False,
}

/// What a reply says at its top level.
#[derive(Debug, Default)]
pub(super) struct Facts {
    /// `ok`; when it is said more than once, one `false` decides.
    pub(super) ok: Said,
    /// `error` is there and not null.
    pub(super) error: bool,
    /// `error.code`, when it is text; two that differ are nobody's.
    pub(super) router_code: Option<Code>,
    /// There is a field that no PubAck has.
    pub(super) foreign: bool,
    /// `seq`, when it is a whole number.
    pub(super) sequence: Option<u64>,
    /// `stream` is there and is text.
    stream: bool,
    /// The object came to its end, and nothing followed it.
    complete: bool,
}

impl Facts {
    /// Walks a body; `None` when it cannot be an object, which its first character tells.
    pub(super) fn of(body: &[u8]) -> Option<Self> {
        let first = body.iter().find(|byte| !byte.is_ascii_whitespace());
        if first != Some(&b'{') {
            return None;
        }
        let mut facts = Self::default();
        let mut json = serde_json::Deserializer::from_slice(body);
        let walked = json.deserialize_map(TopLevel(&mut facts));
        facts.complete = walked.and_then(|()| json.end()).is_ok();
        Some(facts)
    }

    /// Whether the body has the shape of an acknowledgement by a stream.
    pub(super) const fn is_pub_ack(&self) -> bool {
        self.complete && self.stream && self.sequence.is_some() && matches!(self.ok, Said::Nothing)
    }
}

/// The field names that matter.
enum Name {
    Ok,
    Error,
    Code,
    Stream,
    Seq,
    OtherOfPubAck,
    Foreign,
}

impl From<&[u8]> for Name {
    fn from(name: &[u8]) -> Self {
        match name {
            b"ok" => Self::Ok,
            b"error" => Self::Error,
            b"code" => Self::Code,
            b"stream" => Self::Stream,
            b"seq" => Self::Seq,
            // The last three are written by servers from 2.12 on.
            b"duplicate" | b"domain" | b"type" | b"val" | b"batch" | b"count" => {
                Self::OtherOfPubAck
            }
            _ => Self::Foreign,
        }
    }
}

/// A value, as far as it matters. Text is looked up at once, so that nothing is borrowed.
enum Value {
    Null,
    Bool(bool),
    Unsigned(u64),
    /// Text, and the Router's error that it names.
    Text(Code),
    /// An object, and the Router's error that its `code` names.
    Object(Option<Code>),
    Other,
}

struct TopLevel<'f>(&'f mut Facts);

impl<'de> Visitor<'de> for TopLevel<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let facts = self.0;
        while let Some(name) = map.next_key_seed(NameSeed)? {
            if matches!(name, Name::OtherOfPubAck | Name::Code | Name::Foreign) {
                facts.foreign |= !matches!(name, Name::OtherOfPubAck);
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            match (name, map.next_value_seed(ValueSeed)?) {
                (Name::Ok, Value::Bool(false)) => facts.ok = Said::False,
                (Name::Ok, Value::Bool(true)) if facts.ok == Said::Nothing => facts.ok = Said::True,
                (Name::Error, Value::Null) => {}
                (Name::Error, Value::Object(Some(code))) => {
                    facts.error = true;
                    facts.router_code = Some(either(facts.router_code, code));
                }
                (Name::Error, _) => facts.error = true,
                (Name::Stream, Value::Text(_)) => facts.stream = true,
                (Name::Seq, Value::Unsigned(number)) => facts.sequence = Some(number),
                _ => {}
            }
        }
        Ok(())
    }
}

/// The code when it is said once more: the same, or nobody's.
fn either(before: Option<Code>, code: Code) -> Code {
    match before {
        Some(before) if before != code => Code::RouterUnknown,
        _ => code,
    }
}

struct NameSeed;

impl<'de> DeserializeSeed<'de> for NameSeed {
    type Value = Name;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Name, D::Error> {
        // As bytes: escapes are resolved, and a name that is not UTF-8 is just another name.
        json.deserialize_bytes(self)
    }
}

impl Visitor<'_> for NameSeed {
    type Value = Name;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a field name")
    }

    fn visit_bytes<E>(self, name: &[u8]) -> Result<Name, E> {
        Ok(name.into())
    }
}

struct ValueSeed;

impl<'de> DeserializeSeed<'de> for ValueSeed {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Value, D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ValueSeed {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Unsigned(value))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Value, E> {
        Ok(Value::Other)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Value, E> {
        Ok(Value::Other)
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Text(router_code(text)))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Value::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut code = None;
        while let Some(name) = map.next_key_seed(NameSeed)? {
            if !matches!(name, Name::Code) {
                map.next_value::<IgnoredAny>()?;
            } else if let Value::Text(said) = map.next_value_seed(Self)? {
                code = Some(either(code, said));
            }
        }
        Ok(Value::Object(code))
    }
}

/// The status of table 3.3 for a Router's error code.
fn router_code(name: &str) -> Code {
    match name {
        "invalid_request" => Code::RouterInvalidRequest,
        "unauthorized" => Code::RouterUnauthorized,
        "policy_not_found" => Code::RouterPolicyNotFound,
        "decision_failed" => Code::RouterDecisionFailed,
        "internal" => Code::RouterInternal,
        "extension_not_found" => Code::RouterExtensionNotFound,
        "extension_timeout" => Code::RouterExtensionTimeout,
        "validator_blocked" => Code::RouterValidatorBlocked,
        "post_processor_failed" => Code::RouterPostProcessorFailed,
        "extension_unavailable" => Code::RouterExtensionUnavailable,
        "extension_error" => Code::RouterExtensionError,
        "unavailable" => Code::RouterUnavailable,
        "rate_limit_exceeded" => Code::RouterRateLimitExceeded,
        _ => Code::RouterUnknown,
    }
}
