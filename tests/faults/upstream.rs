//! Faults 29, 30, 33 and 40 to 42: a server that dies, hangs or is cut off, replies that cannot be
//! read or are too large, and what comes of requests meanwhile.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use ipc_ringbuf::{Client, ClientBuilder, Code, Outcome, Request};

use crate::support::admin::metric;
use crate::support::gateway::{Gateway, attach, attach_with, connected, connected_as};
use crate::support::history::Histories;
use crate::support::proxy::Proxy;
use crate::support::router::Router;
use crate::support::server::Server;
use crate::support::wire::Wire;
use crate::support::{decide, eventually, is_long, meanwhile, signal};

/// The subject of the route that is built in.
pub(super) const DECIDE: &str = "beamline.router.v1.decide";
/// Requests in flight when the server dies.
const IN_FLIGHT: usize = 1000;
/// What the checker allows a completion to be late: the machine has two cores, and six processes.
pub(super) const EPSILON: (&str, &str) = ("--epsilon", "250ms");

fn ask(client: &mut Client, id: &str) -> Code {
    let body = decide(id, 256);
    let request = Request::to("decide").payload(&body);
    client.call(request).unwrap().code()
}

/// Waits until a Router listens on the server, whatever the gateway does.
pub(super) fn until_heard(server: &Server) {
    let mut wire = Wire::connect(server);
    eventually("the Router is back", || wire.is_heard(DECIDE, "{}"));
}

#[test]
fn f29_a_dead_server_loses_what_is_in_flight_and_its_successor_is_used() {
    let mut server = Server::start();
    let gateway = connected(&server);
    let silent = Router::start(&server, &["--silent-rate", "1"]);
    let builder = ClientBuilder::new().entries(1024);
    let mut client = attach_with(&gateway, builder);
    for number in 0..IN_FLIGHT {
        let body = decide(&format!("lost-{number}"), 256);
        let request = Request::to("decide")
            .payload(&body)
            .timeout(Duration::from_secs(60))
            .user_data(u64::try_from(number).unwrap());
        client.submit(request).unwrap();
    }
    client.flush();
    eventually("the Router has every request", || {
        silent.log().len() == IN_FLIGHT
    });
    assert!(client.poll().is_none());
    server.kill();
    let killed = Instant::now();
    let mut marks = HashSet::new();
    while marks.len() < IN_FLIGHT {
        let completion = client.wait(Duration::from_secs(5)).unwrap();
        assert_eq!(completion.code(), Code::UpstreamLost);
        assert_eq!(completion.outcome(), Outcome::Unknown);
        assert!(marks.insert(completion.ticket().0));
    }
    let took = killed.elapsed();
    println!("{IN_FLIGHT} requests told of the loss within {took:?}");
    assert!(took < Duration::from_millis(200), "{took:?}");
    drop(silent);
    server.restart();
    let restarted = Instant::now();
    let router = Router::start(&server, &[]);
    while ask(&mut client, "new") != Code::Ok {
        assert!(restarted.elapsed() < Duration::from_secs(2));
    }
    println!(
        "requests succeed {:?} after the restart",
        restarted.elapsed()
    );
    for number in 0..100 {
        assert_eq!(ask(&mut client, &format!("new-{number}")), Code::Ok);
    }
    assert!(
        router
            .payloads()
            .iter()
            .all(|payload| payload.contains("\"new")),
        "a stale request came to the Router"
    );
}

#[test]
fn f29_a_server_killed_again_and_again_loses_nothing_silently() {
    let kills = if is_long() { 50 } else { 12 };
    let mut server = Server::start();
    let gateway = connected(&server);
    let mut router = Router::start(&server, &[]);
    let mut histories = Histories::new();
    histories.before(&gateway);
    let flags = ["--rate", "1000", "--timeout", "1s"];
    let mut clients = ["a", "b", "c"].map(|name| histories.client(&gateway.socket, name, &flags));
    for kill in 0..kills {
        meanwhile(Duration::from_millis(100 + 37 * kill % 200));
        histories.fault();
        server.kill();
        meanwhile(Duration::from_millis(41 * kill % 120));
        server.restart();
        until_heard(&server);
        histories.healed();
    }
    meanwhile(Duration::from_secs(4));
    clients.iter_mut().for_each(|client| client.end());
    histories.after(&gateway);
    router.close();
    histories.flag(EPSILON.0, EPSILON.1);
    let verdict = histories.check(&[router.log_path()]);
    println!("{kills} kills: {verdict}");
    assert!(
        verdict["codes"]["UPSTREAM_LOST"].as_u64() > Some(0),
        "{verdict}"
    );
    assert!(verdict["healed"].as_u64() > Some(1000), "{verdict}");
}

