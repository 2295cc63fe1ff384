//! From a message on the reply inbox to the reply that completes a request.

use async_nats::{HeaderMap, Message, StatusCode};
use bytes::Bytes;

use crate::bridge::{Code, Reply, Token, headers};
use crate::metrics::nats::NatsMetrics;
use crate::route::{Route, RouteKind};
use crate::router_contract::{self, Verdict};

/// Most bytes of a header block on its way back; the limit that submissions have too.
const MAX_HEADER_BYTES: usize = 8 * 1024;

/// The reply that a message makes, or `None` when the request goes on waiting.
pub(super) fn reply(
    token: Token,
    route: &Route,
    message: Message,
    metrics: &NatsMetrics,
) -> Option<Reply> {
    if message.status == Some(StatusCode::NO_RESPONDERS) && message.payload.is_empty() {
        return Some(Reply::bare(token, Code::NoResponders));
    }
    let headers = message
        .headers
        .as_ref()
        .map_or_else(Bytes::new, |map| flatten(map, metrics));
    let size = headers.len().saturating_add(message.payload.len());
    if u32::try_from(size).is_ok_and(|size| size <= route.max_reply) {
        match judge(route, &message.payload) {
            Verdict::PubAck => {
                metrics.pubacks_ignored.increment();
                None
            }
            Verdict::Answer(code) => Some(Reply {
                token,
                code,
                headers,
                payload: message.payload,
                retry_after_ms: 0,
                times: None,
            }),
        }
    } else {
        metrics.replies_too_large.increment();
        Some(Reply::too_large(token, size as u64))
    }
}

/// What a body means on a route of this kind.
fn judge(route: &Route, body: &[u8]) -> Verdict {
    match route.kind {
        RouteKind::Request => router_contract::classify(route.contract, body),
        RouteKind::Stream => Verdict::Answer(router_contract::classify_stream(body)),
        RouteKind::Publish => Verdict::Answer(Code::Sent),
    }
}

/// The header block of a reply. Headers that break the rules of a block are left out and counted.
fn flatten(map: &HeaderMap, metrics: &NatsMetrics) -> Bytes {
    let mut block = Vec::new();
    let mut count = 0;
    for (name, values) in map.iter() {
        for value in values {
            let before = block.len();
            let fits = count < headers::MAX_HEADERS
                && headers::encode(name.as_ref(), value.as_str(), &mut block).is_ok();
            if fits && block.len() <= MAX_HEADER_BYTES {
                count += 1;
            } else {
                block.truncate(before);
                metrics.reply_headers_dropped.increment();
            }
        }
    }
    block.into()
}

#[cfg(test)]
mod tests {
    use core::str::FromStr;

    use async_nats::{HeaderName, HeaderValue};

    use super::*;

    fn message(payload: &'static [u8], headers: Option<HeaderMap>) -> Message {
        Message {
            subject: "s".into(),
            reply: None,
            payload: Bytes::from_static(payload),
            headers,
            status: None,
            description: None,
            length: 0,
        }
    }

    #[test]
    fn headers_that_break_the_rules_are_left_out() {
        let metrics = NatsMetrics::default();
        let mut map = HeaderMap::new();
        let long = "v".repeat(5000);
        for (name, value) in [
            ("ok", "fine"),
            ("a!b", "x"),
            ("tab", "a\tb"),
            ("long", &long),
        ] {
            let value = HeaderValue::from_str(value).unwrap();
            map.append(HeaderName::from_str(name).unwrap(), value);
        }
        let block = flatten(&map, &metrics);
        let back: Vec<_> = headers::decode(&block).flatten().collect();
        assert_eq!(back, [("ok", "fine")]);
        assert_eq!(metrics.reply_headers_dropped.get(), 3);
    }

    #[test]
    fn more_headers_than_a_block_may_have_are_cut() {
        let metrics = NatsMetrics::default();
        let mut map = HeaderMap::new();
        for number in 0..200 {
            let name = HeaderName::from_str(&format!("h{number}")).unwrap();
            map.append(name, HeaderValue::from_str(&"v".repeat(1000)).unwrap());
        }
        let block = flatten(&map, &metrics);
        assert!(block.len() <= MAX_HEADER_BYTES);
        assert!(headers::decode(&block).all(|header| header.is_ok()));
        assert!(metrics.reply_headers_dropped.get() > 100);
    }

    #[test]
    fn a_reply_larger_than_its_route_allows_is_no_reply() {
        let metrics = NatsMetrics::default();
        let mut route = Route::decide();
        route.max_reply = 3;
        let token = Token::from_bits(1);
        let code = |payload| {
            reply(token, &route, message(payload, None), &metrics).map(|reply| reply.code)
        };
        assert_eq!(code(b"123"), Some(Code::Ok));
        assert_eq!(code(b"1234"), Some(Code::BadReply));
    }
}
