//! Many requests of several client processes: each answered once, with the bytes that were sent.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::support::gateway::connected;
use crate::support::process::ClientProcess;
use crate::support::router::Router;
use crate::support::server::Server;

const CLIENTS: usize = 4;
const REQUESTS: usize = 200_000;
/// Longest time on two cores, without optimisation.
const BOUND: Duration = Duration::from_secs(60);

#[test]
fn every_request_of_four_processes_is_answered_once_with_the_bytes_that_the_router_sent() {
    let server = Server::start();
    let gateway = connected(&server);
    let router = Router::start(&server, &[]);
    let dir = tempfile::tempdir().unwrap();
    let files: Vec<PathBuf> = (0..CLIENTS)
        .map(|number| dir.path().join(number.to_string()))
        .collect();
    let start = Instant::now();
    let share = u64::try_from(REQUESTS / CLIENTS).unwrap();
    let clients: Vec<ClientProcess> = files
        .iter()
        .enumerate()
        .map(|(number, file)| {
            ClientProcess::start(
                &gateway.socket,
                &format!("c{number}"),
                Some(share),
                Some(file),
            )
        })
        .collect();
    clients.into_iter().for_each(ClientProcess::join);
    let took = start.elapsed();
    println!("{REQUESTS} requests of {CLIENTS} processes in {took:?}");
    assert!(took < BOUND, "{took:?}");
    let sent = std::fs::read(router.replies()).unwrap();
    let summary = router.end();
    let expected = format!("received={REQUESTS} answered={REQUESTS} errors=0");
    assert!(summary.contains(&expected), "{summary}");
    let received: Vec<u8> = files
        .iter()
        .flat_map(|file| std::fs::read(file).unwrap())
        .collect();
    // Each client has checked that its reply names its request, so equal multisets of lines are
    // equal replies to each request.
    let (sent, received) = (sorted(&sent), sorted(&received));
    assert_eq!(received.len(), REQUESTS);
    assert!(sent == received, "a reply was changed on its way");
    assert!(sent.windows(2).all(|pair| pair[0] != pair[1]));
}

fn sorted(text: &[u8]) -> Vec<&[u8]> {
    let mut lines: Vec<&[u8]> = text
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .collect();
    lines.sort_unstable();
    lines
}
