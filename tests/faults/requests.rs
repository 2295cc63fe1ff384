//! Faults 22, 23, 25, 26 and 28: bad input of every kind, through the real gateway and a real server: each request completes with
//! the documented code, and the connections to NATS stay as they were.

use std::time::Duration;

use ipc_ringbuf::client::RouteRef;
use ipc_ringbuf::entry::{MAX_HEADER_BYTES, Sqe};
use ipc_ringbuf::headers::{HeaderError, MAX_HEADERS, MAX_NAME_BYTES, MAX_VALUE_BYTES};
use ipc_ringbuf::{CallError, Client, ClientBuilder, Code, Outcome, Request};

use crate::support::eventually;
use crate::support::gateway::{Gateway, attach_with, connected_as};
use crate::support::raw::{RawClient, call};
use crate::support::router::Router;
use crate::support::server::Server;

/// What a server takes when nobody says otherwise.
const MAX_PAYLOAD: usize = 1024 * 1024;

/// Number 0 is `decide`.
const ECHO: u16 = 1;
const ROUTES: &str = r#"
[[route]]
name = "echo"
subject = "test.echo"
max_timeout = "500ms"

[[route]]
name = "others"
subject = "test.echo"
allow_uids = [4242]
"#;

/// A gateway with its server and a Router that answers with what it was sent.
struct Path {
    server: Server,
    gateway: Gateway,
    _router: Router,
}

/// Connections to the server: two of the gateway, one of the Router.
const CONNECTIONS: usize = 3;

fn all_connected(server: &Server) {
    eventually("all have connected", || server.connections() == CONNECTIONS);
}

impl Path {
    fn start() -> Self {
        Self::with(Server::with(&["-D"]), ROUTES)
    }

    fn with(server: Server, config: &str) -> Self {
        let gateway = connected_as(config, &server);
        let flags = ["--echo", "--subject", "test.echo", "--subject", DECIDE];
        let router = Router::start(&server, &flags);
        all_connected(&server);
        Self {
            server,
            gateway,
            _router: router,
        }
    }

    fn client(&self) -> Client {
        let room = u32::try_from(2 * MAX_PAYLOAD).unwrap();
        let builder = ClientBuilder::new().entries(2).message_size(room);
        attach_with(&self.gateway, builder)
    }

    /// The connections are those that there were at the start, and requests go through them.
    fn assert_untouched(&self) {
        let mut client = self.client();
        let reply = client.call(Request::to("echo").payload("still there"));
        assert_eq!(reply.unwrap().payload(), b"still there");
        let log = self.server.log();
        assert_eq!(self.server.connections(), CONNECTIONS, "{log}");
        assert!(!log.contains("Client connection closed"), "{log}");
    }
}

const DECIDE: &str = "beamline.router.v1.decide";

/// Time for the largest payload on a busy machine; as many digits of milliseconds while it passes.
const PATIENCE: Duration = Duration::from_millis(9999);

/// The codes of payloads of the largest allowed size, and of one byte less and more.
fn around(client: &mut Client, request: &Request<'_>, largest: usize) -> [Code; 3] {
    [largest - 1, largest, largest + 1].map(|bytes| {
        let payload = vec![b'x'; bytes];
        let request = request.clone().payload(&payload).timeout(PATIENCE);
        let completion = client.call(request).unwrap();
        if completion.code() == Code::Ok {
            assert_eq!(completion.payload(), payload);
        }
        completion.code()
    })
}

#[test]
fn f22_payloads_up_to_the_servers_limit_pass_and_larger_ones_are_rejected() {
    let path = Path::start();
    let mut client = path.client();
    let expected = [Code::Ok, Code::Ok, Code::TooLarge];
    let request = Request::to("echo");
    assert_eq!(around(&mut client, &request, MAX_PAYLOAD), expected);
    // With headers the gateway keeps 256 bytes, besides their own, for what NATS adds.
    let request = request.header("k", "v");
    let largest = MAX_PAYLOAD - (4 + 2) - 256;
    assert_eq!(around(&mut client, &request, largest), expected);
    // On a route of the Router's contract the gateway adds headers of its own.
    let added = "NATS/1.0\r\nversion: 1\r\nipcgw-deadline-ms: 9000\r\n\r\n".len();
    let request = Request::to("decide");
    assert_eq!(around(&mut client, &request, MAX_PAYLOAD - added), expected);
    path.assert_untouched();
}

