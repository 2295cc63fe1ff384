//! The control room: ends, quotas, readiness, what is counted, clients that say nothing.

use std::collections::HashMap;
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ipc_ringbuf::{
    AttachError, Client, ClientBuilder, Code, EndReason, Outcome, Request, SubmitError,
};

use crate::support::admin::{get, metric};
use crate::support::gateway::{Gateway, attach, connected, connected_as, start, start_configured};
use crate::support::raw::RawClient;
use crate::support::router::Router;
use crate::support::server::Server;
use crate::support::{SOON, decide, eventually, signal};

/// Submits so many requests with marks from `first`.
fn submit(client: &mut Client, first: u64, count: u64) {
    for mark in first..first + count {
        let body = decide(&mark.to_string(), 256);
        let request = Request::to("decide").payload(&body).user_data(mark);
        client.submit(request).unwrap();
    }
    client.flush();
}

/// Takes so many completions; returns how many there were of each code.
fn take(client: &mut Client, count: u64) -> HashMap<Code, u64> {
    let mut codes = HashMap::new();
    for _ in 0..count {
        let completion = client.wait(SOON).expect("a completion for each request");
        *codes.entry(completion.code()).or_default() += 1;
    }
    codes
}

#[test]
fn f45_sigterm_finishes_what_is_in_flight_and_refuses_what_is_new() {
    let server = Server::start();
    let gateway = connected(&server);
    let router = Router::start(&server, &["--delay", "400ms"]);
    let mut client = attach(&gateway);
    submit(&mut client, 0, 50);
    eventually("the Router has them", || router.log().len() == 50);
    signal("-TERM", gateway.pid());
    eventually("draining is said", || get(&gateway, "/readyz").0 == 503);
    let (_, reason) = get(&gateway, "/readyz");
    assert!(reason.contains("draining"), "{reason}");
    assert_eq!(get(&gateway, "/livez").0, 200);
    submit(&mut client, 50, 3);
    let refused = ClientBuilder::new().socket(&gateway.socket).connect();
    let refused = refused.err().map(|error| error.to_string());
    let codes = take(&mut client, 53);
    assert_eq!(codes.get(&Code::Ok), Some(&50), "{codes:?}");
    assert_eq!(codes.get(&Code::Draining), Some(&3), "{codes:?}");
    let refused = refused.expect("no new session while draining");
    assert!(refused.contains("shutting down"), "{refused}");
    let (status, _) = gateway.wait();
    assert_eq!(status.code(), Some(0));
}

