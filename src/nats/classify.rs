//! From a message on the reply inbox to the reply that completes a request.

use bytes::Bytes;

use super::wire::{Block, Malformed, Message};
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
    if message.is_no_responders() {
        return Some(Reply::bare(token, Code::NoResponders));
    }
    let headers = match flatten(&message.headers, metrics) {
        Ok(headers) => headers,
        Err(error) => {
            unreadable(route, error, metrics);
            return Some(Reply::bare(token, Code::BadReply));
        }
    };
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

/// The header block of a reply, as clients read it. Headers that break the rules of a block are left
/// out and counted.
fn flatten(came: &[u8], metrics: &NatsMetrics) -> Result<Bytes, Malformed> {
    if came.is_empty() {
        return Ok(Bytes::new());
    }
    let mut block = Vec::new();
    let mut count = 0;
    for header in Block::read(came)?.headers() {
        let (name, value) = header?;
        let before = block.len();
        let fits = count < headers::MAX_HEADERS && headers::encode(name, value, &mut block).is_ok();
        if fits && block.len() <= MAX_HEADER_BYTES {
            count += 1;
        } else {
            block.truncate(before);
            metrics.reply_headers_dropped.increment();
        }
    }
    Ok(block.into())
}

/// Counts a reply that cannot be read, and says so the first time and at each doubling.
#[cold]
fn unreadable(route: &Route, error: Malformed, metrics: &NatsMetrics) {
    let count = metrics.protocol_errors.increment(&route.name);
    if count.is_power_of_two() {
        tracing::warn!(
            route = %route.name,
            %error,
            count,
            "the header block of a reply cannot be read: the responder of this route sends \
             malformed headers"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(payload: &'static [u8], headers: &'static str) -> Message {
        Message {
            headers: headers.into(),
            payload: Bytes::from_static(payload),
        }
    }

    #[test]
    fn headers_that_break_the_rules_are_left_out() {
        let metrics = NatsMetrics::default();
        let long = "v".repeat(5000);
        let came = format!(
            "NATS/1.0\r\nok: fine\r\na!b: x\r\ntab: a\tb\r\nlong: {long}\r\nnext: a\r\n b\r\n\r\n"
        );
        let block = flatten(came.as_bytes(), &metrics).unwrap();
        let back: Vec<_> = headers::decode(&block).flatten().collect();
        assert_eq!(back, [("ok", "fine")]);
        assert_eq!(metrics.reply_headers_dropped.get(), 4);
    }

    #[test]
    fn more_headers_than_a_block_may_have_are_cut() {
        let metrics = NatsMetrics::default();
        let value = "v".repeat(1000);
        let lines = (0..200).map(|number| format!("h{number}: {value}\r\n"));
        let came = format!("NATS/1.0\r\n{}\r\n", lines.collect::<String>());
        let block = flatten(came.as_bytes(), &metrics).unwrap();
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
        let code =
            |payload| reply(token, &route, message(payload, ""), &metrics).map(|reply| reply.code);
        assert_eq!(code(b"123"), Some(Code::Ok));
        assert_eq!(code(b"1234"), Some(Code::BadReply));
    }

    #[test]
    fn a_reply_whose_headers_cannot_be_read_is_no_reply_and_counts_for_its_route() {
        let metrics = NatsMetrics::default();
        let route = Route::decide();
        let token = Token::from_bits(1);
        let code =
            |headers| reply(token, &route, message(b"x", headers), &metrics).map(|it| it.code);
        for headers in ["ABCDE", "NATS/1.0\r\nno colon\r\n\r\n"] {
            assert_eq!(code(headers), Some(Code::BadReply));
        }
        assert_eq!(code("NATS/1.0\r\na: b\r\n\r\n"), Some(Code::Ok));
        let expected = [(route.name.clone(), 2)];
        assert_eq!(metrics.protocol_errors.with(&[]), expected);
    }
}
