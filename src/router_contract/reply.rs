//! What the first message on a request's reply inbox means.
//!
//! Called once for every reply, on the NATS thread: one walk over the body ([`Facts`]), and one
//! `match` over what it found.

use super::facts::{Facts, Said};
use crate::bridge::Code;
use crate::route::ReplyContract;

/// What a message on the reply inbox of a `request` route is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The answer: the request completes with this code and the whole body.
    Answer(Code),
    /// An acknowledgement by a stream that captures the subject: count it and keep waiting.
    PubAck,
}

/// Classifies a reply on a `request` route of this contract.
///
/// ```
/// use ipc_gateway::route::ReplyContract;
/// use ipc_gateway::router_contract::{Verdict, classify};
/// use ipc_ringbuf::Code;
///
/// let router = |body: &[u8]| classify(ReplyContract::Router, body);
/// assert_eq!(router(br#"{"ok":true}"#), Verdict::Answer(Code::Ok));
/// assert_eq!(router(br#"{"stream":"S","seq":7}"#), Verdict::PubAck);
/// let error = br#"{"ok":false,"error":{"code":"unauthorized"}}"#;
/// assert_ne!(router(error), Verdict::Answer(Code::Ok));
/// ```
#[inline]
#[must_use]
pub fn classify(contract: ReplyContract, body: &[u8]) -> Verdict {
    match contract {
        ReplyContract::Router => classify_router(body),
        ReplyContract::Opaque => classify_opaque(body),
    }
}

/// Classifies a reply of the Router.
///
/// `ok: false` is an error, whatever else the object says and even if it breaks off after that; of
/// several `ok` the false one counts. An object without a boolean `ok` that has a stream's name and
/// a sequence number is a PubAck. Anything else is `OK`: opaque.
#[inline]
#[must_use]
pub fn classify_router(body: &[u8]) -> Verdict {
    let Some(facts) = Facts::of(body) else {
        return Verdict::Answer(Code::Ok);
    };
    match facts.ok {
        Said::False => Verdict::Answer(facts.router_code.unwrap_or(Code::RouterUnknown)),
        Said::Nothing if facts.is_pub_ack() => Verdict::PubAck,
        Said::Nothing | Said::True => Verdict::Answer(Code::Ok),
    }
}

/// Classifies a reply on a `request` route with opaque replies: anything that is not a PubAck is
/// `OK`. An object with a field that no PubAck has is not one, because the service behind the
/// route may well speak of streams and sequence numbers itself.
#[inline]
#[must_use]
pub fn classify_opaque(body: &[u8]) -> Verdict {
    match Facts::of(body) {
        Some(facts) if facts.is_pub_ack() && !facts.foreign => Verdict::PubAck,
        _ => Verdict::Answer(Code::Ok),
    }
}

