//! Restarts and upgrades: sockets that the service manager keeps, and gateways that follow one
//! another under load.

use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{TryRecvError, channel};
use std::time::Duration;

use ipc_ringbuf::{CallError, ClientBuilder, Code, OwnedCompletion, Reattach, Request};
use nix::sys::socket::SockType;

use crate::support::activation::{Manager, listen_at};
use crate::support::admin::{get, reload};
use crate::support::gateway::{attach, until_connected};
use crate::support::history::Histories;
use crate::support::router::Router;
use crate::support::server::Server;
use crate::support::{SOON, decide, eventually, meanwhile};

mod failures;
mod succession;
mod units;
mod watchdog;

const LOOPBACK: &[&str] = &["--upstream", "loopback"];
/// How often a gateway is followed by another.
const RESTARTS: u64 = 50;

#[test]
fn sockets_of_the_service_manager_are_served_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let mut manager = Manager::listen(dir.path());
    let path = dir.path().join("admin.sock");
    let admin = listen_at(&path, SockType::Stream);
    // The name that systemd gives by itself: the type says what it is for.
    manager
        .passed
        .push(("ipc-gateway.socket".to_owned(), admin));
    let mut gateway = manager.start(dir, LOOPBACK);
    let mut client = attach(&gateway);
    let answer = client.call(Request::to("decide").payload(b"x")).unwrap();
    assert_eq!(answer.code(), Code::Ok);
    assert_eq!(get(&gateway, "/readyz").0, 200);
    assert_eq!(gateway.files(), ["admin.sock", "gateway.sock"]);
    gateway.stop();
    assert_eq!(gateway.files(), ["admin.sock", "gateway.sock"]);
    // Nobody serves, and whoever connects is not refused.
    UnixStream::connect(&path).unwrap();
    let waiting = std::thread::spawn({
        let builder = ClientBuilder::new().socket(&gateway.socket);
        move || builder.attach_timeout(SOON).connect().map(drop)
    });
    manager.succeed(&mut gateway, LOOPBACK);
    waiting.join().unwrap().unwrap();
}

#[test]
fn a_gateway_on_sockets_that_were_passed_reads_its_configuration_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut manager = Manager::listen(dir.path());
    let admin = listen_at(&dir.path().join("admin.sock"), SockType::Stream);
    manager.passed.push(("admin".to_owned(), admin));
    let file = dir.path().join("config.toml");
    // The sockets that are passed take the place of those that are configured.
    let elsewhere = dir.path().join("elsewhere.sock");
    std::fs::write(&file, "upstream = \"loopback\"\n").unwrap();
    let arguments = [
        "--config",
        file.to_str().unwrap(),
        "--admin",
        elsewhere.to_str().unwrap(),
    ];
    let gateway = manager.start(dir, &arguments);
    assert_eq!(reload(&gateway).1["result"], "unchanged");
    std::fs::write(&file, "upstream = \"loopback\"\nlog.filter = \"debug\"\n").unwrap();
    let (status, answer) = reload(&gateway);
    assert_eq!(
        (status, &answer["result"]),
        (200, &"changed".into()),
        "{answer}"
    );
}

#[test]
fn what_is_no_listening_socket_of_the_right_kind_is_refused() {
    let place = || {
        let dir = tempfile::tempdir().unwrap();
        let manager = Manager::listen(dir.path());
        (dir, manager)
    };
    let refused = |manager: &Manager, dir: &tempfile::TempDir, expected: &str| {
        let output = manager.command(dir.path(), LOOPBACK).wait_with_output();
        let output = output.unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(78), "{said}");
        assert!(said.contains(expected), "{said}");
    };
    let (dir, mut manager) = place();
    let file = tempfile::tempfile().unwrap().into();
    manager.passed.push(("clients".to_owned(), file));
    refused(&manager, &dir, "is not a socket");
    let (dir, mut manager) = place();
    let second = listen_at(&dir.path().join("second"), SockType::SeqPacket);
    manager.passed.push(("other".to_owned(), second));
    refused(&manager, &dir, "is the second socket for clients");
    let (dir, mut manager) = place();
    let stream = listen_at(&dir.path().join("stream"), SockType::Stream);
    manager.passed = vec![("clients".to_owned(), stream)];
    refused(&manager, &dir, "has the type of a socket for admin");
    let (dir, mut manager) = place();
    let connected = UnixStream::pair().unwrap().0.into();
    manager.passed = vec![("clients".to_owned(), connected)];
    refused(&manager, &dir, "does not listen");
}

/// Attaches and asks until the sender is dropped; every attach must be let in.
fn come_and_go(
    builder: ClientBuilder,
    stopped: std::sync::mpsc::Receiver<()>,
) -> std::thread::JoinHandle<u64> {
    std::thread::spawn(move || {
        let mut attached = 0;
        while stopped.try_recv() != Err(TryRecvError::Disconnected) {
            let mut client = builder.clone().connect().unwrap();
            attached += 1;
            let body = decide("guest", 200);
            let reply = client.call(Request::to("decide").payload(&body)).unwrap();
            assert_ne!(reply.code(), Code::BadRecord);
        }
        attached
    })
}

