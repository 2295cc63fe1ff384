//! A Router that is silent, late or repeats itself: deadlines hold, and nothing is kept.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use ipc_ringbuf::{Client, ClientBuilder, Code, Outcome, Request};

use crate::support::decide;
use crate::support::gateway::{Gateway, attach, attach_with, connected, connected_as};
use crate::support::router::Router;
use crate::support::server::Server;

/// Longest time that a completion may come after its deadline.
const LATENESS: Duration = Duration::from_millis(50);
/// Requests on their way at once.
const WINDOW: usize = 64;

#[test]
fn a_silent_router_times_every_request_out_at_its_deadline() {
    let server = Server::start();
    let gateway = connected(&server);
    let _router = Router::start(&server, &["--silent-rate", "1"]);
    let mut client = attach(&gateway);
    let mut sent = HashMap::new();
    let (mut next, mut late) = (0_u64, Vec::new());
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
        assert_eq!(completion.code(), Code::Timeout);
        assert_eq!(completion.outcome(), Outcome::Unknown);
        let deadline = sent.remove(&completion.ticket().0).expect("completed once");
        late.push(Instant::now().saturating_duration_since(deadline));
    }
    assert!(client.poll().is_none());
    late.sort_unstable();
    println!(
        "after the deadline: median {:?}, latest {:?}",
        late[1000], late[1999]
    );
    assert!(late[1999] < LATENESS, "{:?}", late[1999]);
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
            code => assert_eq!(code, Code::Timeout),
        }
    }
    assert!(client.poll().is_none());
    answered
}

#[test]
fn repeated_replies_complete_nothing_twice() {
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
fn late_replies_are_not_given_to_later_requests() {
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

/// Timeouts of one round.
const ROUND: u64 = 20_000;

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
fn a_hundred_thousand_timeouts_leave_no_memory_behind() {
    let server = Server::start();
    let gateway = connected_as("[workers]\nmax_queue_delay = \"0s\"\n", &server);
    let _router = Router::start(&server, &["--silent-rate", "1"]);
    let mut client = attach_with(&gateway, ClientBuilder::new().entries(1024));
    for _ in 0..2 {
        time_out(&mut client);
    }
    // A leak grows each time; what the allocator takes at once for later does not.
    let least = (0..3).find_map(|_| {
        let rounds = growth(&gateway, &mut client);
        #[expect(clippy::cast_precision_loss, reason = "for people")]
        let each = rounds[4] as f64 / 100_000.0;
        println!("resident memory: {each} bytes more for each timeout; rounds: {rounds:?}");
        (each < 1.0).then_some(each)
    });
    assert!(least.is_some());
}

/// Bytes of resident memory more than at the beginning, after each of five rounds: 100,000 timeouts.
fn growth(gateway: &Gateway, client: &mut Client) -> Vec<i64> {
    let before = gateway.resident();
    let round = |_| {
        time_out(client);
        gateway.resident() - before
    };
    (0..5).map(round).collect()
}
