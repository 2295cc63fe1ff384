//! Gateways that hand their sessions over: by `exec` on SIGUSR2, and through the service manager's
//! store on SIGTERM.

use std::collections::HashMap;
use std::fs::Permissions;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixDatagram;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ipc_ringbuf::{Client, ClientBuilder, Code, EndReason, Outcome, Request, sys};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use super::RESTARTS;
use crate::support::activation::Manager;
use crate::support::admin::{self, get};
use crate::support::gateway::{
    Gateway, attach, attach_with, connected, start, start_by, start_configured, until_connected,
};
use crate::support::history::Histories;
use crate::support::raw::{RawClient, call};
use crate::support::router::Router;
use crate::support::server::Server;
use crate::support::silent::{MARK, Silent};
use crate::support::{SOON, eventually, meanwhile, signal};

const LOOPBACK: &[&str] = &["--upstream", "loopback"];

/// The number of every session and the process that it belongs to.
fn sessions(gateway: &Gateway) -> HashMap<u64, u64> {
    let (status, text) = get(gateway, "/sessions");
    assert_eq!(status, 200);
    let rows: Vec<Value> = serde_json::from_str(&text).unwrap();
    let row = |row: &Value| {
        (
            row["session"].as_u64().unwrap(),
            row["pid"].as_u64().unwrap(),
        )
    };
    rows.iter().map(row).collect()
}

/// Sends SIGUSR2; returns when the next gateway has taken over, which is the same process.
fn hand_over(gateway: &Gateway) {
    let count = |what| gateway.log().matches(what).count();
    let before = count("sessions taken over");
    signal("-USR2", gateway.pid());
    eventually("the next gateway takes over", || {
        count("sessions taken over") > before
    });
}

fn ask(client: &mut Client, text: &str) {
    let reply = client.call(Request::to("decide").payload(text)).unwrap();
    assert_eq!((reply.code(), reply.payload()), (Code::Ok, text.as_bytes()));
}

#[test]
fn a_session_outlives_its_gateway() {
    for threads in ["merged", "split"] {
        let text = format!("[workers]\ncount = 1\nthreads = \"{threads}\"\n");
        let gateway = start_configured(&text, LOOPBACK);
        let mut client = attach(&gateway);
        ask(&mut client, "before");
        let before = sessions(&gateway);
        let files = gateway.files();
        for turn in 0..3 {
            hand_over(&gateway);
            eventually("it serves", || get(&gateway, "/readyz").0 == 200);
            assert_eq!(sessions(&gateway), before);
            ask(&mut client, &format!("after {turn}"));
            assert!(client.is_attached() && client.end_reason().is_none());
        }
        assert_eq!(gateway.files(), files);
        // Who comes later gets a number of its own; who goes is noticed.
        let second = attach(&gateway);
        assert_eq!(sessions(&gateway).len(), 2);
        drop(client);
        eventually("the first has gone", || sessions(&gateway).len() == 1);
        drop(second);
        eventually("the second has gone", || !gateway.holds_regions());
        signal("-TERM", gateway.pid());
        let dir = gateway.socket.clone();
        let (status, said) = gateway.wait();
        assert_eq!(status.code(), Some(0), "{said}");
        assert!(!dir.exists(), "the last one removes the socket's file");
    }
}

/// When the gateway whose metrics are at this address began; none while nobody answers there.
fn began(address: SocketAddr) -> Option<u64> {
    let stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(SOON)).unwrap();
    let (status, text) = admin::ask(stream, "/metrics");
    assert_eq!(status, 200);
    let mut lines = text.lines();
    let value = lines.find_map(|line| line.strip_prefix("ipcgw_start_time_seconds "));
    Some(value.unwrap().parse().unwrap())
}

#[test]
fn metrics_on_tcp_are_the_next_gateways_and_say_that_it_has_begun() {
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let gateway = start(&["--upstream", "loopback", "--metrics", &address.to_string()]);
    let mut client = attach(&gateway);
    let mut last = began(address).unwrap();
    for turn in 0..3 {
        // It is said in whole seconds.
        meanwhile(Duration::from_millis(1100));
        hand_over(&gateway);
        ask(&mut client, &format!("after {turn}"));
        let next = began(address).unwrap();
        assert!(next > last, "{next} after {last}");
        last = next;
    }
}