#[test]
fn f22_payloads_larger_than_a_block_are_refused_before_they_are_sent() {
    let path = Path::start();
    let mut client = attach_with(&path.gateway, ClientBuilder::new().message_size(64));
    let refused = client.call(Request::to("echo").payload(&[0; 65])).err();
    assert_eq!(refused, Some(CallError::TooLarge { limit: 64 }));
    let mut raw = RawClient::attach(&path.gateway.socket, 64);
    for (header_len, payload_len) in [(0, 65), (1, 64), (0, u32::MAX), (64, u32::MAX)] {
        let sqe = Sqe {
            header_len,
            payload_len,
            ..call(ECHO)
        };
        let completion = raw.exchange(&sqe.to_words(), &[]);
        assert_eq!(completion.code, Code::TooLarge);
    }
    path.assert_untouched();
}

#[test]
fn f22_a_limit_that_shrinks_with_a_restart_holds_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("nats.conf");
    let limit = |bytes: usize| std::fs::write(&config, format!("max_payload: {bytes}\n")).unwrap();
    limit(65_536);
    let server = Server::with(&["-D", "-c", config.to_str().unwrap()]);
    let mut path = Path::with(server, ROUTES);
    let mut client = path.client();
    let expected = [Code::Ok, Code::Ok, Code::TooLarge];
    assert_eq!(around(&mut client, &Request::to("echo"), 65_536), expected);
    path.server.kill();
    limit(1024);
    path.server.restart();
    eventually("requests pass again", || {
        client.call(Request::to("echo")).unwrap().code() == Code::Ok
    });
    all_connected(&path.server);
    assert_eq!(around(&mut client, &Request::to("echo"), 1024), expected);
    path.assert_untouched();
}

#[test]
fn f23_routes_that_do_not_exist_or_are_not_for_this_user_are_rejected() {
    let path = Path::start();
    let mut client = path.client();
    let unknown = client.call(Request::to("nowhere")).err();
    assert_eq!(unknown, Some(CallError::UnknownRoute));
    for number in (3..=u16::MAX).step_by(331).chain([u16::MAX]) {
        let completion = client.call(Request::to(RouteRef::Number(number))).unwrap();
        assert_eq!(completion.code(), Code::BadRoute);
        assert_eq!(completion.outcome(), Outcome::Rejected);
    }
    let forbidden = client.call(Request::to("others")).unwrap();
    assert_eq!(forbidden.code(), Code::Forbidden);
    assert_eq!(forbidden.outcome(), Outcome::Rejected);
    path.assert_untouched();
}

/// A header block as a forger writes it: nothing is checked.
fn forged(list: &[(&[u8], &[u8])]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in list {
        for len in [name.len(), value.len()] {
            block.extend_from_slice(&u16::try_from(len).unwrap().to_le_bytes());
        }
        block.extend_from_slice(name);
        block.extend_from_slice(value);
    }
    block
}

#[test]
fn f25_headers_that_would_break_the_line_are_rejected() {
    let path = Path::start();
    let mut raw = RawClient::attach(&path.gateway.socket, 64 * 1024);
    let injections: [(&[u8], &[u8]); 18] = [
        (b"x", b"a\r\nevil: 1"),
        (b"x", b"a\nb"),
        (b"x", b"a\rb"),
        (b"x", b"a\0b"),
        (b"x", b"\x7f"),
        (b"x", b"\xff\xfe"),
        (b"x\r\nevil", b"1"),
        (b"x\0", b"1"),
        (b"x:y", b"1"),
        (b"x y", b"1"),
        (b"\xc3\xa4", b"1"),
        (b"", b"1"),
        (&[b'n'; MAX_NAME_BYTES + 1], b"1"),
        (b"x", &[b'v'; MAX_VALUE_BYTES + 1]),
        (b"Nats-Expected-Stream", b"S"),
        (b"nats-msg-id", b"1"),
        (b"ipcgw-deadline-ms", b"1"),
        (b"IPCGW-x", b"1"),
    ];
    for header in injections {
        let block = forged(&[(b"good", b"1"), header]);
        let code = raw.code_of(ECHO, &block);
        assert_eq!(code, Code::BadHeader, "{}", block.escape_ascii());
    }
    // Every cut of a good block.
    let good = forged(&[(b"name", b"value")]);
    for end in 1..good.len() {
        assert_eq!(raw.code_of(ECHO, &good[..end]), Code::BadHeader, "{end}");
    }
    assert_eq!(raw.code_of(ECHO, &good), Code::Ok);
    assert_eq!(
        raw.code_of(ECHO, &forged(&[(b"Nats-Msg-Id", b"1")])),
        Code::Ok
    );
    path.assert_untouched();
}