/// Calls until told to stop, each answered OK; returns how many.
fn call_all(
    stop: &AtomicBool,
    mut call: impl FnMut(Request<'_>) -> Result<OwnedCompletion, CallError>,
) -> u64 {
    let mut answered = 0_u64;
    while !stop.load(Ordering::Relaxed) {
        let payload = answered.to_le_bytes();
        let reply = call(Request::to("decide").payload(&payload)).unwrap();
        assert_eq!((reply.code(), reply.payload()), (Code::Ok, &payload[..]));
        answered += 1;
    }
    answered
}

#[test]
fn calls_of_every_handle_wait_for_the_next_gateway() {
    let dir = tempfile::tempdir().unwrap();
    let manager = Manager::listen(dir.path());
    let mut gateway = manager.start(dir, LOOPBACK);
    let builder = ClientBuilder::new().socket(&gateway.socket);
    let builder = builder.reattach(Reattach::Wait(3 * SOON));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut own = builder.clone().connect().unwrap();
    let shared = builder.clone().connect_shared().unwrap();
    let tasks = runtime.block_on(builder.connect_async()).unwrap();
    let stop = AtomicBool::new(false);
    let answered = std::thread::scope(|scope| {
        let calls = [
            scope.spawn(|| call_all(&stop, |request| own.call(request).map(|it| it.to_owned()))),
            scope.spawn(|| call_all(&stop, |request| shared.call(request))),
            scope.spawn(|| call_all(&stop, |request| shared.call(request))),
            scope.spawn(|| call_all(&stop, |request| runtime.block_on(tasks.call(request)))),
        ];
        for _ in 0..5 {
            meanwhile(Duration::from_millis(200));
            gateway.stop();
            manager.succeed(&mut gateway, LOOPBACK);
        }
        meanwhile(Duration::from_millis(500));
        stop.store(true, Ordering::Relaxed);
        calls.map(|call| call.join().unwrap())
    });
    println!("{answered:?} calls");
    assert!(answered.iter().all(|calls| *calls > 5), "{answered:?}");
}

#[test]
fn one_that_is_never_to_attach_again_does_not() {
    let dir = tempfile::tempdir().unwrap();
    let manager = Manager::listen(dir.path());
    let mut gateway = manager.start(dir, LOOPBACK);
    let builder = ClientBuilder::new().socket(&gateway.socket);
    let mut client = builder.reattach(Reattach::Never).connect().unwrap();
    gateway.stop();
    manager.succeed(&mut gateway, LOOPBACK);
    drop(attach(&gateway));
    eventually("it has noticed", || {
        client.poll().is_none() && !client.is_attached()
    });
    for _ in 0..10 {
        meanwhile(Duration::from_millis(30));
        let called = client.call(Request::to("decide")).map(|reply| reply.code());
        assert_eq!(called, Err(CallError::Detached));
    }
}

#[test]
fn fifty_restarts_under_load_refuse_nobody_and_complete_everything_once() {
    let server = Server::start();
    let url = server.url();
    let mut router = Router::start(&server, &[]);
    let dir = tempfile::tempdir().unwrap();
    let manager = Manager::listen(dir.path());
    let mut gateway = manager.start(dir, &["--nats", &url]);
    until_connected(&mut attach(&gateway));
    let mut histories = Histories::new();
    let socket = gateway.socket.clone();
    let flags = ["--rate", "1000", "--timeout", "2s", "--reattach", "60s"];
    let mut clients = ["a", "b", "c"].map(|name| histories.client(&socket, name, &flags));
    let builder = ClientBuilder::new()
        .socket(&socket)
        .attach_timeout(3 * SOON);
    let builder = builder.reattach(Reattach::Wait(3 * SOON));
    let (stop, stopped) = channel();
    let guests = come_and_go(builder, stopped);
    for restart in 0..RESTARTS {
        meanwhile(Duration::from_millis(50 + 41 * restart % 200));
        gateway.stop();
        manager.succeed(&mut gateway, &["--nats", &url]);
    }
    until_connected(&mut attach(&gateway));
    meanwhile(Duration::from_millis(300));
    for client in &mut clients {
        client.end();
    }
    drop(stop);
    let attached = guests.join().unwrap();
    router.close();
    // A submission may wait for the next gateway before its time begins.
    histories.flag("--epsilon", "60s");
    let verdict = histories.check(&[router.log_path()]);
    println!("{RESTARTS} restarts, {attached} attaches, {verdict}");
    assert_eq!(verdict["refused"], 0, "{verdict}");
    assert!(attached > RESTARTS);
    // Each gateway ended in order, so every request was either answered or never sent.
    let codes = verdict["codes"].as_object().unwrap();
    let others = codes
        .keys()
        .filter(|code| !["OK", "DRAINING"].contains(&code.as_str()));
    assert_eq!(others.count(), 0, "{verdict}");
}