/// A short time until a silent server is given up: three of these.
const PING: Duration = Duration::from_millis(500);
const IMPATIENT: &str = "[nats]\nping_interval = \"500ms\"\nconnect_timeout = \"500ms\"\n";

/// Waits until the gateway has given up its connections, or has them again; returns how long that
/// took.
fn until_connections(gateway: &Gateway, count: u64) -> Duration {
    eventually("the gateway has noticed", || {
        metric(gateway, "ipcgw_nats_connected", "") == count
    })
}

#[test]
fn f30_a_network_that_fails_is_noticed_and_deadlines_hold_meanwhile() {
    let server = Server::start();
    let mut proxy = Proxy::start(&server);
    let gateway = crate::support::gateway::start_configured(IMPATIENT, &["--nats", &proxy.url]);
    let mut router = Router::start(&server, &[]);
    until_connections(&gateway, 2);
    let mut histories = Histories::new();
    histories.before(&gateway);
    let flags = ["--rate", "500", "--timeout", "300ms"];
    let mut client = histories.client(&gateway.socket, "c", &flags);
    proxy.order("delay 20ms");
    meanwhile(Duration::from_millis(500));
    proxy.order("delay 0s");
    for fault in ["blackhole", "reset", "drop", "half-close"] {
        histories.fault();
        let lost = metric(&gateway, "ipcgw_nats_disconnects_total", "");
        let started = Instant::now();
        proxy.order(fault);
        eventually("both connections are given up", || {
            metric(&gateway, "ipcgw_nats_disconnects_total", "") >= lost + 2
        });
        let took = started.elapsed();
        println!("{fault}: noticed after {took:?}");
        let limit = if fault == "blackhole" {
            3 * PING
        } else {
            Duration::ZERO
        };
        assert!(
            took < limit + Duration::from_millis(500),
            "{fault}: {took:?}"
        );
        proxy.order("pass");
        until_connections(&gateway, 2);
        histories.healed();
        meanwhile(Duration::from_millis(2500));
    }
    client.end();
    histories.after(&gateway);
    router.close();
    histories.flag(EPSILON.0, EPSILON.1);
    let verdict = histories.check(&[router.log_path()]);
    println!("{verdict}");
    for code in ["TIMEOUT", "UPSTREAM_LOST"] {
        assert!(verdict["codes"][code].as_u64() > Some(0), "{verdict}");
    }
}

#[test]
fn f30_a_server_that_hangs_is_given_up_and_deadlines_hold_meanwhile() {
    let server = Server::start();
    let gateway = connected_as(IMPATIENT, &server);
    let mut client = attach(&gateway);
    signal("-STOP", server.pid());
    let stopped = Instant::now();
    let mut late = Duration::ZERO;
    let mut codes = HashSet::new();
    while !codes.contains(&Code::UpstreamDown) {
        assert!(stopped.elapsed() < 3 * PING + Duration::from_secs(1));
        // Longer than a request waits for a connection.
        let timeout = Duration::from_millis(400);
        let began = Instant::now();
        let reply = client.call(Request::to("decide").timeout(timeout)).unwrap();
        codes.insert(reply.code());
        late = late.max(began.elapsed().saturating_sub(timeout));
    }
    println!(
        "given up after {:?}; at most {late:?} late",
        stopped.elapsed()
    );
    assert!(codes.contains(&Code::Timeout), "{codes:?}");
    // The wrong thing would be the next ping, or a second.
    assert!(late < Duration::from_millis(300), "{late:?}");
    signal("-CONT", server.pid());
    until_connections(&gateway, 2);
}

#[test]
fn f33_a_reply_that_cannot_be_read_costs_its_own_request_only_and_names_its_route() {
    let config = "[[route]]\nname = \"echo\"\nsubject = \"test.echo\"\n";
    let server = Server::start();
    let gateway = connected_as(config, &server);
    let _poison = Router::start(&server, &["--malformed-header"]);
    let _good = Router::start(&server, &["--echo", "--subject", "test.echo"]);
    let mut client = attach(&gateway);
    // On the same connection others do not notice.
    let mut echo = attach(&gateway);
    for round in 0..200 {
        assert_eq!(ask(&mut client, "poison"), Code::BadReply);
        let reply = echo
            .call(Request::to("echo").payload("still there"))
            .unwrap();
        assert_eq!(reply.code(), Code::Ok, "{round}");
    }
    let errors = |route: &str| {
        let label = format!("route=\"{route}\"");
        metric(&gateway, "ipcgw_nats_protocol_errors_total", &label)
    };
    assert_eq!((errors("decide"), errors("echo")), (200, 0));
    assert_eq!(metric(&gateway, "ipcgw_nats_disconnects_total", ""), 0);
    let log = gateway.log();
    assert!(
        log.contains("cannot be read") && log.contains("decide"),
        "{log}"
    );
}

