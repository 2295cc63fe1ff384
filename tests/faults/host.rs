//! Faults 43 to 45: the gateway's own death, a worker that stands still, the clock, full disks.

use std::collections::HashMap;
use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use ipc_ringbuf::{Client, ClientBuilder, Code, Outcome, Request};
use nix::unistd::Uid;

use super::upstream::EPSILON;
use crate::support::admin::{get, metric};
use crate::support::gateway::{attach, attach_with, connected, start, start_by};
use crate::support::history::Histories;
use crate::support::router::Router;
use crate::support::server::Server;
use crate::support::stopped::Stopped;
use crate::support::{decide, eventually, is_long, meanwhile, signal};

#[test]
fn f43_a_gateway_killed_under_load_completes_all_as_unknown_and_leaves_nothing() {
    let kills = if is_long() { 100 } else { 10 };
    let server = Server::start();
    let url = server.url();
    let mut router = Router::start(&server, &[]);
    let mut gateway = start(&["--nats", &url]);
    let mut histories = Histories::new();
    let socket = gateway.socket.clone();
    let flags = ["--rate", "1000", "--timeout", "1s"];
    let mut clients = ["a", "b", "c"].map(|name| histories.client(&socket, name, &flags));
    let files = gateway.files();
    for kill in 0..kills {
        meanwhile(Duration::from_millis(100 + 41 * kill % 200));
        histories.fault();
        gateway.kill();
        assert_eq!(
            gateway.files(),
            files,
            "a dead gateway leaves its sockets and nothing else"
        );
        gateway.restart(&["--nats", &url]);
        let mut client = attach(&gateway);
        let body = decide("probe", 200);
        eventually("requests succeed", || {
            client
                .call(Request::to("decide").payload(&body))
                .unwrap()
                .code()
                == Code::Ok
        });
        histories.healed();
    }
    meanwhile(Duration::from_secs(4));
    clients.iter_mut().for_each(|client| client.end());
    gateway.terminate();
    assert!(
        gateway.files().iter().all(|name| !name.ends_with(".sock")),
        "{:?}",
        gateway.files()
    );
    router.close();
    histories.flag(EPSILON.0, EPSILON.1);
    let verdict = histories.check(&[router.log_path()]);
    println!("{kills} kills: {verdict}");
    assert!(
        verdict["codes"]["GATEWAY_RESTARTED"].as_u64() > Some(0),
        "{verdict}"
    );
    assert!(verdict["healed"].as_u64() > Some(1000), "{verdict}");
}

#[test]
fn f43_a_worker_that_stands_still_stops_the_watchdog_and_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let manager = dir.path().join("notify");
    let told = UnixDatagram::bind(&manager).unwrap();
    told.set_nonblocking(true).unwrap();
    let script = format!(
        "export NOTIFY_SOCKET={} WATCHDOG_USEC=400000; exec \"$@\"",
        manager.display()
    );
    let config = "[workers]\ncount = 1\nthreads = \"split\"\n";
    let gateway = start_by(
        &["sh", "-ec", &script, "sh"],
        config,
        &["--upstream", "loopback"],
    );
    let pulses = || {
        let mut text = [0; 256];
        std::iter::from_fn(|| told.recv(&mut text).ok()).count()
    };
    eventually("the watchdog is fed", || pulses() > 0);
    let mut client = attach(&gateway);
    // A worker that sleeps is well. Stopped in the middle of a turn it is not.
    let is_stuck = || get(&gateway, "/livez").0 == 503;
    let stopped = (0..20).find_map(|_| {
        for mark in 0..64 {
            client
                .submit(Request::to("decide").user_data(mark))
                .unwrap();
        }
        client.flush();
        let stopped = Stopped::stop(&gateway, "ipcgw-worker-0");
        let end = Instant::now() + Duration::from_secs(7);
        let is_awake = metric(&gateway, "ipcgw_in_flight", "") > 0 || client.poll().is_none();
        while is_awake && Instant::now() < end {
            if is_stuck() {
                return Some(stopped);
            }
            meanwhile(Duration::from_millis(100));
        }
        drop(stopped);
        while client.outstanding() > 0 {
            client.wait(Duration::from_secs(5)).unwrap();
        }
        None
    });
    assert!(stopped.is_some(), "it was asleep each time");
    let (_, why) = get(&gateway, "/livez");
    assert!(why.contains("worker"), "{why}");
    pulses();
    meanwhile(Duration::from_millis(1000));
    assert_eq!(pulses(), 0, "the watchdog was fed");
    drop(stopped);
    eventually("it is alive again", || !is_stuck());
    eventually("the watchdog is fed again", || pulses() > 0);
}