#[test]
fn a_reload_that_is_asked_for_during_the_hand_over_ends_nobody() {
    let gateway = start_configured("", LOOPBACK);
    let mut client = attach(&gateway);
    let before = sessions(&gateway);
    let pid = Pid::from_raw(gateway.pid().try_into().unwrap());
    let is_over = AtomicBool::new(false);
    let begun = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) && begun.elapsed() < 2 * SOON {
                kill(pid, Signal::SIGHUP).unwrap();
            }
        });
        for _ in 0..5 {
            hand_over(&gateway);
        }
        is_over.store(true, Ordering::Relaxed);
    });
    assert_eq!(sessions(&gateway), before);
    ask(&mut client, "after");
}

#[test]
fn what_is_in_flight_completes_once_as_unknown_and_what_waits_is_answered() {
    let silent = Silent::start();
    let gateway = start(&["--nats", &silent.url]);
    let mut client = attach(&gateway);
    until_connected(&mut client);
    let slow = |mark| {
        let request = Request::to("decide").payload(MARK);
        request.timeout(3 * SOON).user_data(mark)
    };
    for mark in 0..10 {
        client.submit(slow(mark)).unwrap();
    }
    client.flush();
    silent.wait_for(10);
    signal("-USR2", gateway.pid());
    eventually("the first are complete", || {
        client.outstanding() > 0 && {
            let completion = client.wait(SOON).unwrap();
            assert_eq!(completion.code(), Code::GatewayRestarted);
            assert_eq!(completion.outcome(), Outcome::Unknown);
            client.outstanding() == 0
        }
    });
    assert!(client.is_attached());
    // The same session again.
    client.submit(slow(11)).unwrap();
    client.flush();
    silent.wait_for(11);
    assert_eq!(sessions(&gateway).len(), 1);
}

#[test]
fn fifty_successions_under_load_keep_every_session_and_complete_everything_once() {
    let server = Server::start();
    let mut router = Router::start(&server, &[]);
    let gateway = connected(&server);
    let mut histories = Histories::new();
    let flags = ["--rate", "1000", "--timeout", "5s"];
    let mut clients = ["a", "b", "c"].map(|name| histories.client(&gateway.socket, name, &flags));
    eventually("only they are there", || sessions(&gateway).len() == 3);
    let before = sessions(&gateway);
    for turn in 0..RESTARTS {
        meanwhile(Duration::from_millis(50 + 41 * turn % 200));
        hand_over(&gateway);
    }
    eventually("the last one serves", || get(&gateway, "/readyz").0 == 200);
    assert_eq!(sessions(&gateway), before, "nobody has attached again");
    meanwhile(Duration::from_millis(300));
    for client in &mut clients {
        client.end();
    }
    router.close();
    let verdict = histories.check(&[router.log_path()]);
    println!("{RESTARTS} successions, {verdict}");
    let codes = verdict["codes"].as_object().unwrap();
    let others = codes
        .keys()
        .filter(|code| !["OK", "GATEWAY_RESTARTED"].contains(&code.as_str()));
    assert_eq!(others.count(), 0, "{verdict}");
}

#[test]
fn who_corrupts_its_rings_meanwhile_is_ended_alone() {
    let gateway = start(LOOPBACK);
    let mut honest = attach(&gateway);
    type Crime = fn(&RawClient);
    let crimes: [Crime; 4] = [
        RawClient::corrupt,
        |client| client.claim_submitted(3),
        |client| client.claim_taken(u32::MAX),
        |client| client.scribble(),
    ];
    for crime in crimes {
        let mut hostile = RawClient::attach_with(&gateway.socket, 2, 1024);
        hostile.exchange(&call(0).to_words(), b"");
        signal("-USR2", gateway.pid());
        // All the time: some of it falls between the two gateways.
        let count = |what| gateway.log().matches(what).count();
        let before = count("sessions taken over");
        eventually("the next gateway takes over", || {
            crime(&hostile);
            count("sessions taken over") > before || hostile.ended().is_some()
        });
        hostile.submit(0, &call(0).to_words(), b"");
        crime(&hostile);
        ask(&mut honest, "I go on");
        assert!(honest.end_reason().is_none());
        drop(hostile);
        eventually("it has gone", || sessions(&gateway).len() == 1);
    }
}

