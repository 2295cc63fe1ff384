//! Nobody who answers, and a nats-server that dies with requests in flight.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use ipc_ringbuf::{Client, ClientBuilder, Code, Outcome, Request};

use crate::support::decide;
use crate::support::gateway::{attach, attach_with, connected};
use crate::support::router::Router;
use crate::support::server::Server;

/// Requests in flight when the server dies.
const IN_FLIGHT: usize = 1000;

fn ask(client: &mut Client, id: &str) -> Code {
    let body = decide(id, 256);
    let request = Request::to("decide").payload(&body);
    client.call(request).unwrap().code()
}

#[test]
fn nobody_who_listens_is_said_at_once() {
    let server = Server::start();
    let gateway = connected(&server);
    let mut client = attach(&gateway);
    let mut times: Vec<Duration> = (0..20)
        .map(|number| {
            let start = Instant::now();
            assert_eq!(ask(&mut client, &number.to_string()), Code::NoResponders);
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
fn a_dead_server_loses_what_is_in_flight_and_its_successor_is_used_without_a_restart() {
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
    crate::support::eventually("the Router has every request", || {
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
