//! `/status` of the real binary, against the document that lists what is there and against what
//! clients do.

use std::collections::BTreeSet;

use ipc_gateway::status::Status;
use ipc_ringbuf::{ClientBuilder, Code, Request};
use serde_json::Value;

use crate::support::admin::get;
use crate::support::gateway::{
    Gateway, attach, attach_with, connected, start_configured, until_connected,
};
use crate::support::router::Router;
use crate::support::server::Server;
use crate::support::silent::Silent;
use crate::support::{decide, eventually, signal};

fn document(gateway: &Gateway) -> Value {
    let (status, body) = get(gateway, "/status");
    assert_eq!(status, 200, "{body}");
    serde_json::from_str(&body).expect(&body)
}

fn status(gateway: &Gateway) -> Status {
    serde_json::from_value(document(gateway)).unwrap()
}

/// The documented fields and their types.
fn documented() -> BTreeSet<(String, String)> {
    let text = include_str!("../docs/OPERATIONS.md");
    let (_, rest) = text.split_once("<!-- status -->").unwrap();
    let (table, _) = rest.split_once("<!-- end of status -->").unwrap();
    let rows = table.lines().filter(|line| line.starts_with("| `"));
    let rows = rows.map(|row| {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        assert_eq!(cells.len(), 3, "{row}: field, type, meaning");
        (cells[0].trim_matches('`').to_owned(), cells[1].to_owned())
    });
    rows.collect()
}

/// Every value with the name of its field, as the document writes it.
fn values<'v>(name: &str, value: &'v Value, found: &mut Vec<(String, &'v Value)>) {
    let below = |key: &str| match name {
        "" => key.to_owned(),
        name => format!("{name}.{key}"),
    };
    match value {
        Value::Object(fields) => {
            found.push((name.to_owned(), value));
            for (key, value) in fields {
                values(&below(key), value, found);
            }
        }
        Value::Array(all) => {
            assert!(!all.is_empty(), "{name} is empty: the test has to fill it");
            for value in all {
                values(&format!("{name}[]"), value, found);
            }
        }
        _ => found.push((name.to_owned(), value)),
    }
}

#[test]
fn every_field_is_documented_with_its_type_and_every_documented_field_is_there() {
    let server = Server::start();
    let _router = Router::start(&server, &[]);
    let gateway = connected(&server);
    let mut client = attach(&gateway);
    let mut call = || {
        let body = decide("1", 64);
        client.call(Request::to("decide").payload(&body)).unwrap();
    };
    call();
    eventually("everything has been measured", || {
        call();
        let now = status(&gateway);
        let nats = now.nats.unwrap();
        now.sessions[0].p99_seconds.is_some() && nats.connections[0].round_trip_seconds.is_some()
    });
    let answer = document(&gateway);
    let mut found = Vec::new();
    values("", &answer, &mut found);
    let documented = documented();
    let names: BTreeSet<&str> = documented.iter().map(|(name, _)| name.as_str()).collect();
    let is_part = |name: &str| {
        names.iter().any(|field| {
            let rest = field.strip_prefix(name);
            rest.is_some_and(|rest| name.is_empty() || rest.starts_with('.'))
        })
    };
    for (name, value) in &found {
        let row = documented.iter().find(|(field, _)| field == name);
        let Some((_, kind)) = row else {
            assert!(
                value.is_object() && is_part(name),
                "{name} is not in docs/OPERATIONS.md"
            );
            continue;
        };
        let fits = match value {
            Value::Null => kind.ends_with(" or null"),
            Value::Bool(_) => kind == "boolean",
            Value::String(_) => kind.starts_with("text"),
            Value::Object(_) => kind.starts_with("object"),
            Value::Number(number) => {
                kind.starts_with("number") || (kind == "counter" && number.as_f64() >= Some(0.0))
            }
            Value::Array(_) => false,
        };
        assert!(fits, "{name} is {value}, not a {kind}");
    }
    for name in names {
        assert!(
            found.iter().any(|(field, _)| field == name),
            "{name} is in docs/OPERATIONS.md and not in {answer:#}"
        );
    }
}

