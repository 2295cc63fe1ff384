//! Faults 17, 21 and 45: slow, greedy and too many clients. Timings are compared with those of
//! control runs that take turns with the measured ones; the median of each counts.

use std::time::{Duration, Instant};

use ipc_ringbuf::error::EndReason;
use ipc_ringbuf::{Client, ClientBuilder, Code, Request};
use serde_json::Value;

use crate::support::admin::{get, metric};
use crate::support::bench::{Bench, number, report};
use crate::support::decide;
use crate::support::eventually;
use crate::support::gateway::{Gateway, attach_with, connected, connected_as};
use crate::support::router::Router;
use crate::support::server::Server;

/// Rounds of measured and control runs.
const ROUNDS: usize = 3;

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

#[expect(clippy::cast_precision_loss, reason = "a ratio needs no more")]
fn ratio(part: u64, whole: u64) -> f64 {
    part as f64 / whole as f64
}

/// Starts a bench of so many clients.
fn start(gateway: &Gateway, arguments: &str) -> Bench {
    let arguments: Vec<&str> = arguments.split(' ').collect();
    Bench::start(gateway, &arguments)
}

fn run(gateway: &Gateway, arguments: &str) -> Value {
    report(&start(gateway, arguments).end())
}

/// The value of `cq_full_seconds_total`.
fn cq_full_seconds(gateway: &Gateway) -> f64 {
    let (_, text) = get(gateway, "/metrics");
    let line = text
        .lines()
        .find_map(|l| l.strip_prefix("ipcgw_cq_full_seconds_total "));
    line.unwrap().parse().unwrap()
}

/// Waits that long.
fn pass(time: Duration) {
    let start = Instant::now();
    eventually("the time is over", || start.elapsed() >= time);
}

/// Fills the ring with requests and takes `taken` of the completions once all have come.
fn fill(client: &mut Client, count: u64, taken: u64) {
    for mark in 0..count {
        let body = decide(&format!("fill-{mark}"), 256);
        client
            .submit(Request::to("decide").payload(&body).user_data(mark))
            .unwrap();
    }
    client.flush();
    for _ in 0..taken {
        let completion = client.wait(Duration::from_secs(10)).unwrap();
        assert_eq!(completion.code(), Code::Ok);
    }
}

#[test]
fn f17_a_stopped_client_costs_the_others_nothing_and_is_ended_when_it_takes_nothing_for_too_long() {
    let server = Server::start();
    let _router = Router::start(&server, &[]);
    let gateway = connected(&server);
    // Three go on while one is stopped, and while it is not.
    let (mut control, mut measured) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        for stops in [false, true] {
            let fourth = start(&gateway, "--clients 1 --window 64 --duration 1500ms");
            let pid = fourth.clients(1)[0];
            let before = metric(&gateway, "ipcgw_accepted_total", "");
            eventually("the fourth is at work", || {
                metric(&gateway, "ipcgw_accepted_total", "") > before + 64
            });
            if stops {
                crate::support::signal("-STOP", pid);
            }
            let others = run(&gateway, "--clients 3 --window 64 --duration 1s");
            assert_eq!(number(&others, "answered"), number(&others, "requests"));
            let rates = if stops { &mut measured } else { &mut control };
            rates.push(others["rate"].as_f64().unwrap());
            if stops {
                crate::support::signal("-CONT", pid);
            }
            // Nothing of what was completed meanwhile is missing.
            let fourth = report(&fourth.end());
            assert_eq!(number(&fourth, "answered"), number(&fourth, "requests"));
            assert_eq!(fourth["codes"]["OK"], fourth["requests"]);
        }
    }
    let (control, measured) = (median(control), median(measured));
    println!(
        "others: {measured:.0}/s beside a stopped client, {control:.0}/s beside a running one"
    );
    assert!(measured >= 0.95 * control);
    assert_eq!(
        metric(&gateway, "ipcgw_sessions_ended_total", "SLOW_CLIENT"),
        0
    );
    drop(gateway);

    let gateway = connected_as("[control]\nslow_client_timeout = \"1s\"\n", &server);
    let ring = || attach_with(&gateway, ClientBuilder::new().entries(8));
    let (mut full, mut half, mut taker, mut idle) = (ring(), ring(), ring(), ring());
    let began = Instant::now();
    // One takes nothing of a full ring, one has room left, one has nothing more to take.
    fill(&mut full, 8, 0);
    fill(&mut half, 4, 0);
    fill(&mut taker, 8, 8);
    eventually("the session of the full ring ends", || {
        metric(&gateway, "ipcgw_sessions_ended_total", "SLOW_CLIENT") == 1
    });
    assert!(
        began.elapsed() >= Duration::from_secs(1),
        "{:?}",
        began.elapsed()
    );
    assert!(cq_full_seconds(&gateway) >= 0.9);
    // What it had not taken is still there; then it learns why nothing more comes.
    let mut left = 0;
    while full
        .wait(Duration::from_millis(100))
        .is_some_and(|c| c.code() == Code::Ok)
    {
        left += 1;
    }
    eventually("its client has noticed", || {
        (0..10_000).any(|_| full.poll().is_none() && full.end_reason().is_some())
    });
    assert_eq!(
        full.end_reason(),
        Some(EndReason::SlowClient),
        "after {left}"
    );
    pass(Duration::from_secs(2));
    assert_eq!(
        metric(&gateway, "ipcgw_sessions_ended_total", "SLOW_CLIENT"),
        1
    );
    for client in [&mut half, &mut taker, &mut idle] {
        while client.poll().is_some() {}
        fill(client, 1, 1);
    }
}