#[test]
fn f40_a_reply_that_does_not_fit_says_how_long_it_was() {
    let large = 10 * 1024 * 1024;
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("nats.conf");
    std::fs::write(&config, "max_payload: 16MB\n").unwrap();
    let server = Server::with(&["-c", config.to_str().unwrap()]);
    let route = |name: &str, limit: &str| {
        format!("[[route]]\nname = \"{name}\"\nsubject = \"test.{name}\"\n{limit}\n")
    };
    let routes = [
        route("exact", ""),
        route("over", ""),
        route("huge", ""),
        route("capped", "max_reply = \"1KiB\""),
    ];
    let gateway = connected_as(&routes.concat(), &server);
    let mut client = attach_with(&gateway, ClientBuilder::new().message_size(4096));
    let block = usize::try_from(client.message_size()).unwrap();
    let sizes = [
        ("exact", block),
        ("over", block + 1),
        ("huge", large),
        ("capped", 1025),
    ];
    let _routers = sizes.map(|(name, bytes)| {
        let body = dir.path().join(name);
        std::fs::write(&body, vec![b'x'; bytes]).unwrap();
        let body = format!("@{}", body.display());
        let subject = format!("test.{name}");
        Router::start(&server, &["--subject", &subject, "--raw-body", &body])
    });
    for (name, bytes) in sizes {
        let timeout = Duration::from_secs(10);
        let reply = client.call(Request::to(name).timeout(timeout)).unwrap();
        if name == "exact" {
            assert_eq!((reply.code(), reply.payload().len()), (Code::Ok, bytes));
            continue;
        }
        assert_eq!(
            (reply.code(), reply.outcome()),
            (Code::BadReply, Outcome::Unknown)
        );
        let note = reply
            .headers()
            .find(|(name, _)| *name == "ipcgw-reply-bytes");
        assert_eq!(note.unwrap().1, bytes.to_string(), "{name}");
    }
    assert_eq!(metric(&gateway, "ipcgw_nats_disconnects_total", ""), 0);
}

#[test]
fn f41_replies_that_wait_for_a_stalled_gateway_are_all_taken() {
    let server = Server::start();
    // All of them at once, whatever is good for the Router.
    let gateway = connected_as("[workers]\nmax_queue_delay = \"0s\"\n", &server);
    let _router = Router::start(&server, &["--delay", "200ms"]);
    let mut client = attach_with(&gateway, ClientBuilder::new().entries(4096));
    let body = decide("waits", 200);
    for mark in 0..4096 {
        let request = Request::to("decide").payload(&body).user_data(mark);
        client
            .submit(request.timeout(Duration::from_secs(30)))
            .unwrap();
    }
    client.flush();
    eventually("all are on their way", || {
        metric(&gateway, "ipcgw_nats_published_total", "") >= 4096
    });
    signal("-STOP", gateway.pid());
    meanwhile(Duration::from_secs(5));
    signal("-CONT", gateway.pid());
    let mut marks = HashSet::new();
    while marks.len() < 4096 {
        let completion = client.wait(Duration::from_secs(20)).unwrap();
        assert_eq!(completion.code(), Code::Ok);
        assert!(marks.insert(completion.ticket().0));
    }
    assert_eq!(metric(&gateway, "ipcgw_answers_refused_total", ""), 0);
}

#[test]
fn f42_nothing_that_was_asked_while_the_server_was_away_is_sent_when_it_is_back() {
    let mut server = Server::start();
    let gateway = connected(&server);
    server.kill();
    until_connections(&gateway, 0);
    let mut client = attach_with(&gateway, ClientBuilder::new().entries(4096));
    for mark in 0..2048 {
        let body = decide(&format!("stale-{mark}"), 256);
        client.submit(Request::to("decide").payload(&body)).unwrap();
    }
    client.flush();
    let mut down = 0;
    for _ in 0..2048 {
        let completion = client.wait(Duration::from_secs(5)).unwrap();
        // Those for which there was no room were rejected sooner.
        assert_eq!(completion.outcome(), Outcome::Rejected);
        down += usize::from(completion.code() == Code::UpstreamDown);
    }
    assert!(down > 0);
    server.restart();
    let router = Router::start(&server, &[]);
    until_connections(&gateway, 2);
    assert_eq!(ask(&mut client, "new"), Code::Ok);
    let stale = router
        .payloads()
        .iter()
        .filter(|body| body.contains("stale"))
        .count();
    assert_eq!(stale, 0);
}