/// Classifies the reply on a `stream` route: `STORED`, `STREAM_ERROR`, or `BAD_REPLY` when it is
/// not an acknowledgement at all.
#[must_use]
pub fn classify_stream(body: &[u8]) -> Code {
    match Facts::of(body) {
        Some(facts) if facts.is_pub_ack() && facts.error => Code::StreamError,
        // Sequence numbers begin at 1: 0 without an error is no evidence that anything is stored.
        Some(facts) if facts.is_pub_ack() && facts.sequence != Some(0) => Code::Stored,
        _ => Code::BadReply,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const ACK: &str = r#"{"stream":"S", "seq":7}"#;
    const ACK_DUPLICATE: &str = r#"{"stream":"S","domain":"d","seq":7,"duplicate":true}"#;
    const ACK_ERROR: &str = r#"{"error":{"code":503,"err_code":10077,"description":"maximum messages exceeded"},"stream":"S","seq":0}"#;

    fn router(body: &str) -> Verdict {
        classify_router(body.as_bytes())
    }

    #[test]
    fn every_code_of_the_table_has_its_status() {
        let names = Code::ALL
            .iter()
            .filter_map(|code| code.name().strip_prefix("ROUTER_"));
        assert_eq!(names.clone().count(), 14);
        for (name, code) in names.zip(Code::ALL.iter().filter(|c| c.name().starts_with("ROUTER_")))
        {
            let body = json!({"ok": false, "context": {"request_id": "r"},
                "error": {"code": name.to_lowercase(), "message": "m", "details": {"a": [1]}}});
            assert_eq!(router(&body.to_string()), Verdict::Answer(*code), "{name}");
        }
    }

    #[test]
    fn an_error_that_nobody_knows_is_never_ok() {
        for body in [
            r#"{"ok":false}"#,
            r#"{"ok":false,"error":null}"#,
            r#"{"ok":false,"error":"internal"}"#,
            r#"{"ok":false,"error":{}}"#,
            r#"{"ok":false,"error":{"code":1,"message":"Unsupported protocol version"}}"#,
            r#"{"ok":false,"error":{"code":"brand_new"}}"#,
            r#"{"ok":false,"error":{"code":"INTERNAL"}}"#,
            r#"{"ok":false,"error":{"code":"internal"},"error":{"code":"unauthorized"}}"#,
            r#"{"ok":false,"error":{"code":"internal","code":"unauthorized"}}"#,
            r#"{"ok":false,"stream":"S","seq":1}"#,
            r#"{"ok":false"#,
            r#"{"ok":false,"#,
            r#"{"ok":false} and more"#,
        ] {
            assert_eq!(router(body), Verdict::Answer(Code::RouterUnknown), "{body}");
        }
    }

    #[test]
    fn the_first_level_decides_and_false_outweighs_true() {
        let internal = Verdict::Answer(Code::RouterInternal);
        for body in [
            r#"{"ok":true,"ok":false,"error":{"code":"internal"}}"#,
            r#"{"ok":false,"ok":true,"error":{"code":"internal"}}"#,
            r#"{"error":{"code":"internal","ok":true},"context":{"ok":true},"ok":false}"#,
            r#"{"error":{"message":"\"ok\":true","code":"internal"},"ok":false}"#,
            " \r\n\t{ \"error\" : { \"code\" : \"internal\" } , \"ok\" : false } \n",
            r#"{"\u006fk":false,"error":{"c\u006fde":"intern\u0061l"}}"#,
        ] {
            assert_eq!(router(body), internal, "{body}");
        }
        for body in [
            r#"{"ok":true,"decision":{"ok":false,"error":{"code":"internal"}}}"#,
            r#"{"ok":true,"reason":"{\"ok\":false}"}"#,
            r#"{"ok":true,"error":{"code":"internal"}}"#,
        ] {
            assert_eq!(router(body), Verdict::Answer(Code::Ok), "{body}");
        }
    }

    #[test]
    fn a_body_that_is_neither_is_opaque() {
        for body in [
            "",
            " ",
            "{",
            "{}",
            "text",
            "null",
            "[{\"ok\":false}]",
            "\"{\\\"ok\\\":false}\"",
            r#"{"ok":"false"}"#,
            r#"{"ok":0}"#,
            r#"{"stream":"S"}"#,
            r#"{"stream":1,"seq":1}"#,
            r#"{"stream":"S","seq":-1}"#,
            r#"{"stream":"S","seq":"1"}"#,
            r#"{"stream":"S","seq":1"#,
        ] {
            assert_eq!(router(body), Verdict::Answer(Code::Ok), "{body}");
            assert_eq!(
                classify_opaque(body.as_bytes()),
                Verdict::Answer(Code::Ok),
                "{body}"
            );
            assert_eq!(classify_stream(body.as_bytes()), Code::BadReply, "{body}");
        }
        assert_eq!(
            classify_router(&[0x0a, 3, 0xff, 0, 1]),
            Verdict::Answer(Code::Ok)
        );
    }

    #[test]
    fn an_acknowledgement_is_not_the_answer_to_a_request() {
        for body in [ACK, ACK_DUPLICATE, ACK_ERROR, r#"{"seq":1,"stream":"S"}"#] {
            assert_eq!(router(body), Verdict::PubAck, "{body}");
            assert_eq!(classify_opaque(body.as_bytes()), Verdict::PubAck, "{body}");
        }
        assert_eq!(
            router(r#"{"ok":true,"stream":"S","seq":1}"#),
            Verdict::Answer(Code::Ok)
        );
    }

    #[test]
    fn an_opaque_service_may_speak_of_streams() {
        let body = br#"{"stream":"S","seq":1,"frame":"x"}"#;
        assert_eq!(classify_opaque(body), Verdict::Answer(Code::Ok));
        let body = br#"{"ok":false,"error":{"code":"internal"}}"#;
        assert_eq!(
            classify(ReplyContract::Opaque, body),
            Verdict::Answer(Code::Ok)
        );
        assert_eq!(
            classify(ReplyContract::Router, body),
            Verdict::Answer(Code::RouterInternal)
        );
    }

    #[test]
    fn a_stream_route_is_stored_only_when_the_stream_says_so() {
        for (body, code) in [
            (ACK, Code::Stored),
            (ACK_DUPLICATE, Code::Stored),
            (r#"{"stream":"S","seq":1,"a_later_field":1}"#, Code::Stored),
            (r#"{"error":null,"stream":"S","seq":1}"#, Code::Stored),
            (ACK_ERROR, Code::StreamError),
            (
                r#"{"error":"full","stream":"S","seq":0}"#,
                Code::StreamError,
            ),
            (r#"{"stream":"S","seq":0}"#, Code::BadReply),
            (r#"{"ok":true}"#, Code::BadReply),
            ("+ACK", Code::BadReply),
        ] {
            assert_eq!(classify_stream(body.as_bytes()), code, "{body}");
        }
    }

    #[test]
    fn deep_nesting_is_harmless() {
        for (open, close) in [("[", "]"), ("{\"code\":", "}")] {
            let deep = |depth| {
                format!(
                    "{{\"ok\":false,\"error\":{}1{}}}",
                    open.repeat(depth),
                    close.repeat(depth)
                )
            };
            for depth in [1, 100, 100_000] {
                assert_eq!(
                    router(&deep(depth)),
                    Verdict::Answer(Code::RouterUnknown),
                    "{open} {depth}"
                );
            }
        }
    }

    fn json_value() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            any::<f64>().prop_map(Into::into),
            "(ok|false|internal|\\PC{0,8})".prop_map(Into::into),
        ];
        leaf.prop_recursive(4, 32, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Into::into),
                prop::collection::vec(("(ok|error|code|stream|seq|\\PC{0,4})", inner), 0..6)
                    .prop_map(|fields| serde_json::Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(body in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = (classify_router(&body), classify_opaque(&body), classify_stream(&body));
        }

        #[test]
        fn arbitrary_fragments_of_json_never_panic(body in "[ \\{\\}\\[\\]\":,a-z0-9\\\\]{0,64}") {
            let body = format!("{{{body}");
            let _ = (router(&body), classify_opaque(body.as_bytes()), classify_stream(body.as_bytes()));
        }

        #[test]
        fn ok_false_is_never_a_success(
            fields in prop::collection::vec(("(ok|error|code|stream|seq|\\PC{0,4})", json_value()), 0..6),
            place in 0_usize..7,
        ) {
            let mut members: Vec<String> = fields
                .iter()
                .map(|(name, value)| format!("{}:{value}", json!(name)))
                .collect();
            members.insert(place.min(members.len()), "\"ok\":false".to_owned());
            let verdict = router(&format!("{{{}}}", members.join(",")));
            let Verdict::Answer(code) = verdict else { panic!("taken for an acknowledgement") };
            prop_assert!(!code.is_success());
        }
    }
}
