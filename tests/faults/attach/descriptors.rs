//! Faults 4 and 5: descriptors that are sent, and none left.
#![expect(
    clippy::print_stdout,
    reason = "helpers of tests fail by panicking and say what they measured"
)]

use std::fs::File;
use std::os::fd::AsFd as _;
use std::process::Command;
use std::time::{Duration, Instant};

use ipc_ringbuf::handshake::Answer;
use ipc_ringbuf::{AttachError, Client, ClientBuilder, Code, EndReason, Request, sys};

use super::{LOOPBACK, answer, back_to, connect, echoes, hello, refused};
use crate::support::admin::{get, metric};
use crate::support::gateway::{Gateway, attach, start, start_by, until_connected};
use crate::support::router::Router;
use crate::support::server::Server;
use crate::support::{decide, eventually};

#[test]
fn f04_descriptors_that_are_sent_are_never_taken() {
    let gateway = start(&LOOPBACK);
    let mut good = attach(&gateway);
    let before = gateway.descriptors();
    let file = File::open("/dev/null").unwrap();
    let flood = vec![file.as_fd(); 200];
    let mut most = 0;
    for number in 0..1000 {
        let client = connect(&gateway);
        sys::send_packet(client.as_fd(), &hello(), &flood).unwrap();
        assert_eq!(refused(client.as_fd()), EndReason::Protocol);
        if number % 50 == 0 {
            most = most.max(gateway.descriptors());
        }
    }
    // The client's own connection and its twin may be there for a moment.
    assert!(most <= before + 4, "{before} became {most}");
    back_to(&gateway, before);
    // On the connection of a session, where nothing more is to be said, they end it.
    for ended in 1..=20 {
        let client = connect(&gateway);
        sys::send_packet(client.as_fd(), &hello(), &[]).unwrap();
        let (answer, fds) = answer(client.as_fd());
        assert!(matches!(answer, Answer::Welcome(_)) && fds.len() == 3);
        sys::send_packet(client.as_fd(), b"x", &flood).unwrap();
        eventually("the session is ended", || {
            metric(&gateway, "ipcgw_sessions_ended_total", "PROTOCOL") == ended
        });
    }
    back_to(&gateway, before);
    echoes(&mut good);
}

