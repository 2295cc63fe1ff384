//! Faults 34 to 37: nobody who answers, acknowledgements, replies that repeat or come late.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use ipc_ringbuf::{Client, ClientBuilder, Code, Outcome, Request};

use super::upstream::DECIDE;
use crate::support::admin::metric;
use crate::support::gateway::{Gateway, attach, attach_with, connected, connected_as};
use crate::support::router::Router;
use crate::support::server::Server;
use crate::support::wire::Wire;
use crate::support::{decide, eventually, is_long};

/// Longest time that a completion may come after its deadline.
const LATENESS: Duration = Duration::from_millis(50);
/// Everything that is asked is sent, whatever becomes of it.
const UNLIMITED: &str = "[workers]\nmax_queue_delay = \"0s\"\n";
/// Requests on their way at once.
const WINDOW: usize = 64;

#[test]
fn f34_nobody_who_listens_is_said_at_once() {
    let server = Server::start();
    let gateway = connected(&server);
    let mut client = attach(&gateway);
    let mut times: Vec<Duration> = (0..20)
        .map(|number| {
            let start = Instant::now();
            let body = decide(&number.to_string(), 256);
            let reply = client.call(Request::to("decide").payload(&body)).unwrap();
            assert_eq!(reply.code(), Code::NoResponders);
            assert_eq!(reply.outcome(), Outcome::Answered);
            start.elapsed()
        })
        .collect();
    times.sort_unstable();
    println!(
        "no responders: median {:?}, slowest {:?}",
        times[10], times[19]
    );
    assert!(times[10] < Duration::from_millis(20), "{times:?}");
}

#[test]
fn f35_the_answer_is_the_routers_although_a_stream_acknowledges_first() {
    let server = Server::with(&["-js"]);
    let gateway = connected(&server);
    let mut wire = Wire::connect(&server);
    wire.create_stream("DECIDE", DECIDE);
    // The acknowledgement is there long before the answer.
    let _router = Router::start(&server, &["--delay", "20ms"]);
    let mut client = attach(&gateway);
    for number in 0..20 {
        let body = decide(&format!("r-{number}"), 256);
        let reply = client.call(Request::to("decide").payload(&body)).unwrap();
        assert_eq!(reply.code(), Code::Ok);
        let answer = String::from_utf8_lossy(reply.payload());
        assert!(
            answer.contains(&format!("\"request_id\":\"r-{number}\"")),
            "{answer}"
        );
    }
    assert_eq!(wire.stored("DECIDE"), 20);
    assert_eq!(metric(&gateway, "ipcgw_pubacks_ignored_total", ""), 20);
}

#[test]
fn f35_an_acknowledgement_alone_is_no_answer() {
    let server = Server::with(&["-js"]);
    let gateway = connected(&server);
    let mut wire = Wire::connect(&server);
    wire.create_stream("DECIDE", DECIDE);
    let mut client = attach(&gateway);
    let body = decide("r", 256);
    let request = Request::to("decide").payload(&body);
    let reply = client
        .call(request.timeout(Duration::from_millis(200)))
        .unwrap();
    assert_eq!(reply.code(), Code::Timeout);
    assert_eq!(wire.stored("DECIDE"), 1);
}

#[test]
fn f36_repeated_replies_complete_nothing_twice() {
    let server = Server::start();
    let gateway = connected(&server);
    let router = Router::start(&server, &["--duplicate", "2"]);
    let mut client = attach(&gateway);
    assert_eq!(exchange(&mut client, 2000, Duration::from_secs(10)), 2000);
    assert_eq!(exchange(&mut client, 100, Duration::from_secs(10)), 100);
    let summary = router.end();
    assert!(summary.contains("duplicates=4200"), "{summary}");
}

#[test]
fn f37_a_silent_router_times_every_request_out_at_its_deadline() {
    let server = Server::start();
    let gateway = connected_as(UNLIMITED, &server);
    let _router = Router::start(&server, &["--silent-rate", "1"]);
    let mut client = attach(&gateway);
    let mut sent = HashMap::new();
    let (mut next, mut late, mut unsent) = (0_u64, Vec::new(), 0);
    while late.len() < 2000 {
        while next < 2000 && client.outstanding() < WINDOW {
            let body = decide(&next.to_string(), 256);
            let timeout = Duration::from_millis(5 + next * 7 % 100);
            let request = Request::to("decide").payload(&body).timeout(timeout);
            client.submit(request.user_data(next)).unwrap();
            sent.insert(next, Instant::now() + timeout);
            next += 1;
        }
        let completion = client.wait(Duration::from_secs(5)).unwrap();
        // On a busy machine some milliseconds can pass before a request is sent.
        match completion.code() {
            Code::Timeout => assert_eq!(completion.outcome(), Outcome::Unknown),
            code => {
                assert_eq!(code, Code::ExpiredUnsent);
                unsent += 1;
            }
        }
        let deadline = sent.remove(&completion.ticket().0).expect("completed once");
        late.push(Instant::now().saturating_duration_since(deadline));
    }
    assert!(client.poll().is_none());
    late.sort_unstable();
    println!(
        "after the deadline: median {:?}, 99 of 100 {:?}, latest {:?}",
        late[1000], late[1979], late[1999]
    );
    assert!(late[1979] < LATENESS, "{:?}", late[1979]);
    // A machine may stand still for a while.
    assert!(late[1999] < 10 * LATENESS, "{:?}", late[1999]);
    assert!(unsent < 500, "{unsent} were never sent");
}