#[test]
fn a_program_or_a_configuration_that_cannot_serve_takes_nothing_over() {
    let gateway = start(LOOPBACK);
    let mut client = attach(&gateway);
    let config = gateway.socket.with_file_name("config.toml");
    std::fs::write(&config, "nonsense = 1\n").unwrap();
    signal("-USR2", gateway.pid());
    eventually("it says why", || {
        gateway.log().contains("no other gateway can take over")
    });
    assert!(gateway.log().contains("unknown key"), "{}", gateway.log());
    ask(&mut client, "still here");
    std::fs::write(&config, "").unwrap();
    hand_over(&gateway);
    ask(&mut client, "now another");
    assert!(client.end_reason().is_none());
}

#[test]
fn a_program_that_does_not_read_this_form_takes_nothing_over() {
    let place = tempfile::tempdir().unwrap();
    let program = place.path().join("ipc-gateway");
    let copied = format!("cp \"$0\" {0} && exec {0} \"$@\"", program.display());
    let gateway = start_by(&["sh", "-c", &copied], "", LOOPBACK);
    let mut client = attach(&gateway);
    let next = place.path().join("next");
    std::fs::write(&next, "#!/bin/sh\necho \"asked: $*\" >&2\nexit 2\n").unwrap();
    std::fs::set_permissions(&next, Permissions::from_mode(0o755)).unwrap();
    std::fs::rename(&next, &program).unwrap();
    signal("-USR2", gateway.pid());
    eventually("it says why", || {
        gateway.log().contains("no other gateway can take over")
    });
    let asked = "asked: check-config --takes-over 1 --socket ";
    assert!(gateway.log().contains(asked), "{}", gateway.log());
    ask(&mut client, "still here");
    assert!(client.end_reason().is_none());
}

#[test]
fn with_other_routes_clients_attach_again() {
    let gateway = start(LOOPBACK);
    let mut client = attach_with(&gateway, ClientBuilder::new());
    let routes =
        "[[route]]\nname = \"first\"\nsubject = \"a\"\n[defaults]\nbuiltin_routes = false\n";
    std::fs::write(gateway.socket.with_file_name("config.toml"), routes).unwrap();
    signal("-USR2", gateway.pid());
    eventually("its session has ended", || {
        client.poll().is_none() && client.end_reason().is_some()
    });
    assert_eq!(client.end_reason(), Some(EndReason::Draining));
    eventually("it has attached again", || {
        let asked = client.call(Request::to("first").payload("x"));
        asked.is_ok_and(|reply| reply.code() == Code::Ok)
    });
}

/// Whether this is the name of a state that is kept.
fn is_state(name: &str) -> bool {
    name.starts_with("ipcgw-") && name.ends_with("-state")
}

/// What a gateway has given a service manager to keep.
fn kept(told: &UnixDatagram) -> Vec<(String, OwnedFd)> {
    let mut kept = Vec::new();
    let mut text = [0; 256];
    while sys::is_readable(told.as_fd()) {
        let (bytes, fds) = sys::receive_packet(told.as_fd(), &mut text)
            .unwrap()
            .unwrap();
        let text = String::from_utf8_lossy(&text[..bytes]);
        let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name));
        if field("FDSTORE=") == Some("1") {
            let [fd] = fds.try_into().unwrap();
            kept.push((field("FDNAME=").unwrap().to_owned(), fd));
        } else if field("FDSTOREREMOVE=") == Some("1") {
            let name = field("FDNAME=").unwrap();
            kept.retain(|(other, _)| other != name);
        }
    }
    kept
}

/// The same as it comes, until the state has come, which is last: nobody else would make room for more.
fn until_kept(told: UnixDatagram) -> JoinHandle<Vec<(String, OwnedFd)>> {
    std::thread::spawn(move || {
        let mut all = Vec::new();
        eventually("the state is kept", || {
            all.extend(kept(&told));
            all.iter().any(|(name, _)| is_state(name))
        });
        all
    })
}

