//! Servers that die, hang, refuse, and come back.

use core::time::Duration;
use std::io::{BufRead as _, BufReader, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use super::gateway::{
    Gateway, PUBLISH, Peer, REQUEST, ROUTER, STREAM, create_stream, eventually, settings,
};
use super::server::Server;
use super::start;
use crate::bridge::{Code, Outcome};
use crate::clock::{Clock as _, System};
use crate::settings::{NatsAuth, NatsSettings, Secret};

#[test]
fn a_thousand_requests_on_a_server_that_is_killed_are_lost_at_once() {
    let (mut server, peer, mut gateway) = start();
    peer.serve("t.request", |_, _| async {});
    for _ in 0..1000 {
        gateway.submit(REQUEST, b"x");
    }
    eventually(|| gateway.metrics.published.get() == 1000);
    server.kill();
    let killed = Instant::now();
    for _ in 0..1000 {
        let reply = gateway.reply();
        assert_eq!(reply.code, Code::UpstreamLost);
    }
    let took = killed.elapsed();
    assert!(took < Duration::from_millis(200), "{took:?}");
    assert!(gateway.reply_within(Duration::from_millis(50)).is_none());
}

#[test]
fn nothing_stale_is_delivered_after_a_restart() {
    let (mut server, peer, mut gateway) = start();
    peer.serve("t.*", |_, _| async {});
    // A server that does not read: the socket fills, then the connection's room, then the queue.
    server.pause();
    let payload = vec![0; 8192];
    let mut rejected = 0;
    for _ in 0..4000 {
        gateway.submit(REQUEST, &payload);
        gateway.submit(PUBLISH, &payload);
    }
    eventually(|| gateway.metrics.held.get() > 0);
    server.kill();
    for _ in 0..8000 {
        let code = gateway.reply().code;
        assert_ne!(code.outcome(), Outcome::Answered, "{code}");
        rejected += u32::from(code.outcome() == Outcome::Rejected);
    }
    assert!(rejected > 0);
    drop(peer);
    server.restart();
    let restarted = Instant::now();
    let peer = Peer::connect(&server.url());
    let stale = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&stale);
    peer.serve("t.>", move |client, message| {
        let is_new = message.payload.len() < 8192;
        if !is_new {
            seen.fetch_add(1, Ordering::Relaxed);
        }
        async move {
            if let Some(reply) = message.reply.filter(|_| is_new) {
                drop(client.publish(reply, message.payload).await);
            }
        }
    });
    eventually(|| gateway.health.connected() == gateway.health.configured());
    assert_eq!(gateway.call(REQUEST, b"new").code, Code::Ok);
    let took = restarted.elapsed();
    assert!(took < Duration::from_secs(2), "{took:?}");
    // What was published before this on any connection would have come before its echo.
    for _ in 0..gateway.health.configured() {
        assert_eq!(gateway.call(REQUEST, b"new").code, Code::Ok);
    }
    assert_eq!(stale.load(Ordering::Relaxed), 0);
    assert_eq!(gateway.metrics.answers_refused.get(), 0);
}

#[test]
fn a_server_that_hangs_is_given_up_and_replaced() {
    let server = Server::start();
    let spare = Server::start();
    let mut settings = settings(&server.url());
    settings.urls.push(spare.url());
    settings.ping_interval = Duration::from_millis(100);
    settings.connections = 1;
    let mut gateway = Gateway::start(settings);
    let peer = Peer::connect(&spare.url());
    peer.echo("t.request");
    server.pause();
    eventually(|| gateway.metrics.connects.get() == 2);
    assert_eq!(gateway.call(REQUEST, b"x").code, Code::Ok);
    server.signal("-CONT");
}