/// What a gateway's threads have done so far: the seconds they ran, and how often they went to sleep.
fn done(gateway: &Gateway) -> (f64, f64) {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", gateway.pid())).unwrap();
    let of_each = tasks.map(|task| {
        let task = task.unwrap().path();
        let text = std::fs::read_to_string(task.join("schedstat")).unwrap();
        let ran = Duration::from_nanos(text.split(' ').next().unwrap().parse().unwrap());
        let text = std::fs::read_to_string(task.join("status")).unwrap();
        let mut lines = text.lines();
        let slept = lines.find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        let slept: u32 = slept.unwrap().trim().parse().unwrap();
        (ran.as_secs_f64(), f64::from(slept))
    });
    of_each.fold((0.0, 0.0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
}

/// A gateway does next to nothing while nobody asks for anything: it wakes less than 16 times a second,
/// and no thread spins. The best of three tries counts, because there are log lines to write at first.
///
/// What a wake costs is the machine's matter, and not held here: on some virtual ones the first touch of
/// any page after a second of rest takes 0.04 to 0.15 ms, in any process. The ten wakes a second of a
/// debug build whose accepting fails then take 3 to 8 percent of a core, and 0.5 where they do not.
fn idles(gateway: &Gateway, when: &str) {
    let tries = [(); 3].map(|()| {
        let (start, before) = (Instant::now(), done(gateway));
        eventually("a while has passed", || {
            start.elapsed() > Duration::from_secs(3)
        });
        let (seconds, after) = (start.elapsed().as_secs_f64(), done(gateway));
        let share = (after.0 - before.0) / seconds;
        let wakes = (after.1 - before.1) / seconds;
        println!(
            "{when}: {:.2} % of a core, {wakes:.1} wakes/s",
            share * 100.0
        );
        (share, wakes)
    });
    let is_little = |(share, wakes): &(f64, f64)| *share < 0.5 && *wakes < 16.0;
    assert!(tries.iter().any(is_little), "{when}: {tries:?}");
}

#[test]
fn f05_without_descriptors_or_memory_attaches_are_refused_and_everything_else_goes_on() {
    let mut server = Server::start();
    let router = Router::start(&server, &[]);
    let url = server.url();
    let gateway = start_by(&["prlimit", "--nofile=64:64"], "", &["--nats", &url]);
    let mut clients = vec![attach(&gateway)];
    until_connected(&mut clients[0]);
    loop {
        match ClientBuilder::new().socket(&gateway.socket).connect() {
            Ok(client) => clients.push(client),
            Err(AttachError::Refused { reason, .. }) => {
                assert_eq!(reason, EndReason::Overloaded);
                break;
            }
            Err(error) => panic!("{error}"),
        }
    }
    println!("{} sessions with 64 descriptors", clients.len());
    let work = |clients: &mut Vec<Client>| {
        for client in clients {
            let body = decide("exhausted", 200);
            let answer = client.call(Request::to("decide").payload(&body)).unwrap();
            assert_eq!(answer.code(), Code::Ok);
        }
    };
    // Refused at once, however many come, but for the few that could still become a session.
    let silent: Vec<_> = (0..200).map(|_| connect(&gateway)).collect();
    let reasons = silent.iter().map(|socket| refused(socket.as_fd()));
    let kept = reasons.filter(|reason| *reason != EndReason::Overloaded);
    assert!(kept.count() < 8);
    work(&mut clients);
    idles(&gateway, "none left for clients");
    // What is reserved is enough for the operator and for a new connection to NATS.
    assert_eq!(get(&gateway, "/metrics").0, 200);
    drop(router);
    server.kill();
    eventually("it is noticed", || get(&gateway, "/readyz").0 == 503);
    server.restart();
    let _router = Router::start(&server, &[]);
    eventually("it is connected again", || {
        get(&gateway, "/readyz").0 == 200
    });
    work(&mut clients);
    nothing_left_at_all(&gateway, &mut clients, &work);
    no_memory_for_a_region();
    clients.pop();
    eventually("there is room again", || {
        ClientBuilder::new()
            .socket(&gateway.socket)
            .connect()
            .is_ok()
    });
}

/// A gateway without address space for a large region refuses it, and nobody else notices.
fn no_memory_for_a_region() {
    let gateway = start(&LOOPBACK);
    let mut good = attach(&gateway);
    let before = gateway.descriptors();
    let status = std::fs::read_to_string(format!("/proc/{}/status", gateway.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmSize:"));
    let kib: u64 = line
        .unwrap()
        .split_whitespace()
        .nth(1)
        .unwrap()
        .parse()
        .unwrap();
    let limit = format!("--as={}", kib * 1024 + (32 << 20));
    let pid = format!("--pid={}", gateway.pid());
    let limited = Command::new("prlimit").args([pid, limit]).status();
    assert!(limited.unwrap().success());
    let large = ClientBuilder::new().entries(1024).message_size(64 * 1024);
    let refused = large.socket(&gateway.socket).connect().unwrap_err();
    assert!(
        matches!(
            refused,
            AttachError::Refused {
                reason: EndReason::Overloaded,
                ..
            }
        ),
        "{refused}"
    );
    echoes(&mut good);
    echoes(&mut attach(&gateway));
    back_to(&gateway, before);
}

/// Lowers the limit below what is in use: not even accepting is possible.
fn nothing_left_at_all(
    gateway: &Gateway,
    clients: &mut Vec<Client>,
    work: &impl Fn(&mut Vec<Client>),
) {
    let limit = |soft: u32| {
        let pid = format!("--pid={}", gateway.pid());
        let limit = format!("--nofile={soft}:64");
        let status = Command::new("prlimit").args([pid, limit]).status();
        assert!(status.unwrap().success());
    };
    limit(10);
    let start = Instant::now();
    let waiting: Vec<_> = (0..5).map(|_| connect(gateway)).collect();
    work(clients);
    idles(gateway, "accepting fails");
    work(clients);
    let passed = start.elapsed();
    limit(64);
    // Those that waited are seen to: refused at once, or when they have said nothing for too long.
    for socket in &waiting {
        refused(socket.as_fd());
    }
    let errors = metric(gateway, "ipcgw_accept_errors_total", "EMFILE");
    println!("{errors} failures to accept were counted in {passed:?}");
    // Ever more seldom, once a second in the end: after 0.1, 0.3, 0.7 and 1.5 s, then each second.
    let most = passed.as_secs() + 5;
    assert!((1..=most).contains(&errors), "{errors}");
}