#[test]
fn sessions_show_whose_they_are_and_what_they_have_done() {
    let text = "[workers]\ncount = 2\n";
    let gateway = start_configured(text, &["--upstream", "loopback"]);
    let mut busy = attach_with(&gateway, ClientBuilder::new().name("busy").entries(16));
    let _idle = attach_with(&gateway, ClientBuilder::new().name("idle"));
    for _ in 0..100 {
        busy.call(Request::to("decide").payload(b"{}")).unwrap();
    }
    let refused = Request::to("decide").header("ipcgw-x", "1");
    assert_eq!(busy.call(refused).unwrap().code(), Code::BadHeader);
    let now = status(&gateway);
    assert_eq!(now.nats, None);
    assert_eq!(now.gateway.pid, gateway.pid());
    assert!(now.gateway.ready && now.gateway.live && !now.gateway.draining);
    let [busy_row, idle_row] = &now.sessions[..] else {
        panic!("{now:?}");
    };
    let comm = std::fs::read_to_string(format!("/proc/{}/comm", std::process::id())).unwrap();
    for row in [busy_row, idle_row] {
        assert_eq!(row.pid, i32::try_from(std::process::id()).unwrap());
        assert_eq!(row.uid, nix::unistd::getuid().as_raw());
        assert_eq!(row.command.as_deref(), Some(comm.trim_end()));
        assert_eq!((row.in_flight, row.queued), (0, 0));
    }
    assert_eq!((busy_row.name.as_str(), busy_row.entries), ("busy", 16));
    assert_eq!((busy_row.completed, idle_row.completed), (101, 0));
    assert_ne!(busy_row.worker, idle_row.worker);
    assert_eq!(now.totals.completed, 101);
    assert_eq!(
        (now.totals.outcomes.answered, now.totals.outcomes.rejected),
        (100, 1)
    );
    let codes: Vec<_> = now
        .totals
        .codes
        .iter()
        .map(|c| (c.code.as_str(), c.completed))
        .collect();
    assert_eq!(codes, [("OK", 100), ("BAD_HEADER", 1)]);
    let route = &now.routes[0];
    assert_eq!((route.route.as_str(), route.admitted), ("decide", 100));
    assert_eq!(route.breaker, "closed");
    // Latencies and the time that a worker is busy are counted from now on.
    assert_eq!((busy_row.p99_seconds, now.totals.p99_seconds), (None, None));
    let mut later = now;
    eventually("they are measured", || {
        busy.call(Request::to("decide").payload(b"{}")).unwrap();
        later = status(&gateway);
        later.sessions[0].p99_seconds.is_some() && later.totals.p99_seconds.is_some()
    });
    let (p50, p99) = (later.sessions[0].p50_seconds, later.sessions[0].p99_seconds);
    assert!(p50.unwrap() <= p99.unwrap() && p99.unwrap() < 10.0);
    assert_eq!(later.sessions[1].p99_seconds, None);
    let busy_seconds = |worker: usize| later.workers[worker].busy_seconds;
    assert!(busy_seconds(later.sessions[0].worker) > 0.0);
    assert_eq!(later.workers.iter().map(|w| w.sessions).sum::<u64>(), 2);
    drop(busy);
    eventually("it has gone", || status(&gateway).sessions.len() == 1);
}

/// A gateway whose requests are taken and never answered, with room for four of them.
fn unanswered() -> Gateway {
    let server = Silent::start();
    let text = "[workers]\nmax_in_flight = 4\n";
    let gateway = start_configured(text, &["--nats", &server.url]);
    until_connected(&mut attach(&gateway));
    gateway
}

#[test]
fn what_waits_in_a_ring_and_what_is_in_flight_is_told_apart() {
    let gateway = unanswered();
    let mut client = attach_with(&gateway, ClientBuilder::new().entries(16));
    for _ in 0..10 {
        client.submit(Request::to("decide")).unwrap();
    }
    client.flush();
    eventually("the worker has taken what it has room for", || {
        let now = status(&gateway);
        let row = now.sessions.iter().find(|row| row.entries == 16).unwrap();
        (row.in_flight, row.queued, row.completed) == (4, 6, 0)
    });
    let now = status(&gateway);
    assert_eq!((now.totals.in_flight, now.routes[0].in_flight), (4, 4));
    let nats = now.nats.unwrap();
    assert_eq!((nats.configured, nats.connected), (2, 2));
    assert_eq!(nats.connections.len(), 2);
    for connection in nats.connections {
        assert_eq!(connection.state, "connected");
        assert_eq!(connection.server_name.as_deref(), Some("S"));
        assert!(connection.up_seconds.is_some());
    }
}

#[test]
fn a_gateway_that_drains_says_so() {
    let gateway = unanswered();
    let before = status(&gateway);
    assert_eq!((before.gateway.ready, before.gateway.reason), (true, None));
    let mut client = attach(&gateway);
    client.submit(Request::to("decide")).unwrap();
    client.flush();
    eventually("it is in flight", || status(&gateway).totals.in_flight == 1);
    signal("-TERM", gateway.pid());
    eventually("it drains", || status(&gateway).gateway.draining);
    let now = status(&gateway);
    assert!(now.gateway.live && !now.gateway.ready);
    assert_eq!(now.gateway.reason.as_deref(), Some("draining"));
    assert!(now.time_seconds > before.time_seconds);
    assert!(now.gateway.uptime_seconds > before.gateway.uptime_seconds);
}
