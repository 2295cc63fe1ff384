//! What completes a request, and what does not.

use core::str::FromStr as _;
use core::time::Duration;

use async_nats::{HeaderMap, HeaderName, HeaderValue};
use bytes::Bytes;

use super::gateway::{Gateway, ONCE, PUBLISH, REQUEST, ROUTER, STREAM, create_stream, eventually};
use super::{start, start_with_streams};
use crate::bridge::{Admission, Code, Reply, Token};
use crate::clock::{Clock as _, System};

#[test]
fn a_request_comes_back_with_its_reply() {
    let (_server, peer, mut gateway) = start();
    peer.echo("t.request");
    let reply = gateway.call(REQUEST, b"ping");
    assert_eq!((reply.code, &reply.payload[..]), (Code::Ok, &b"ping"[..]));
    assert!(reply.headers.is_empty());
    gateway.end();
}

#[test]
fn headers_travel_both_ways_and_ours_only_where_they_belong() {
    let (_server, peer, mut gateway) = start();
    let answer = |client: async_nats::Client, message: async_nats::Message| async move {
        let headers = message.headers.unwrap_or_default();
        drop(
            client
                .publish_with_headers(message.reply.unwrap(), headers, Bytes::new())
                .await,
        );
    };
    peer.serve("t.*", answer);
    let names = |block: &[u8]| {
        let mut names: Vec<_> = ipc_ringbuf::headers::decode(block)
            .flatten()
            .map(|(name, _)| name.to_owned())
            .collect();
        names.sort();
        names
    };
    let mut block = Vec::new();
    ipc_ringbuf::headers::encode("trace_id", "abc", &mut block).unwrap();
    let mut request = gateway.request(REQUEST, &block);
    request.header_len = u32::try_from(block.len()).unwrap();
    let mut again = request.clone();
    gateway.send(request);
    assert_eq!(names(&gateway.reply().headers), ["trace_id"]);
    again.token = Token::new(0, 77, 1);
    again.route = ROUTER;
    again.tenant = Some("blue".into());
    gateway.send(again);
    let all = names(&gateway.reply().headers);
    assert!(all.contains(&"tenant_id".to_owned()) && all.contains(&"version".to_owned()));
}

/// A session always has the same connection.
const SESSION: u32 = 1;

/// A call of that session.
fn call(gateway: &mut Gateway, route: u16, payload: &[u8]) -> Reply {
    let mut request = gateway.request(route, payload);
    request.session = SESSION;
    let token = gateway.send(request);
    let reply = gateway.reply();
    assert_eq!(reply.token, token);
    reply
}

/// Answers a request with the subject of the answer; "never" and "twice" as they say.
async fn tell_subject(client: async_nats::Client, message: async_nats::Message) {
    let reply = message.reply.unwrap();
    if message.payload == "never" {
        return;
    }
    let body = Bytes::copy_from_slice(reply.as_bytes());
    let times = if message.payload == "twice" { 2 } else { 1 };
    for _ in 0..times {
        drop(client.publish(reply.clone(), body.clone()).await);
    }
}

#[test]
fn a_subject_is_used_again_where_each_request_is_answered_once() {
    let (_server, peer, mut gateway) = start();
    peer.serve("t.*", tell_subject);
    let first = call(&mut gateway, ONCE, b"x").payload;
    assert_eq!(call(&mut gateway, ONCE, b"x").payload, first);
    // One that waits for its answer keeps its subject.
    let mut waits = gateway.request(ONCE, b"never");
    waits.deadline = System.now().after(Duration::from_millis(50));
    waits.session = SESSION;
    let given_up = gateway.send(waits);
    let second = call(&mut gateway, ONCE, b"x").payload;
    assert_ne!(second, first);
    assert_eq!(call(&mut gateway, ONCE, b"x").payload, second);
    // Its answer comes too late, is counted, and frees the subject. The worker's part here is to
    // have given the place away.
    let subject = String::from_utf8(first.to_vec()).unwrap();
    drop(
        peer.runtime
            .block_on(peer.client.publish(subject, "late".into())),
    );
    let late = gateway.reply();
    assert_eq!((late.token, &late.payload[..]), (given_up, &b"late"[..]));
    assert_eq!(call(&mut gateway, ONCE, b"x").payload, first);
    // A second answer that comes while nobody waits on the subject is nobody's.
    call(&mut gateway, ONCE, b"twice");
    let metrics = std::sync::Arc::clone(&gateway.metrics);
    eventually(|| metrics.unmatched_duplicate.get() == 1);
    assert!(gateway.worker_reply_now().is_none());
    // Without the promise no two are the same.
    let own = call(&mut gateway, REQUEST, b"x").payload;
    assert_ne!(call(&mut gateway, REQUEST, b"x").payload, own);
    gateway.end();
}

