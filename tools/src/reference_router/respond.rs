//! Bodies of replies, written by hand into one buffer that all of them share.

use bytes::{BufMut as _, Bytes, BytesMut};

use crate::refusal::Refusal;
use crate::request::{Context, TraceId};

/// Room that is asked for when the buffer runs out, in bytes.
const BUFFER_BYTES: usize = 64 * 1024;
/// More than any body has besides its padding, its context and its error code, in bytes.
const BODY_BYTES: usize = 512;
const DECISION: &[u8] = br#"{"ok":true,"decision":{"provider_id":"reference-provider","priority":50,"expected_latency_ms":120,"expected_cost":0.001,"reason":"best_score""#;
const METADATA_START: &[u8] = br#","metadata":{"padding":""#;
const METADATA_END: &[u8] = br#""}"#;

/// Writes the bodies of replies.
#[derive(Debug)]
pub(crate) struct Responder {
    /// Empty between bodies; its spare room is shared by them.
    buffer: BytesMut,
    /// The context of the body being written.
    context: Vec<u8>,
    /// Least length of a decision.
    padding: usize,
    /// JSON text of the code of errors on demand.
    error_code: String,
}

impl Responder {
    /// A writer that pads decisions to `padding` bytes and uses `error_code` for errors on demand.
    pub(crate) fn new(padding: usize, error_code: &str) -> Self {
        Self {
            buffer: BytesMut::new(),
            context: Vec::new(),
            padding,
            error_code: serde_json::Value::from(error_code).to_string(),
        }
    }

    /// A decision.
    pub(crate) fn decision(&mut self, context: Context<'_>) -> Bytes {
        self.begin(context);
        self.buffer.put_slice(DECISION);
        let plain = self.buffer.len() + b"}".len() + self.context.len();
        if plain < self.padding {
            let frame = METADATA_START.len() + METADATA_END.len();
            self.buffer.put_slice(METADATA_START);
            self.buffer
                .put_bytes(b'x', self.padding.saturating_sub(plain + frame));
            self.buffer.put_slice(METADATA_END);
        }
        self.buffer.put_slice(b"}");
        self.end()
    }

    /// The error that the Router answers an invalid request with.
    pub(crate) fn refusal(&mut self, refusal: Refusal, context: Context<'_>) -> Bytes {
        self.begin(context);
        self.buffer.put_slice(br#"{"ok":false,"error":{"code":""#);
        self.buffer.put_slice(refusal.code().as_bytes());
        self.buffer.put_slice(br#"","message":""#);
        // No message of a refusal has a character that JSON escapes.
        self.buffer.put_slice(refusal.to_string().as_bytes());
        self.buffer.put_slice(br#"","intake_error_code":""#);
        self.buffer
            .put_slice(refusal.intake_error_code().as_bytes());
        self.buffer.put_slice(br#""}"#);
        self.end()
    }

    /// The error on demand.
    pub(crate) fn failure(&mut self, context: Context<'_>) -> Bytes {
        self.begin(context);
        self.buffer.put_slice(br#"{"ok":false,"error":{"code":"#);
        self.buffer.put_slice(self.error_code.as_bytes());
        self.buffer
            .put_slice(br#","message":"Reference Router fails on demand"}"#);
        self.end()
    }

    /// Makes room, so that most bodies share one allocation, and writes the context.
    fn begin(&mut self, context: Context<'_>) {
        self.context.clear();
        put_context(&mut self.context, context);
        let need = BODY_BYTES + self.padding + self.context.len();
        if self.buffer.capacity() < need {
            self.buffer.reserve(need.max(BUFFER_BYTES));
        }
    }

    fn end(&mut self) -> Bytes {
        self.buffer.put_slice(&self.context);
        self.buffer.split().freeze()
    }
}

/// Writes `,"context":{..}}`, the end of every body. What is unknown is left out.
fn put_context(out: &mut Vec<u8>, context: Context<'_>) {
    out.put_slice(br#","context":{"#);
    if let Some(request_id) = context.request_id {
        out.put_slice(br#""request_id":"#);
        out.put_slice(request_id.as_bytes());
    }
    if let Some(trace_id) = context.trace_id {
        if context.request_id.is_some() {
            out.put_slice(b",");
        }
        out.put_slice(br#""trace_id":"#);
        match trace_id {
            TraceId::Json(json) => out.put_slice(json.as_bytes()),
            TraceId::Header(text) => put_text(out, text),
        }
    }
    out.put_slice(b"}}");
}

/// Writes text from outside as a JSON string.
fn put_text(out: &mut Vec<u8>, text: &str) {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    if text.bytes().all(plain) {
        out.put_slice(b"\"");
        out.put_slice(text.as_bytes());
        out.put_slice(b"\"");
    } else {
        out.put_slice(serde_json::Value::from(text).to_string().as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::refusal::Reason;
    use crate::request::Request;

    const CONTEXT: Context<'_> = Context {
        request_id: Some(r#""r-\"1""#),
        trace_id: Some(TraceId::Header("a\"b")),
    };

    fn parse(body: &Bytes) -> Value {
        serde_json::from_slice(body).unwrap()
    }

    #[test]
    fn a_decision_has_the_contracts_members_and_no_others() {
        let body = Responder::new(0, "x").decision(CONTEXT);
        let expected = json!({
            "ok": true,
            "decision": {
                "provider_id": "reference-provider",
                "priority": 50,
                "expected_latency_ms": 120,
                "expected_cost": 0.001,
                "reason": "best_score",
            },
            "context": {"request_id": "r-\"1", "trace_id": "a\"b"},
        });
        assert_eq!(parse(&body), expected);
    }

    #[test]
    fn a_refusal_names_the_intake_code_and_the_reason() {
        let refusal = Refusal::Fields(Reason::MissingTask);
        let request = Request::parse(br#"{"request_id":"r"}"#);
        let context = Context::of(request.as_ref(), crate::request::Headers::default());
        let body = Responder::new(0, "x").refusal(refusal, context);
        let expected = json!({
            "ok": false,
            "error": {
                "code": "invalid_request",
                "message": "Correlation fields validation failed: missing_task",
                "intake_error_code": "CORRELATION_FIELDS_INVALID",
            },
            "context": {"request_id": "r"},
        });
        assert_eq!(parse(&body), expected);
    }

    #[test]
    fn an_error_on_demand_may_have_any_code() {
        let body = Responder::new(0, "no\nsuch \"code\"").failure(Context::default());
        assert_eq!(parse(&body)["error"]["code"], "no\nsuch \"code\"");
        assert_eq!(parse(&body)["context"], json!({}));
    }

    #[test]
    fn padding_is_exact_once_there_is_room_for_it() {
        let plain = Responder::new(0, "x").decision(CONTEXT).len();
        for padding in [1, plain, plain + 1, plain + 50, 100_000] {
            let body = Responder::new(padding, "x").decision(CONTEXT);
            assert!(body.len() >= padding.max(plain));
            assert!(parse(&body)["ok"].as_bool().unwrap());
            if padding >= plain + 50 {
                assert_eq!(body.len(), padding);
                assert!(parse(&body)["decision"]["metadata"]["padding"].is_string());
            }
        }
    }

    #[test]
    fn bodies_that_share_a_buffer_stay_apart() {
        let mut responder = Responder::new(0, "x");
        let bodies: Vec<_> = (0..1000).map(|_| responder.decision(CONTEXT)).collect();
        assert!(bodies.iter().all(|body| body == &bodies[0]));
    }
}