#[test]
fn the_service_managers_store_keeps_sessions_from_stop_to_start() {
    let silent = Silent::start();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("notify");
    let told = UnixDatagram::bind(&path).unwrap();
    let mut manager = Manager::listen(dir.path());
    manager.environment = vec![
        ("NOTIFY_SOCKET", path.display().to_string()),
        ("FDSTORE", "64".to_owned()),
    ];
    let mut gateway = manager.start(dir, &["--nats", &silent.url]);
    let mut client = attach(&gateway);
    until_connected(&mut client);
    // One that dies while nobody serves it.
    let mut histories = Histories::new();
    let mut victim = histories.client(&gateway.socket, "victim", &["--rate", "10"]);
    eventually("both are attached", || sessions(&gateway).len() == 2);
    let before = sessions(&gateway);
    let own = *before
        .iter()
        .find(|(_, pid)| **pid == u64::from(std::process::id()))
        .unwrap()
        .0;
    let slow = Request::to("decide").payload(MARK).timeout(3 * SOON);
    client.submit(slow).unwrap();
    client.flush();
    silent.wait_for(1);
    let reader = until_kept(told.try_clone().unwrap());
    gateway.stop();
    let stored = reader.join().unwrap();
    // Three descriptors for each session, and the state.
    assert_eq!(stored.len(), 7, "{stored:?}");
    victim.kill();
    assert_eq!(
        client.wait(SOON).unwrap().code(),
        Code::GatewayRestarted,
        "it was in flight"
    );
    assert!(client.is_attached());
    // Nobody serves, and what is submitted waits.
    client
        .submit(Request::to("decide").payload("waits").user_data(5))
        .unwrap();
    client.flush();
    let sockets = manager.passed.len();
    manager.passed.extend(stored);
    manager.succeed(&mut gateway, LOOPBACK);
    let reply = client.wait(SOON).unwrap();
    assert_eq!((reply.ticket().0, reply.code()), (5, Code::Ok));
    eventually("only the living one is left", || {
        sessions(&gateway).into_keys().eq([own])
    });
    manager.passed.truncate(sockets);
    assert!(client.end_reason().is_none());
    // A store whose state is worth nothing: the client attaches again.
    drop(kept(&told));
    let nonsense = tempfile::tempfile().unwrap().into();
    manager
        .passed
        .push(("ipcgw-ffffffffff-state".to_owned(), nonsense));
    let reader = until_kept(told);
    gateway.stop();
    reader.join().unwrap();
    manager.succeed(&mut gateway, LOOPBACK);
    eventually("its session has ended", || {
        client.poll().is_none() && client.end_reason() == Some(EndReason::PeerDied)
    });
    eventually("it has attached again", || {
        client
            .call(Request::to("decide"))
            .is_ok_and(|reply| reply.code() == Code::Ok)
    });
}

#[test]
fn sessions_for_which_the_store_has_no_room_end_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("notify");
    let told = UnixDatagram::bind(&path).unwrap();
    let mut manager = Manager::listen(dir.path());
    manager.environment = vec![
        ("NOTIFY_SOCKET", path.display().to_string()),
        // One session and the state.
        ("FDSTORE", "6".to_owned()),
    ];
    let mut gateway = manager.start(dir, LOOPBACK);
    let mut clients = [attach(&gateway), attach(&gateway)];
    for client in &mut clients {
        ask(client, "before");
    }
    let reader = until_kept(told);
    gateway.stop();
    let stored = reader.join().unwrap();
    assert_eq!(stored.len(), 4, "{stored:?}");
    assert!(gateway.log().contains("keeps too few descriptors"));
    let [kept, ended] = &mut clients;
    assert!(kept.poll().is_none() && kept.end_reason().is_none());
    eventually("the other was told", || {
        ended.poll().is_none() && ended.end_reason() == Some(EndReason::Draining)
    });
    manager.passed.extend(stored);
    manager.succeed(&mut gateway, LOOPBACK);
    ask(kept, "after");
    assert!(kept.end_reason().is_none());
    eventually("it has attached again", || {
        let asked = ended.call(Request::to("decide"));
        asked.is_ok_and(|reply| reply.code() == Code::Ok)
    });
}

#[test]
fn a_stop_while_another_gateway_is_to_take_over_is_a_stop() {
    let silent = Silent::start();
    let mut gateway = start(&["--nats", &silent.url]);
    let mut client = attach(&gateway);
    until_connected(&mut client);
    let slow = Request::to("decide").payload(MARK).timeout(3 * SOON);
    client.submit(slow).unwrap();
    client.flush();
    silent.wait_for(1);
    signal("-USR2", gateway.pid());
    // It waits for what is in flight.
    eventually("another gateway is to take over", || {
        gateway.log().contains("another gateway takes over")
    });
    gateway.stop();
    assert!(!gateway.log().contains("sessions taken over"));
    assert_eq!(client.wait(SOON).unwrap().code(), Code::GatewayRestarted);
    eventually("it is told", || {
        client.poll().is_none() && client.end_reason() == Some(EndReason::Draining)
    });
}