#[test]
fn without_a_connection_requests_are_rejected_soon_or_sent_when_one_comes() {
    let (mut server, _peer, mut gateway) = start();
    server.kill();
    eventually(|| gateway.health.connected() == 0);
    let began = Instant::now();
    assert_eq!(gateway.call(REQUEST, b"x").code, Code::UpstreamDown);
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(200), "{took:?}");
    assert!(took < Duration::from_millis(400), "{took:?}");
    let mut request = gateway.request(REQUEST, b"x");
    request.deadline = System.now().after(Duration::from_millis(20));
    gateway.send(request);
    assert_eq!(gateway.reply().code, Code::ExpiredUnsent);
}

#[test]
fn a_request_waits_for_a_connection_within_its_patience() {
    let server = Server::start();
    let peer = Peer::connect(&server.url());
    peer.echo("t.request");
    let mut gateway = Gateway::start_unconnected(settings(&server.url()));
    assert_eq!(gateway.call(REQUEST, b"early").code, Code::Ok);
}

#[test]
fn wrong_credentials_are_explained_without_the_secret() {
    let server = Server::with(&["--user", "gw", "--pass", "right"]);
    let password = Secret::new("wr0ng-passw0rd".to_owned());
    let user = "gw".to_owned();
    let mut gateway = Gateway::start_unconnected(NatsSettings {
        auth: NatsAuth::Password { user, password },
        ..settings(&server.url())
    });
    eventually(|| gateway.health.last_error().is_some());
    let text = gateway.health.last_error().unwrap();
    assert!(text.contains("authorization violation"), "{text}");
    assert!(!text.contains("wr0ng"), "{text}");
    assert_eq!(gateway.call(REQUEST, b"x").code, Code::UpstreamDown);
    gateway.end();
}

#[test]
fn the_right_credentials_connect() {
    let server = Server::with(&["--user", "gw", "--pass", "right"]);
    let (user, password) = ("gw".to_owned(), Secret::new("right".to_owned()));
    let mut gateway = Gateway::start(NatsSettings {
        auth: NatsAuth::Password { user, password },
        ..settings(&server.url())
    });
    assert_eq!(gateway.call(REQUEST, b"x").code, Code::NoResponders);
}

#[test]
fn a_subject_that_the_server_refuses_is_forbidden() {
    let server = Server::configured(
        r#"authorization { users = [ { user: gw, password: pw,
            permissions: { publish: { deny: ["t.request", "t.publish"] } } } ] }"#,
    );
    let (user, password) = ("gw".to_owned(), Secret::new("pw".to_owned()));
    let mut gateway = Gateway::start(NatsSettings {
        auth: NatsAuth::Password { user, password },
        ..settings(&server.url())
    });
    assert_eq!(gateway.call(REQUEST, b"x").code, Code::Forbidden);
    assert_eq!(gateway.call(PUBLISH, b"x").code, Code::Forbidden);
    assert_eq!(gateway.metrics.errors_permission.get(), 2);
    assert_eq!(gateway.metrics.disconnects.get(), 0);
}

#[test]
fn a_lame_duck_is_left_before_it_dies() {
    let server = Server::start();
    let spare = Server::start();
    let mut settings = settings(&server.url());
    settings.urls.push(spare.url());
    settings.connections = 1;
    let mut gateway = Gateway::start(settings);
    let peer = Peer::connect(&spare.url());
    peer.echo("t.request");
    // nats-server takes SIGUSR2 as the request to enter lame duck mode.
    server.signal("-USR2");
    eventually(|| gateway.metrics.connects.get() == 2);
    assert_eq!(gateway.call(REQUEST, b"x").code, Code::Ok);
    assert_eq!(gateway.metrics.disconnects.get(), 0);
}

#[test]
fn stopping_completes_what_is_outstanding_first() {
    let (_server, peer, mut gateway) = start();
    peer.serve("t.request", |client, message| async move {
        tokio::time::sleep(Duration::from_millis(200)).await;
        drop(client.publish(message.reply.unwrap(), "done".into()).await);
    });
    gateway.submit(REQUEST, b"x");
    gateway.end();
    let reply = gateway.worker_reply_now();
    assert_eq!(reply.map(|reply| reply.code), Some(Code::Ok));
}