/// Sends `count` requests; returns how many were answered. Each completes once, as answered with
/// its own reply or as timed out.
fn exchange(client: &mut Client, count: u64, timeout: Duration) -> u64 {
    let (mut sent, mut answered) = (0, 0);
    let mut open = vec![true; usize::try_from(count).unwrap()];
    for _ in 0..count {
        while sent < count && client.outstanding() < WINDOW {
            let body = decide(&format!("r-{sent}-"), 256);
            let request = Request::to("decide").payload(&body).timeout(timeout);
            client.submit(request.user_data(sent)).unwrap();
            sent += 1;
        }
        let completion = client.wait(Duration::from_secs(10)).unwrap();
        let mark = completion.ticket().0;
        let first = &mut open[usize::try_from(mark).unwrap()];
        assert!(std::mem::take(first), "{mark} completed twice");
        match completion.code() {
            Code::Ok => {
                answered += 1;
                let body = String::from_utf8_lossy(completion.payload());
                assert!(body.contains(&format!("\"r-{mark}-\"")), "{mark}: {body}");
            }
            // On a busy machine some milliseconds can pass before a request is sent.
            code => assert!(
                matches!(code, Code::Timeout | Code::ExpiredUnsent),
                "{code:?}"
            ),
        }
    }
    assert!(client.poll().is_none());
    answered
}

#[test]
fn f37_late_replies_are_not_given_to_later_requests() {
    let server = Server::start();
    let gateway = connected(&server);
    let flags = ["--late", "300ms", "--late-rate", "0.5", "--seed", "7"];
    let _router = Router::start(&server, &flags);
    let mut client = attach(&gateway);
    // Late replies come while later requests, in the same places, are on their way.
    let answered = exchange(&mut client, 600, Duration::from_millis(150));
    assert!((1..600).contains(&answered), "{answered}");
    assert_eq!(exchange(&mut client, 200, Duration::from_secs(10)), 200);
}

#[test]
fn f37_late_and_repeated_replies_are_counted_one_by_one() {
    let server = Server::start();
    let gateway = connected(&server);
    let unmatched = |reason| metric(&gateway, "ipcgw_unmatched_replies_total", reason);
    let mut client = attach(&gateway);
    let before = metric(&gateway, "ipcgw_accepted_total", "");
    let router = Router::start(&server, &["--duplicate", "2"]);
    assert_eq!(exchange(&mut client, 100, Duration::from_secs(10)), 100);
    eventually("each repeated reply has come", || {
        unmatched("late") + unmatched("duplicate") >= 200
    });
    let repeated = count(&router.end(), "duplicates");
    assert_eq!(unmatched("late") + unmatched("duplicate"), repeated);
    let router = Router::start(&server, &["--late", "300ms"]);
    assert_eq!(exchange(&mut client, 50, Duration::from_millis(100)), 0);
    let useless = || {
        let late = metric(&gateway, "ipcgw_late_replies_total", "");
        late + unmatched("late") + unmatched("duplicate")
    };
    eventually("each late reply has come", || useless() >= 250);
    assert_eq!(useless(), repeated + count(&router.end(), "late"));
    assert_eq!(unmatched("forged"), 0);
    // The books balance.
    assert_eq!(metric(&gateway, "ipcgw_accepted_total", "") - before, 150);
    assert_eq!(metric(&gateway, "ipcgw_in_flight", ""), 0);
    assert_eq!(
        metric(&gateway, "ipcgw_completions_total", ""),
        metric(&gateway, "ipcgw_accepted_total", "")
    );
}

/// The number before which a Router's counts name something.
fn count(summary: &str, name: &str) -> u64 {
    let number = summary
        .split_whitespace()
        .find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
    number.unwrap().parse().unwrap()
}

/// Timeouts of one round.
const ROUND: u64 = 20_000;
/// Rounds: a hundred thousand timeouts, or a million in the long form.
fn rounds() -> u64 {
    if is_long() { 50 } else { 5 }
}

fn time_out(client: &mut Client) {
    let body = decide("t", 256);
    let (mut sent, mut done) = (0, 0);
    while done < ROUND {
        while sent < ROUND && client.outstanding() < 1024 {
            let timeout = Duration::from_millis(1 + sent % 20);
            let request = Request::to("decide").payload(&body).timeout(timeout);
            client.submit(request).unwrap();
            sent += 1;
        }
        let code = client.wait(Duration::from_secs(5)).unwrap().code();
        // On a busy machine a millisecond can pass before the request is sent.
        assert!(
            matches!(code, Code::Timeout | Code::ExpiredUnsent),
            "{code}"
        );
        done += 1;
    }
}

#[test]
fn f37_timeouts_leave_no_memory_behind() {
    let server = Server::start();
    let gateway = connected_as(UNLIMITED, &server);
    let _router = Router::start(&server, &["--silent-rate", "1"]);
    let mut client = attach_with(&gateway, ClientBuilder::new().entries(1024));
    for _ in 0..2 {
        time_out(&mut client);
    }
    // A leak grows each time; what the allocator takes at once for later does not.
    let least = (0..3).find_map(|_| {
        let rounds = growth(&gateway, &mut client);
        #[expect(clippy::cast_precision_loss, reason = "for people")]
        let each = *rounds.last().unwrap() as f64 / (rounds.len() as u64 * ROUND) as f64;
        println!("resident memory: {each} bytes more for each timeout; rounds: {rounds:?}");
        (each < 1.0).then_some(each)
    });
    assert!(least.is_some());
}

/// Bytes of resident memory more than at the beginning, after each round.
fn growth(gateway: &Gateway, client: &mut Client) -> Vec<i64> {
    let before = gateway.resident();
    let round = |_| {
        time_out(client);
        gateway.resident() - before
    };
    (0..rounds()).map(round).collect()
}