/// Sends until it is refused or the session ends; returns how many came back with each code.
fn send_until_draining(client: &mut Client, done: &AtomicU64) -> HashMap<Code, u64> {
    let (mut codes, mut is_over) = (HashMap::new(), false);
    loop {
        while !is_over && client.outstanding() < 32 {
            let body = decide("d", 256);
            match client.submit(Request::to("decide").payload(&body)) {
                Ok(_) => client.flush(),
                Err(SubmitError::Detached(_)) => is_over = true,
                Err(error) => unreachable!("{error}"),
            }
        }
        if client.outstanding() == 0 {
            return codes;
        }
        let completion = client.wait(SOON).expect("a completion for each request");
        *codes.entry(completion.code()).or_default() += 1;
        is_over |= completion.code() == Code::Draining;
        done.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn f45_a_drain_under_load_answers_all_that_was_sent() {
    let server = Server::start();
    let gateway = connected(&server);
    let router = Router::start(&server, &[]);
    let done = AtomicU64::new(0);
    let codes: Vec<_> = std::thread::scope(|scope| {
        let sender = || {
            let mut client = attach(&gateway);
            let done = &done;
            scope.spawn(move || send_until_draining(&mut client, done))
        };
        let senders = [sender(), sender(), sender()];
        eventually("they are at it", || done.load(Ordering::Relaxed) > 3000);
        signal("-TERM", gateway.pid());
        senders.map(|sender| sender.join().unwrap()).into()
    });
    let (status, _) = gateway.wait();
    assert_eq!(status.code(), Some(0));
    let sum = |code| {
        codes
            .iter()
            .filter_map(|codes| codes.get(&code))
            .sum::<u64>()
    };
    println!("{codes:?}");
    assert_eq!(sum(Code::Ok), count(&router.end(), "received"));
    // A client that submits while its session ends cannot know that this was too late.
    let all: u64 = codes.iter().flat_map(HashMap::values).sum();
    let unknown = sum(Code::GatewayRestarted);
    assert_eq!(sum(Code::Ok) + sum(Code::Draining) + unknown, all);
}

/// A count in what the Router says at its end.
fn count(summary: &str, name: &str) -> u64 {
    let mut words = summary.split_whitespace();
    let value = words.find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
    value.expect(summary).parse().unwrap()
}

#[test]
fn f45_a_drain_that_takes_too_long_ends_as_unknown() {
    let server = Server::start();
    let text = "[control]\ndrain_timeout = \"300ms\"\n";
    let gateway = start_configured(text, &["--nats", &server.url()]);
    let _router = Router::start(&server, &["--silent-rate", "1"]);
    let mut client = attach(&gateway);
    crate::support::gateway::until_connected(&mut client);
    submit(&mut client, 0, 10);
    eventually("they are in flight", || {
        metric(&gateway, "ipcgw_in_flight", "") == 10
    });
    signal("-TERM", gateway.pid());
    let told = Instant::now();
    for _ in 0..10 {
        let completion = client.wait(SOON).unwrap();
        assert_eq!(
            completion.outcome(),
            Outcome::Unknown,
            "{}",
            completion.code()
        );
    }
    let (status, _) = gateway.wait();
    assert_eq!(status.code(), Some(0));
    assert!(
        told.elapsed() < Duration::from_secs(3),
        "{:?}",
        told.elapsed()
    );
}

#[test]
fn f45_a_second_signal_ends_at_once_and_the_client_completes_what_it_has() {
    let server = Server::start();
    let gateway = connected(&server);
    let _router = Router::start(&server, &["--silent-rate", "1"]);
    let mut client = attach(&gateway);
    submit(&mut client, 0, 20);
    eventually("they are in flight", || {
        metric(&gateway, "ipcgw_in_flight", "") == 20
    });
    signal("-TERM", gateway.pid());
    eventually("draining is said", || get(&gateway, "/readyz").0 == 503);
    let told = Instant::now();
    signal("-TERM", gateway.pid());
    let (status, _) = gateway.wait();
    assert!(
        told.elapsed() < Duration::from_secs(1),
        "{:?}",
        told.elapsed()
    );
    assert_eq!(status.code(), Some(0));
    for _ in 0..20 {
        assert_eq!(client.wait(SOON).unwrap().outcome(), Outcome::Unknown);
    }
}

#[test]
fn readiness_follows_the_connection_to_nats() {
    let mut server = Server::start();
    let gateway = connected(&server);
    let health = |gateway: &Gateway, flags: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ipc-gateway"));
        command.arg("health").args(flags);
        command.arg("--socket").arg(&gateway.socket);
        let output = command.output().unwrap();
        (
            output.status.code(),
            String::from_utf8(output.stdout).unwrap(),
        )
    };
    assert_eq!(health(&gateway, &[]), (Some(0), "ready\n".to_owned()));
    server.kill();
    eventually("not ready", || get(&gateway, "/readyz").0 == 503);
    let (code, line) = health(&gateway, &[]);
    assert_eq!(code, Some(1));
    assert!(
        line.starts_with("alive, not ready: not connected to NATS"),
        "{line}"
    );
    let alive = health(&gateway, &["--live"]);
    assert_eq!(alive, (Some(0), "alive\n".to_owned()));
    server.restart();
    let took = eventually("ready again", || get(&gateway, "/readyz").0 == 200);
    println!("ready {took:?} after the restart");
}

fn refusal(gateway: &Gateway, builder: ClientBuilder) -> (EndReason, String) {
    let error = builder.socket(&gateway.socket).connect().unwrap_err();
    let text = error.to_string();
    let AttachError::Refused { reason, detail } = error else {
        unreachable!("{text}");
    };
    (reason, detail)
}

#[test]
fn a_user_has_no_more_requests_in_flight_than_it_may_in_all_its_sessions() {
    let server = Server::start();
    let text = "[workers]\ncount = 2\n[control.quota]\nin_flight = 10\n";
    let gateway = connected_as(text, &server);
    let router = Router::start(&server, &["--silent-rate", "1"]);
    let mut clients = [attach(&gateway), attach(&gateway)];
    let counted = |code: &str| metric(&gateway, "ipcgw_completions_total", code);
    let before = metric(&gateway, "ipcgw_accepted_total", "");
    for client in &mut clients {
        submit(client, 0, 20);
    }
    eventually("all were taken", || {
        metric(&gateway, "ipcgw_accepted_total", "") == before + 40
    });
    assert_eq!(metric(&gateway, "ipcgw_in_flight", ""), 10);
    assert_eq!(counted("code=\"QUOTA\""), 30);
    let rejected = metric(&gateway, "ipcgw_quota_rejections_total", "in_flight");
    assert_eq!(rejected, 30);
    // Sessions that end with requests in flight leave nothing charged.
    drop(clients);
    eventually("both have gone", || get(&gateway, "/sessions").1 == "[]");
    drop(router);
    let _router = Router::start(&server, &[]);
    let mut client = attach(&gateway);
    for _ in 0..5 {
        submit(&mut client, 0, 10);
        assert_eq!(take(&mut client, 10), HashMap::from([(Code::Ok, 10)]));
    }
}

#[test]
fn the_gateway_takes_so_many_sessions_and_not_one_more() {
    let text = "[control]\nmax_sessions = 2\n";
    let gateway = start_configured(text, &["--upstream", "loopback"]);
    let mut clients = vec![attach(&gateway), attach(&gateway)];
    let (reason, detail) = refusal(&gateway, ClientBuilder::new());
    assert_eq!(reason, EndReason::AttachQuota);
    assert_eq!(
        detail,
        "the gateway takes 2 sessions (control.max_sessions)"
    );
    clients.pop();
    clients.push(attach(&gateway));
    for client in &mut clients {
        let answer = client.call(Request::to("decide").payload(b"x")).unwrap();
        assert_eq!(answer.code(), Code::Ok);
    }
}

#[test]
fn a_client_that_speaks_out_of_turn_is_told_so() {
    let gateway = start(&["--upstream", "loopback"]);
    let words: [&[u8]; 3] = [b"x", b"more than one byte", &[0; 4096]];
    for (spoken, words) in (1..).zip(words) {
        let raw = RawClient::attach(&gateway.socket, 64);
        raw.speak(words);
        let mut reason = None;
        eventually("it is told", || {
            reason = raw.ended();
            reason.is_some()
        });
        assert_eq!(reason, Some(EndReason::Protocol));
        let ended = |reason| metric(&gateway, "ipcgw_sessions_ended_total", reason);
        assert_eq!((ended("PROTOCOL"), ended("DETACHED")), (spoken, 0));
    }
    // One that closes has detached.
    drop(RawClient::attach(&gateway.socket, 64));
    eventually("it has detached", || {
        metric(&gateway, "ipcgw_sessions_ended_total", "DETACHED") == 1
    });
}

#[test]
fn the_admin_server_says_what_it_does_not_know_and_serves_many() {
    let gateway = start(&["--upstream", "loopback"]);
    assert_eq!(get(&gateway, "/nothing").0, 404);
    let socket = gateway.socket.with_file_name("admin.sock");
    // Connections that ask nothing do not silence it, as long as they leave one free.
    let idle: Vec<_> = (0..60)
        .map(|_| UnixStream::connect(&socket).unwrap())
        .collect();
    assert_eq!(get(&gateway, "/livez").0, 200);
    drop(idle);
}

/// Sessions whose cost is measured.
const IDLE: usize = 200;

#[test]
fn a_gateway_is_small_and_a_session_costs_little_before_its_first_request() {
    let server = Server::start();
    let text =
        format!("[control.quota]\nsessions = {IDLE}\nmemory = \"16GiB\"\nattach_rate = 10000\n");
    let gateway = start_configured(&text, &["--nats", &server.url()]);
    eventually("it is connected", || get(&gateway, "/readyz").0 == 200);
    // Code is not counted: that of a debug build is several times what users run.
    let taken = || gateway.memory("RssAnon:") + gateway.memory("RssShmem:");
    let alone = taken();
    let clients: Vec<Client> = (0..IDLE).map(|_| attach(&gateway)).collect();
    let each = (taken() - alone) / i64::try_from(clients.len()).unwrap();
    println!("{alone} bytes of heap and stacks alone, {each} bytes for each of {IDLE} sessions");
    assert!(alone < 6 << 20, "{alone}");
    assert!(each <= 64 << 10, "{each}");
}