/// Takes so many completions; returns how many there were of each code.
fn take(client: &mut Client, count: usize) -> HashMap<Code, usize> {
    let mut codes = HashMap::new();
    for _ in 0..count {
        let completion = client.wait(Duration::from_secs(10)).unwrap();
        *codes.entry(completion.code()).or_default() += 1;
    }
    assert!(client.poll().is_none());
    codes
}

#[test]
fn f44_after_a_stall_what_ran_out_is_not_sent() {
    let server = Server::start();
    let gateway = connected(&server);
    let router = Router::start(&server, &["--delay", "500ms"]);
    let mut client = attach_with(&gateway, ClientBuilder::new().entries(512));
    let submit = |client: &mut Client, id: &str| {
        for number in 0..100 {
            let body = decide(&format!("{id}-{number}"), 200);
            let request = Request::to("decide").payload(&body);
            client
                .submit(request.timeout(Duration::from_secs(1)))
                .unwrap();
        }
        client.flush();
    };
    submit(&mut client, "sent");
    eventually("all are with the Router", || router.log().len() >= 100);
    signal("-STOP", gateway.pid());
    submit(&mut client, "stalled");
    meanwhile(Duration::from_secs(3));
    signal("-CONT", gateway.pid());
    let codes = take(&mut client, 200);
    assert_eq!(codes.get(&Code::ExpiredUnsent), Some(&100), "{codes:?}");
    assert_eq!(Code::ExpiredUnsent.outcome(), Outcome::Rejected);
    // The replies were there, or the deadlines had passed: both are true.
    let others = codes.get(&Code::Ok).unwrap_or(&0) + codes.get(&Code::Timeout).unwrap_or(&0);
    assert_eq!(others, 100, "{codes:?}");
    submit(&mut client, "fresh");
    assert_eq!(take(&mut client, 100), HashMap::from([(Code::Ok, 100)]));
    let stalled = router
        .payloads()
        .iter()
        .filter(|body| body.contains("stalled"))
        .count();
    assert_eq!(stalled, 0);
}

#[test]
fn f45_a_full_disk_under_the_log_stops_nothing() {
    let (script, is_disk) = if Uid::effective().is_root() {
        let mount = "DIR=$(dirname $4); mkdir $DIR/log; mount -t tmpfs -o size=64k tmpfs $DIR/log; \
                     head -c 61440 /dev/zero >$DIR/log/filled";
        let script =
            format!("exec unshare -m sh -ec '{mount}; exec \"$@\" 2>$DIR/log/file' sh \"$@\"");
        (script, true)
    } else {
        println!("not root: the log goes to /dev/full instead of a full tmpfs");
        ("exec \"$@\" 2>/dev/full".to_owned(), false)
    };
    let config = "[log]\nfilter = \"trace\"\n";
    let gateway = start_by(
        &["sh", "-ec", &script, "sh"],
        config,
        &["--upstream", "loopback"],
    );
    let root = format!("/proc/{}/root{}", gateway.pid(), gateway.socket.display());
    let log = std::path::Path::new(&root)
        .with_file_name("log")
        .join("file");
    eventually("lines are dropped", || {
        drop(attach(&gateway));
        metric(&gateway, "ipcgw_log_dropped_total", "") > 0
    });
    if is_disk {
        let bytes = std::fs::metadata(&log).unwrap().len();
        assert!((1..=4096).contains(&bytes), "{bytes} bytes of log");
    }
    let mut client = attach(&gateway);
    for mark in 0..1000 {
        let request = Request::to("decide").user_data(mark);
        assert_eq!(client.call(request).unwrap().code(), Code::Ok);
    }
    drop(client);
    signal("-TERM", gateway.pid());
    let (status, _) = gateway.wait();
    assert_eq!(status.code(), Some(0));
}