#[test]
fn an_acknowledgement_of_a_stream_does_not_free_a_subject() {
    let (_server, peer, mut gateway) = start_with_streams();
    create_stream(&peer, "t.once");
    peer.serve("t.once", tell_subject);
    let first = call(&mut gateway, ONCE, b"x").payload;
    let mut waits = gateway.request(ONCE, b"never");
    waits.session = SESSION;
    let waiting = gateway.send(waits);
    // That of each request.
    let metrics = std::sync::Arc::clone(&gateway.metrics);
    let came = || metrics.pubacks_ignored.get() + metrics.unmatched_duplicate.get();
    eventually(|| came() == 2);
    assert_ne!(call(&mut gateway, ONCE, b"x").payload, first);
    let subject = String::from_utf8(first.to_vec()).unwrap();
    let publish = peer.client.publish(subject, "the answer".into());
    peer.runtime.block_on(publish).unwrap();
    let reply = gateway.reply();
    assert_eq!(
        (reply.token, &reply.payload[..]),
        (waiting, &b"the answer"[..])
    );
    gateway.end();
}

#[test]
fn that_nobody_listens_frees_a_subject_too() {
    let (_server, peer, mut gateway) = start();
    assert_eq!(call(&mut gateway, ONCE, b"x").code, Code::NoResponders);
    peer.serve("t.once", tell_subject);
    let first = call(&mut gateway, ONCE, b"x").payload;
    assert_eq!(call(&mut gateway, ONCE, b"x").payload, first);
    gateway.end();
}

#[test]
fn nobody_listening_is_told_at_once() {
    let (_server, _peer, mut gateway) = start();
    assert_eq!(gateway.call(REQUEST, b"x").code, Code::NoResponders);
    assert_eq!(gateway.metrics.no_responders.get(), 1);
}

#[test]
fn a_silent_responder_completes_nothing() {
    let (_server, peer, mut gateway) = start();
    peer.serve("t.request", |_, _| async {});
    gateway.submit(REQUEST, b"x");
    assert!(gateway.reply_within(Duration::from_millis(300)).is_none());
}

#[test]
fn duplicates_and_forged_replies_are_counted_and_dropped() {
    let (_server, peer, mut gateway) = start();
    peer.serve("t.request", |client, message| async move {
        let reply = message.reply.unwrap();
        for _ in 0..3 {
            drop(client.publish(reply.clone(), "x".into()).await);
        }
        let (inbox, suffix) = reply.rsplit_once('.').unwrap();
        // Of another kind, another number, another check: what a guess can hit at best.
        let changed = |at: usize| {
            let mut suffix = suffix.as_bytes().to_vec();
            suffix[at] = if suffix[at] == b'm' { b'r' } else { b'm' };
            String::from_utf8(suffix).unwrap()
        };
        let last = suffix.len() - 1;
        for suffix in ["zz".to_owned(), changed(0), changed(11), changed(last)] {
            drop(
                client
                    .publish(format!("{inbox}.{suffix}"), "x".into())
                    .await,
            );
        }
    });
    let token = gateway.submit(REQUEST, b"x");
    assert_eq!(gateway.reply().token, token);
    eventually(|| gateway.metrics.unmatched_duplicate.get() == 2);
    eventually(|| gateway.metrics.unmatched_forged.get() == 4);
    assert_eq!(gateway.metrics.unmatched_late.get(), 0);
    assert!(gateway.reply_within(Duration::from_millis(50)).is_none());
}