/// What four clients get done in a closed loop, requests a second.
fn capacity(gateway: &Gateway) -> f64 {
    let closed = || {
        let report = run(gateway, "--clients 4 --window 64 --duration 1s");
        report["rate"].as_f64().unwrap()
    };
    median((0..ROUNDS).map(|_| closed()).collect())
}

/// Tries so often before a figure is believed: a machine that builds something else meanwhile
/// spoils a few seconds, not all of them.
const TRIES: usize = 4;

/// How many times as long the 99th percentile may be. Without optimisation a cycle over what a greedy
/// client has on its way takes milliseconds, which is all that the others wait longer for.
const MOST_LATENCY: f64 = if cfg!(debug_assertions) { 5.0 } else { 3.0 };

/// Measures until it is as promised, and returns that; fails with what each try has said.
fn as_promised(mut measure: impl FnMut() -> Result<String, String>) -> String {
    let mut said = Vec::new();
    while said.len() < TRIES {
        match measure() {
            Ok(text) => return text,
            Err(text) => said.push(text),
        }
    }
    assert_eq!(said, Vec::<String>::new());
    String::new()
}

/// The control runs are alone at their gateway; the greedy client loads another one meanwhile, with
/// a server and a Router of its own. So both kinds of runs have the same share of the machine, and
/// what differs is what one gateway does with both.
#[test]
fn f21_polite_clients_keep_their_goodput_and_latency_beside_a_greedy_one() {
    let (server, elsewhere) = (Server::start(), Server::start());
    let _routers = [&server, &elsewhere].map(|server| Router::start(server, &[]));
    let (gateway, other) = (connected(&server), connected(&elsewhere));
    let figures = as_promised(|| {
        // A tenth of what there is: modest, however busy the machine is otherwise.
        let rate = (capacity(&gateway) / 10.0).round().max(30.0);
        let polite =
            format!("--clients 3 --window 64 --rate {rate} --timeout 2s --no-wait --duration 2s");
        let (mut alone, mut beside) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            for (loaded, reports) in [(&other, &mut alone), (&gateway, &mut beside)] {
                let accepted = || metric(loaded, "ipcgw_accepted_total", "");
                let before = accepted();
                let greedy = start(loaded, "--clients 1 --window 4096 --duration 5s");
                greedy.clients(1);
                // What is on its way has found its limit.
                eventually("the greedy one is at work", || {
                    accepted() > before + 2 * 4096
                });
                reports.push(run(&gateway, &polite));
                let greedy = report(&greedy.end());
                assert!(number(&greedy, "answered") > 0);
            }
        }
        let goodput = |reports: &[Value]| {
            let shares = reports.iter().map(|r| {
                let due = number(r, "requests") + number(r, "refused");
                ratio(number(r, "in_time"), due)
            });
            median(shares.collect())
        };
        let p99 = |reports: &[Value]| {
            let of = |r: &Value| r["latency_us"]["p99"].as_f64().unwrap();
            median(reports.iter().map(of).collect())
        };
        let (alone, beside) = [alone, beside].map(|r| (goodput(&r), p99(&r))).into();
        let text = format!(
            "{rate}/s: in time {:.3} alone, {:.3} beside; p99 {:.0} us alone, {:.0} us beside",
            alone.0, beside.0, alone.1, beside.1
        );
        let is_fair = beside.0 >= 0.9 * alone.0 && beside.1 <= MOST_LATENCY * alone.1;
        if is_fair { Ok(text) } else { Err(text) }
    });
    println!("{figures}");
}