#[test]
fn f25_too_many_and_too_long_headers_are_rejected() {
    let path = Path::start();
    let mut raw = RawClient::attach(&path.gateway.socket, 64 * 1024);
    let many = |count| forged(&vec![(&b"n"[..], &b"v"[..]); count]);
    assert_eq!(raw.code_of(ECHO, &many(MAX_HEADERS)), Code::Ok);
    assert_eq!(raw.code_of(ECHO, &many(MAX_HEADERS + 1)), Code::BadHeader);
    // Two headers that fill the block to the byte, and one byte more.
    let long = |bytes: usize| {
        let rest = bytes - 2 * 4 - 2 - MAX_VALUE_BYTES;
        let value = [b'v'; MAX_VALUE_BYTES];
        forged(&[(b"a", &value), (b"b", &value[..rest])])
    };
    let most = MAX_HEADER_BYTES as usize;
    assert_eq!(raw.code_of(ECHO, &long(most)), Code::Ok);
    let sqe = Sqe {
        header_len: MAX_HEADER_BYTES + 1,
        ..call(ECHO)
    };
    assert_eq!(raw.exchange(&sqe.to_words(), &[]).code, Code::BadHeader);
    path.assert_untouched();
}

#[test]
fn f25_the_client_library_refuses_what_the_gateway_would_reject() {
    let path = Path::start();
    let mut client = path.client();
    for (name, value, fault) in [
        ("x", "a\r\nevil: 1", HeaderError::Value),
        ("x", "a\0", HeaderError::Value),
        ("x:y", "1", HeaderError::Name),
        ("", "1", HeaderError::Name),
    ] {
        let refused = client.call(Request::to("echo").header(name, value)).err();
        assert_eq!(refused, Some(CallError::BadHeader(fault)));
    }
    let many = (0..=MAX_HEADERS).fold(Request::to("echo"), |request, _| request.header("n", "v"));
    assert_eq!(client.call(many).unwrap().code(), Code::BadHeader);
    path.assert_untouched();
}

#[test]
fn f26_payloads_pass_byte_for_byte_whatever_they_are() {
    let path = Path::start();
    let mut client = path.client();
    let all: Vec<u8> = (0..=255).collect();
    let deep = b"[".repeat(200_000);
    let object = [
        b"{\"a\":".repeat(50_000),
        b"1".to_vec(),
        b"}".repeat(50_000),
    ]
    .concat();
    let payloads: [&[u8]; 9] = [
        b"",
        b"\0",
        &all,
        b"\xff\xfe\xc0\x80\xed\xa0\x80",
        b"{\"ok\":true}\r\nPUB $SYS.x 2\r\nhi\r\n",
        b"MSG x 1 0\r\n\r\n-ERR 'no'\r\n",
        &deep,
        &object,
        b"{\"ok\":true,\"ok\":false}",
    ];
    for payload in payloads {
        for route in ["echo", "decide"] {
            let reply = client.call(Request::to(route).payload(payload)).unwrap();
            let shown = payload[..payload.len().min(40)].escape_ascii();
            assert_eq!(reply.outcome(), Outcome::Answered, "{route} {shown}");
            assert!(reply.payload() == payload, "{route} {shown}");
        }
    }
    path.assert_untouched();
}

#[test]
fn f28_absurd_deadlines_are_cut_to_what_the_route_allows() {
    let config = r#"
        [[route]]
        name = "silent"
        subject = "test.silent"
        timeout = "150ms"
        max_timeout = "400ms"
    "#;
    let server = Server::with(&["-D"]);
    let gateway = connected_as(config, &server);
    let flags = ["--silent-rate", "1", "--subject", "test.silent"];
    let _router = Router::start(&server, &flags);
    all_connected(&server);
    let mut raw = RawClient::attach(&gateway.socket, 64);
    for (timeout_ns, expected) in [(0, 150), (u64::MAX, 400), (u64::MAX / 2, 400), (1, 1)] {
        let sqe = Sqe {
            timeout_ns,
            // A claim that cannot be: it must only spoil the timings.
            submitted_ns: u64::MAX,
            ..call(1)
        };
        let completion = raw.exchange(&sqe.to_words(), &[]);
        let took = Duration::from_nanos(completion.upstream_ns);
        let expected = Duration::from_millis(expected);
        let late = expected + Duration::from_millis(200);
        assert!((expected..late).contains(&took), "{timeout_ns}: {took:?}");
        // A millisecond can pass before the request is sent.
        let unsent = timeout_ns == 1 && completion.code == Code::ExpiredUnsent;
        assert!(completion.code == Code::Timeout || unsent, "{timeout_ns}");
        assert_eq!(completion.ring_wait_ns, 0);
    }
    assert_eq!(server.connections(), CONNECTIONS);
}
