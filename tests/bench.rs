//! `ipc-gateway bench`: what it reports, and how it ends.

use std::process::Output;
use std::time::{Duration, Instant};

use crate::support::bench::{Bench, command, is_client, nowhere, number, report, sessions};
use crate::support::eventually;
use crate::support::gateway::{Gateway, attach, connected, start};
use crate::support::router::Router;
use crate::support::server::Server;
use crate::support::signal;

fn loopback() -> Gateway {
    let gateway = start(&["--upstream", "loopback"]);
    drop(attach(&gateway));
    gateway
}

fn run(gateway: &Gateway, arguments: &[&str]) -> Output {
    Bench::start(gateway, arguments).end()
}

#[test]
fn processes_and_threads_report_every_field_and_counts_that_add_up() {
    let gateway = loopback();
    for threads in [&[][..], &["--threads"]] {
        let mut arguments = vec!["--clients", "3", "--window", "32", "--payload", "128"];
        arguments.extend(["--duration", "500ms"].iter().chain(threads));
        let output = run(&gateway, &arguments);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let report = report(&output);
        assert!(number(&report, "answered") > 1000);
        assert_eq!(report["codes"]["OK"], report["requests"]);
        assert!(report["seconds"].as_f64().unwrap() >= 0.5);
        let asked = ["clients", "window", "payload"].map(|name| number(&report, name));
        assert_eq!(asked, [3, 32, 128]);
        assert!(output.stderr.is_empty(), "no progress without a terminal");
    }
}

#[test]
fn the_report_for_people_names_rate_latency_and_outcomes() {
    let gateway = loopback();
    let arguments = ["--duration", "200ms", "--payload", "4KiB"];
    let output = command(&gateway.socket, &arguments).output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    let text = String::from_utf8(output.stdout).unwrap();
    for part in [
        "1 client process, window 64, 4096-byte payloads, route decide",
        "requests/s",
        "p99.9",
        "max",
        "answered",
        "rejected 0",
        "OK",
    ] {
        assert!(text.contains(part), "{part:?} in {text}");
    }
}

#[test]
fn each_client_is_a_process_with_a_session_and_an_interrupt_ends_them_with_a_report() {
    let gateway = loopback();
    for name in ["-INT", "-TERM"] {
        let started = Instant::now();
        let bench = Bench::start(&gateway, &["--clients", "3", "--duration", "10m"]);
        let clients = bench.clients(3);
        assert!(clients.iter().all(|pid| sessions(*pid) == 1));
        measure_for(Duration::from_millis(200));
        bench.signal(name);
        let output = bench.end();
        assert!(started.elapsed() < Duration::from_secs(20));
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let report = report(&output);
        assert!(number(&report, "answered") > 0);
        assert!(report["seconds"].as_f64().unwrap() < 20.0);
        assert!(!clients.into_iter().any(is_client), "a client was left");
    }
}

#[test]
fn threads_share_one_process_and_have_a_session_each() {
    let gateway = loopback();
    let arguments = ["--clients", "4", "--threads", "--duration", "10m"];
    let bench = Bench::start(&gateway, &arguments);
    let process = bench.clients(1)[0];
    eventually("each has a session", || sessions(process) == 4);
    bench.signal("-INT");
    // Whether it had begun or not.
    assert!(matches!(bench.end().status.code(), Some(0 | 1)));
    assert!(!is_client(process));
}

#[test]
fn clients_end_with_a_bench_that_is_killed() {
    let gateway = loopback();
    let bench = Bench::start(&gateway, &["--clients", "2", "--duration", "10m"]);
    let clients = bench.clients(2);
    bench.signal("-KILL");
    assert_eq!(bench.end().status.code(), None);
    eventually("its clients are gone", || {
        !clients.iter().any(|pid| is_client(*pid))
    });
}

#[test]
fn a_rate_is_held_within_five_percent() {
    let gateway = loopback();
    let arguments = ["--rate", "1000/s", "--clients", "2", "--duration", "5s"];
    let output = run(&gateway, &arguments);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let report = report(&output);
    let rate = report["rate"].as_f64().unwrap();
    assert!((950.0..=1050.0).contains(&rate), "{rate}");
    assert_eq!(number(&report, "requests"), 5000);
}

