//! Clients that are killed: their sessions are taken down, and others do not notice.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::mpsc::{TryRecvError, channel};
use std::time::{Duration, Instant};

use ipc_ringbuf::{Client, Code, Request};

use crate::support::gateway::{attach, start, until_connected};
use crate::support::process::ClientProcess;
use crate::support::router::Router;
use crate::support::server::Server;
use crate::support::{decide, eventually};

/// Clients that are killed.
const VICTIMS: usize = 20;
/// Longest time until a dead client's session is gone.
const RECLAIM: Duration = Duration::from_millis(200);

#[test]
fn a_killed_clients_session_is_reclaimed_and_others_do_not_notice() {
    let server = Server::with(&["-D"]);
    let gateway = start(&["--nats", &server.url()]);
    let mut client = attach(&gateway);
    until_connected(&mut client);
    eventually("both connections are made", || server.connections() == 2);
    let at_rest = gateway.descriptors();
    let resident = gateway.resident();
    let _router = Router::start(&server, &[]);
    let (stop, stopped) = channel::<()>();
    let survivor = std::thread::spawn(move || {
        ask_until(client, || {
            stopped.try_recv() == Err(TryRecvError::Disconnected)
        })
    });
    let seed = RandomState::new().hash_one(0);
    let mut times = Vec::new();
    for number in 0..VICTIMS {
        let victim = ClientProcess::start(&gateway.socket, &format!("v{number}"), None, None);
        eventually("the victim is attached", || gateway.descriptors() > at_rest);
        // Some moment of its first 30 milliseconds.
        let moment = Duration::from_micros((seed >> number) % 30_000);
        let attached = Instant::now();
        eventually("its moment has come", || attached.elapsed() >= moment);
        victim.kill();
        let took = eventually("its session is gone", || gateway.descriptors() <= at_rest);
        times.push(took);
    }
    // Each session had a region of 1 MiB.
    let growth = gateway.resident() - resident;
    assert!(
        growth < 4 << 20,
        "{growth} bytes remain of {VICTIMS} sessions"
    );
    times.sort_unstable();
    let [most, slowest] = [VICTIMS * 9 / 10, VICTIMS - 1].map(|at| times[at]);
    drop(stop);
    let answered = survivor.join().unwrap();
    println!(
        "{VICTIMS} killed, seed {seed}: 9 of 10 reclaimed in {most:?}, the slowest in {slowest:?}, {growth} bytes more than before; the survivor had {answered} answers"
    );
    assert!(most < RECLAIM, "{most:?}, seed {seed}");
    assert!(slowest < 10 * RECLAIM, "{slowest:?}, seed {seed}");
    assert!(answered > 0);
    eventually("the survivor's session is gone", || {
        gateway.descriptors() < at_rest
    });
}

/// Keeps requests on their way until told to stop; every one must be answered.
fn ask_until(mut client: Client, stop: impl Fn() -> bool) -> u64 {
    let (mut sent, mut done) = (0, 0);
    let mut stopping = false;
    while !stopping || client.outstanding() > 0 {
        stopping = stopping || stop();
        while !stopping && client.outstanding() < 16 {
            let body = decide(&format!("s-{sent}"), 256);
            let request = Request::to("decide").payload(&body).user_data(sent);
            client.submit(request).unwrap();
            sent += 1;
        }
        let Some(completion) = client.wait(Duration::from_secs(10)) else {
            break;
        };
        assert_eq!(completion.code(), Code::Ok);
        let id = format!("\"s-{}\"", completion.ticket().0);
        assert!(String::from_utf8_lossy(completion.payload()).contains(&id));
        done += 1;
    }
    assert_eq!(sent, done);
    done
}