#[test]
fn an_idempotent_request_is_sent_again_when_its_server_comes_back() {
    let mut server = Server::with(&["-js"]);
    let peer = Peer::connect(&server.url());
    create_stream(&peer, "t.stream");
    let mut gateway = Gateway::start(NatsSettings {
        fail_fast: Duration::from_secs(5),
        ..settings(&server.url())
    });
    server.pause();
    let mut request = gateway.request(STREAM, b"x");
    request.idempotent = true;
    gateway.send(request);
    eventually(|| gateway.metrics.published.get() == 1);
    server.kill();
    server.restart();
    assert_eq!(gateway.reply().code, Code::Stored);
    // Twice when the first went to the connection whose end was not known yet.
    assert!((1..=2).contains(&gateway.metrics.resent.get()));
}

#[test]
fn a_request_that_was_lost_and_cannot_be_sent_again_stays_lost() {
    let (mut server, peer, mut gateway) = start();
    peer.serve("t.request", |_, _| async {});
    let mut request = gateway.request(REQUEST, b"x");
    request.idempotent = true;
    gateway.send(request);
    eventually(|| gateway.metrics.published.get() == 1);
    server.kill();
    assert_eq!(gateway.reply().code, Code::UpstreamLost);
    assert_eq!(gateway.metrics.resent.get(), 1);
    assert_eq!(gateway.metrics.published.get(), 1);
}

#[test]
fn an_idempotent_request_that_finds_nobody_is_tried_three_times() {
    let (_server, _peer, mut gateway) = start();
    let mut request = gateway.request(REQUEST, b"x");
    request.idempotent = true;
    gateway.send(request);
    assert_eq!(gateway.reply().code, Code::NoResponders);
    assert_eq!(gateway.metrics.published.get(), 3);
}

/// A responder whose replies have a header block that is none.
struct Poisoner {
    socket: std::net::TcpStream,
    lines: std::io::Lines<BufReader<std::net::TcpStream>>,
}

impl Poisoner {
    fn connect(server: &Server, subject: &str) -> Self {
        let mut socket = std::net::TcpStream::connect(server.address()).unwrap();
        let hello = format!(
            "CONNECT {{\"verbose\":false,\"headers\":true}}\r\nSUB {subject} 1\r\nPING\r\n"
        );
        socket.write_all(hello.as_bytes()).unwrap();
        let mut lines = BufReader::new(socket.try_clone().unwrap()).lines();
        assert!(lines.by_ref().flatten().any(|line| line == "PONG"));
        Self { socket, lines }
    }

    /// Answers the next request. The server hands the block on.
    fn answer(&mut self) {
        let is_message = |line: &String| line.starts_with("MSG");
        let message = self.lines.by_ref().flatten().find(is_message).unwrap();
        let inbox = message.split(' ').nth(3).unwrap();
        let reply = format!("HPUB {inbox} 5 6\r\nABCDEx\r\n");
        self.socket.write_all(reply.as_bytes()).unwrap();
    }
}

#[test]
fn a_reply_that_cannot_be_read_costs_its_request_only() {
    let (server, peer, mut gateway) = start();
    let mut poisoner = Poisoner::connect(&server, "t.request");
    peer.serve("t.stream", |_, _| async {});
    peer.echo("t.router");
    let innocent = gateway.submit(STREAM, b"waits");
    for round in 1..=3 {
        let guilty = gateway.submit(REQUEST, b"x");
        poisoner.answer();
        let reply = gateway.reply();
        assert_eq!((reply.token, reply.code), (guilty, Code::BadReply));
        let named = gateway.metrics.protocol_errors.with(&[]);
        assert_eq!(named, [("request".to_owned(), round)]);
        assert_eq!(gateway.call(ROUTER, b"x").code, Code::Ok);
    }
    assert_eq!(gateway.metrics.disconnects.get(), 0);
    assert_eq!(
        gateway
            .reply_within(Duration::from_millis(50))
            .map(|reply| reply.token),
        None
    );
    drop((innocent, server));
}