#[test]
fn a_burst_comes_at_once_and_clients_wait_as_they_are_told() {
    let gateway = loopback();
    for wait in ["park", "spin"] {
        let mut arguments = vec!["--rate", "1000", "--burst", "100", "--duration", "1s"];
        arguments.extend(["--window", "128", "--wait", wait]);
        let output = run(&gateway, &arguments);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let report = report(&output);
        assert_eq!(
            (&report["burst"], &report["wait"]),
            (&100.into(), &wait.into())
        );
        // The last of ten bursts is due after nine tenths of the time.
        assert_eq!(number(&report, "requests"), 1000);
        assert!(report["seconds"].as_f64().unwrap() > 0.99, "{report}");
    }
}

#[test]
fn a_stall_counts_for_every_request_that_was_due_meanwhile() {
    let gateway = loopback();
    let arguments = ["--rate", "1000", "--window", "8", "--duration", "2s"];
    let bench = Bench::start(&gateway, &arguments);
    bench.clients(1);
    measure_for(Duration::from_millis(300));
    signal("-STOP", gateway.pid());
    measure_for(Duration::from_millis(500));
    signal("-CONT", gateway.pid());
    let report = report(&bench.end());
    let latency = &report["latency_us"];
    // Only 8 requests were in flight; a fourth of all were due during the stall.
    assert!(latency["max"].as_f64().unwrap() > 450_000.0, "{latency}");
    assert!(latency["p90"].as_f64().unwrap() > 200_000.0, "{latency}");
    // On a busy machine the last ones are due and not sent.
    assert!(number(&report, "requests") > 1800, "{report}");
}

#[test]
fn no_gateway_is_one_line_and_69() {
    let dir = tempfile::tempdir().unwrap();
    let output = command(&nowhere(&dir), &["--clients", "3"]).output();
    let output = output.unwrap();
    assert_eq!(output.status.code(), Some(69));
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.contains("gateway.sock"), "{said}");
    assert!(output.stdout.is_empty());
}

#[test]
fn what_cannot_be_asked_is_said_in_one_line() {
    let gateway = loopback();
    let cases = [
        (["--payload", "20"], 2, "too small"),
        (["--route", "nowhere"], 1, "no route"),
        (["--window", "8192"], 69, "4096 entries"),
    ];
    for (arguments, code, part) in cases {
        let output = command(&gateway.socket, &arguments).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(said.contains(part), "{said}");
    }
}

#[test]
fn a_gateway_that_dies_ends_the_run_with_a_report_and_1() {
    let gateway = loopback();
    let bench = Bench::start(&gateway, &["--clients", "2", "--duration", "10m"]);
    let clients = bench.clients(2);
    measure_for(Duration::from_millis(200));
    signal("-KILL", gateway.pid());
    let output = bench.end();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(said.trim_end(), "ipc-gateway: the gateway is gone");
    let report = report(&output);
    assert!(number(&report, "answered") > 0);
    assert_eq!(report["codes"]["GATEWAY_RESTARTED"], report["unknown"]);
    assert!(!clients.into_iter().any(is_client), "a client was left");
}

#[test]
fn through_nats_the_router_answers_every_request() {
    let server = Server::start();
    let gateway = connected(&server);
    let router = Router::start(&server, &[]);
    let arguments = ["--clients", "2", "--payload", "128", "--duration", "1s"];
    let output = run(&gateway, &arguments);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let report = report(&output);
    let requests = number(&report, "requests");
    assert!(requests > 100);
    assert_eq!(report["codes"]["OK"], requests);
    let expected = format!("received={requests} answered={requests} errors=0");
    let summary = router.end();
    assert!(summary.contains(&expected), "{summary}");
}

#[test]
fn without_a_router_the_report_says_so_and_the_code_is_1() {
    let server = Server::start();
    let gateway = connected(&server);
    let output = run(&gateway, &["--duration", "200ms"]);
    assert_eq!(output.status.code(), Some(1));
    let report = report(&output);
    // After a number of these the route's breaker opens.
    let count = |code: &str| report["codes"][code].as_u64().unwrap_or(0);
    assert!(count("NO_RESPONDERS") >= 50, "{report}");
    assert_eq!(count("NO_RESPONDERS"), number(&report, "answered"));
    assert_eq!(count("OVERLOADED"), number(&report, "rejected"));
}

/// Lets it go on for a while.
fn measure_for(time: Duration) {
    let started = Instant::now();
    eventually("the time is over", || started.elapsed() >= time);
}
