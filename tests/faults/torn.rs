//! Fault 12: clients that are killed, or stopped, between any two stores of a submission.

use std::time::Instant;

use crate::support::admin::metric;
use crate::support::gateway::{Gateway, connected};
use crate::support::polite::Polite;
use crate::support::router::Router;
use crate::support::server::Server;
use crate::support::steps::StepChild;
use crate::support::{SOON, books, eventually, signal};

/// One request at a time, so that the passes of a step can be told.
const ALONE: [&str; 4] = ["--window", "1", "--requests", "6"];

/// The moments between two stores of the client's request number `k`, each with how often the
/// client has come by it then, and whether the gateway can know of the request.
fn moments(k: u32) -> Vec<(&'static str, u32, bool)> {
    let mut moments = vec![
        ("slot-reserved", k + 1, false),
        ("headers-written", k + 1, false),
        ("half-written", k + 1, false),
    ];
    // A descriptor is eight words.
    moments.extend((1..=8).map(|word| ("descriptor-word", 8 * k + word, false)));
    moments.extend([
        ("entered", k + 1, false),
        // Published once with the request, and once when the client waits.
        ("released", 2 * k + 1, false),
        ("committed", k + 1, true),
        ("woken", k + 1, true),
    ]);
    moments
}

/// What the Router has seen of this client: the numbers of its requests. Each is whole.
fn seen(router: &Router, name: &str) -> Vec<u32> {
    let head = format!(r#"{{"tenant_id":"acme","request_id":"{name}-"#);
    let tail = format!(
        r#"","task":{{"type":"chat","payload":{{"text":"{}"}}}}}}"#,
        "x".repeat(200)
    );
    let payloads = router.payloads();
    let own = payloads.iter().filter_map(|text| text.strip_prefix(&head));
    own.map(|rest| rest.strip_suffix(&tail).expect(rest).parse().unwrap())
        .collect()
}

#[test]
fn f12_killed_between_any_two_stores_loses_only_itself() {
    let server = Server::with(&["-D"]);
    let gateway = connected(&server);
    eventually("both connections are made", || server.connections() == 2);
    let router = Router::start(&server, &[]);
    let polite = Polite::start(&gateway.socket, "polite", 200);
    let at_rest = gateway.descriptors();
    let mut deaths = 0;
    // On fresh memory, and on blocks that hold an earlier lap's bytes.
    for k in [0, 4] {
        for (step, repeat, may_be_known) in moments(k) {
            let name = format!("torn{deaths}");
            let arguments = [&["--name", &name][..], &ALONE].concat();
            let mut child = StepChild::start(&gateway.socket, step, "kill", repeat, &arguments);
            child.died();
            eventually("its session is gone", || gateway.descriptors() <= at_rest);
            let before: Vec<u32> = (0..k).collect();
            let with: Vec<u32> = (0..=k).collect();
            let known = seen(&router, &name);
            let is_right = known == before || may_be_known && known == with;
            assert!(is_right, "{step} {repeat}: {known:?}");
            deaths += 1;
        }
    }
    let sent = polite.end().assert_exact();
    let books = books::at_rest(&gateway);
    println!("{deaths} deaths; the polite client had {sent} answers; {books:?}");
    // Nothing that was not committed is ever looked at, so nothing was found wrong.
    assert_eq!(metric(&gateway, "ipcgw_ring_violations_total", ""), 0);
    for code in ["BAD_RECORD", "TOO_LARGE", "BAD_HEADER", "BAD_ROUTE"] {
        assert_eq!(
            metric(&gateway, "ipcgw_completions_total", code),
            0,
            "{code}"
        );
    }
}

/// Processor time of a process, in clock ticks of a hundredth of a second.
fn ticks(gateway: &Gateway) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", gateway.pid())).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

#[test]
fn f12_a_client_that_stops_between_two_stores_is_not_waited_for() {
    let server = Server::start();
    let gateway = connected(&server);
    let _router = Router::start(&server, &[]);
    let mut children = Vec::new();
    for (step, repeat, _) in moments(2) {
        let arguments = [&["--name", step][..], &ALONE].concat();
        let child = StepChild::start(&gateway.socket, step, "stop", repeat, &arguments);
        let path = format!("/proc/{}/stat", child.pid());
        eventually("it has stopped", || {
            let stat = std::fs::read_to_string(&path).unwrap();
            stat.rsplit_once(") ").unwrap().1.starts_with('T')
        });
        children.push(child);
    }
    books::at_rest(&gateway);
    let (before, start) = (ticks(&gateway), Instant::now());
    let polite = Polite::start(&gateway.socket, "polite", 50);
    eventually("a second has passed", || start.elapsed().as_secs() > 0);
    let spent = ticks(&gateway) - before;
    polite.end().assert_exact();
    println!(
        "{} stopped clients; {spent} of 100 ticks spent",
        children.len()
    );
    // A worker that waited for one of them would have spent them all.
    assert!(spent < 50, "{spent}");
    for child in children {
        signal("-CONT", child.pid());
        child.lived();
    }
    assert!(start.elapsed() < SOON);
    assert_eq!(metric(&gateway, "ipcgw_ring_violations_total", ""), 0);
}