/// Open loop at this many times the capacity.
fn offer(gateway: &Gateway, capacity: f64, times: f64, timeout: Duration) -> Value {
    let (rate, timeout) = ((capacity * times).round(), timeout.as_millis());
    let load = format!("--clients 4 --window 1024 --rate {rate} --timeout {timeout}ms");
    run(gateway, &format!("{load} --no-wait --duration 2s"))
}

#[test]
fn f45_overload_is_rejected_early_and_goodput_at_twice_the_capacity_is_nearly_the_peak() {
    let server = Server::start();
    let _router = Router::start(&server, &[]);
    let gateway = connected(&server);
    let figures = as_promised(|| {
        let capacity = capacity(&gateway);
        // Time enough for a request without a queue, also on a busy machine.
        let light = offer(&gateway, capacity, 0.25, Duration::from_secs(2));
        let p99 = light["latency_us"]["p99"].as_f64().unwrap();
        let timeout = Duration::from_secs_f64(p99 * 4.0 / 1e6).max(Duration::from_millis(50));
        let goodput = |report: &Value| ratio(number(report, "in_time"), 2);
        let (mut once, mut twice, mut rejected) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            once.push(goodput(&offer(&gateway, capacity, 1.0, timeout)));
            let overloaded = offer(&gateway, capacity, 2.0, timeout);
            twice.push(goodput(&overloaded));
            rejected.push(overloaded["rejected_after_us"]["p50"].as_f64().unwrap());
        }
        let (once, twice, rejected) = (median(once), median(twice), median(rejected));
        let text = format!(
            "capacity {capacity:.0}/s, timeout {timeout:?}: in time {once:.0}/s at 1x, \
             {twice:.0}/s at 2x, where half is rejected within {rejected:.0} us"
        );
        // Early: long before the time is over in which an answer would have been of use.
        let is_early = rejected <= timeout.as_secs_f64() * 1e6 / 4.0;
        let is_good = twice >= 0.8 * once && is_early;
        if is_good { Ok(text) } else { Err(text) }
    });
    println!("{figures}");
    let queue = r#"reason="queue""#;
    assert!(metric(&gateway, "ipcgw_overload_rejections_total", queue) > 0);
    // Nothing is left behind, and it is over when it is over.
    eventually("the overload has passed", || {
        metric(&gateway, "ipcgw_overload_active", "") == 0
            && metric(&gateway, "ipcgw_in_flight", "") == 0
    });
}

/// What a breaker promises beside the numbered faults: nobody who answers is found out, and so is
/// somebody who does again.
#[test]
fn an_open_breaker_rejects_at_once_and_closes_when_the_router_is_back() {
    let server = Server::start();
    let text = "[[route]]\nname = \"decide\"\n\
        [route.breaker]\nmin_failures = 5\nopen_time = \"300ms\"\nmax_open_time = \"600ms\"\n";
    let gateway = connected_as(text, &server);
    let mut client = attach_with(&gateway, ClientBuilder::new());
    let mut ask = |timeout| {
        let body = decide("b", 256);
        let request = Request::to("decide").payload(&body).timeout(timeout);
        let completion = client.call(request).unwrap();
        (completion.code(), completion.retry_after())
    };
    let long = Duration::from_secs(10);
    eventually("the breaker opens", || match ask(long) {
        (Code::NoResponders, _) => false,
        (code, wait) => {
            assert_eq!(code, Code::Overloaded);
            assert!(
                wait.is_some_and(|wait| wait <= Duration::from_millis(750)),
                "{wait:?}"
            );
            true
        }
    });
    assert!(metric(&gateway, "ipcgw_breaker_opens_total", r#"route="decide""#) >= 1);
    let rejected = r#"reason="breaker""#;
    assert!(metric(&gateway, "ipcgw_overload_rejections_total", rejected) >= 1);
    let _router = Router::start(&server, &[]);
    eventually("a probe closes it", || ask(long).0 == Code::Ok);
    assert_eq!(metric(&gateway, "ipcgw_breaker_state", ""), 0);
    assert_eq!(ask(long).0, Code::Ok);
    let log = gateway.log();
    assert!(log.contains("a circuit breaker has changed"), "{log}");
}