#[test]
fn a_puback_that_comes_first_is_not_the_answer() {
    let (_server, peer, mut gateway) = start_with_streams();
    create_stream(&peer, "t.request");
    peer.serve("t.request", |client, message| async move {
        // The stream's acknowledgement also goes to the reply subject, and may come first.
        tokio::time::sleep(Duration::from_millis(100)).await;
        if let Some(reply) = message.reply {
            drop(client.publish(reply, "answer".into()).await);
        }
    });
    let reply = gateway.call(REQUEST, b"x");
    assert_eq!((reply.code, &reply.payload[..]), (Code::Ok, &b"answer"[..]));
    assert_eq!(gateway.metrics.pubacks_ignored.get(), 1);
}

#[test]
fn a_stream_route_completes_when_it_is_stored() {
    let (_server, peer, mut gateway) = start_with_streams();
    assert_eq!(gateway.call(STREAM, b"x").code, Code::NoResponders);
    create_stream(&peer, "t.stream");
    assert_eq!(gateway.call(STREAM, b"x").code, Code::Stored);
}

#[test]
fn a_publish_route_completes_when_the_broker_has_it() {
    let (_server, peer, mut gateway) = start();
    let (sender, received) = std::sync::mpsc::channel();
    peer.serve("t.publish", move |_, message| {
        sender.send(message).unwrap();
        async {}
    });
    for _ in 0..1000 {
        gateway.submit(PUBLISH, b"x");
    }
    for _ in 0..1000 {
        assert_eq!(gateway.reply().code, Code::Sent);
    }
    let messages: Vec<_> = received.iter().take(1000).collect();
    assert!(messages.iter().all(|message| message.reply.is_none()));
}

#[test]
fn a_router_error_is_an_answer_with_its_code() {
    let (_server, peer, mut gateway) = start();
    peer.echo("t.router");
    let error = br#"{"ok":false,"error":{"code":"policy_not_found","message":"m"}}"#;
    let reply = gateway.call(ROUTER, error);
    assert_eq!(reply.code, Code::RouterPolicyNotFound);
    assert_eq!(&reply.payload[..], error);
}

#[test]
fn a_bomb_of_headers_leaves_the_connection_up() {
    let (_server, peer, mut gateway) = start();
    peer.serve("t.request", |client, message| async move {
        let mut bomb = HeaderMap::new();
        for number in 0..2000 {
            let name = HeaderName::from_str(&format!("h{number}")).unwrap();
            bomb.append(name, HeaderValue::from_str(&"v".repeat(100)).unwrap());
        }
        let reply = message.reply.unwrap();
        drop(
            client
                .publish_with_headers(reply, bomb, message.payload)
                .await,
        );
    });
    for _ in 0..3 {
        assert_eq!(gateway.call(REQUEST, b"x").code, Code::Ok);
    }
    assert!(gateway.metrics.reply_headers_dropped.get() > 0);
    assert_eq!(gateway.metrics.disconnects.get(), 0);
}

#[test]
fn more_than_the_server_takes_is_rejected_and_costs_no_connection() {
    let (_server, peer, mut gateway) = start();
    peer.echo("t.request");
    let limit = 1 << 20;
    assert_eq!(
        gateway.call(REQUEST, &vec![0; limit + 1]).code,
        Code::TooLarge
    );
    assert_eq!(gateway.call(REQUEST, &vec![0; limit]).code, Code::Ok);
    assert_eq!(gateway.metrics.disconnects.get(), 0);
}

#[test]
fn pushed_backpressure_closes_the_route_and_opens_it_again() {
    let (_server, peer, gateway) = start();
    let subject = "beamline.router.v2.status.backpressure";
    let push = |body: &'static str| {
        let sent = peer.client.publish(subject, body.into());
        peer.runtime.block_on(sent).unwrap();
    };
    push(r#"{"type":"backpressure_status","status":"active","retry_after_seconds":60}"#);
    let retry_after_ms = 60_000;
    eventually(|| gateway.admissions.of(0) == Admission::Closed { retry_after_ms });
    push(r#"{"type":"backpressure_status","status":"inactive"}"#);
    eventually(|| gateway.admissions.of(0) == Admission::Open);
}
