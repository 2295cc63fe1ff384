//! What an operator has: the admin server, the log, the service manager.

use std::io::Read as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::process::{Child, Command, Output};
use std::time::{Duration, Instant};

use ipc_ringbuf::{ClientBuilder, Code, Request};
use nix::fcntl::{FcntlArg, fcntl};

use crate::support::admin::{ask, get, metric, say};
use crate::support::gateway::{attach, serve, start, start_configured};
use crate::support::lines::Lines;
use crate::support::raw::RawClient;
use crate::support::{SOON, eventually, signal};

fn health(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ipc-gateway"));
    command.arg("health").args(arguments).output().unwrap()
}

#[test]
fn the_admin_socket_of_a_gateway_that_was_killed_is_taken_over() {
    let text = "[control]\nsocket_mode = 0o660\nadmin_mode = 0o600\n";
    let mut gateway = start_configured(text, &["--upstream", "loopback"]);
    let socket = gateway.socket.with_file_name("admin.sock");
    let mode = |path: &std::path::Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&socket), mode(&gateway.socket)), (0o600, 0o660));
    gateway.kill();
    assert!(socket.metadata().unwrap().file_type().is_socket());
    UnixStream::connect(&socket).unwrap_err();
    gateway.restart(&["--upstream", "loopback"]);
    assert_eq!(get(&gateway, "/readyz").0, 200);
    gateway.terminate();
    assert!(!socket.exists());
}

#[test]
fn a_second_gateway_on_an_admin_socket_is_told_so() {
    let gateway = start(&["--upstream", "loopback"]);
    let admin = gateway.socket.with_file_name("admin.sock");
    let other = gateway.socket.with_file_name("other.sock");
    let run = |admin: &str| {
        let mut command = serve(&other);
        command.args(["--upstream", "loopback", "--admin", admin]);
        let output = command.output().unwrap();
        assert!(!other.exists());
        (
            output.status.code(),
            String::from_utf8(output.stderr).unwrap(),
        )
    };
    let (code, said) = run(admin.to_str().unwrap());
    assert_eq!(code, Some(78));
    assert!(said.contains("another gateway"), "{said}");
    assert!(said.contains("another --admin"), "{said}");
    assert_eq!(get(&gateway, "/livez").0, 200);
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let (code, said) = run(&taken.local_addr().unwrap().to_string());
    assert_eq!(code, Some(73));
    assert!(said.contains("another --admin"), "{said}");
}

#[test]
fn the_admin_server_can_be_had_on_tcp() {
    let address = free_address();
    let admin = address.to_string();
    let gateway = start(&["--upstream", "loopback", "--admin", &admin]);
    for path in ["/livez", "/readyz", "/metrics", "/sessions", "/status"] {
        let (status, _) = ask(TcpStream::connect(address).unwrap(), path);
        assert_eq!(status, 200, "{path}");
    }
    assert!(!gateway.socket.with_file_name("admin.sock").exists());
    let output = health(&["--admin", &admin]);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(output.stdout, b"ready\n");
}

/// An address of loopback that nobody listens at.
fn free_address() -> SocketAddr {
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    free.local_addr().unwrap()
}

#[test]
fn metrics_and_probes_can_be_had_on_tcp_and_the_admin_socket_stays() {
    let address = free_address();
    let at = address.to_string();
    let gateway = start(&["--upstream", "loopback", "--metrics", &at]);
    let answer = |method: &str, path: &str| {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        say(stream, method, path)
    };
    for path in ["/livez", "/readyz"] {
        assert_eq!(answer("GET", path), get(&gateway, path), "{path}");
    }
    let (status, text) = answer("GET", "/metrics");
    assert_eq!(status, 200);
    assert!(text.contains("ipcgw_build_info"), "{text}");
    // Nothing of who is attached, and nothing that changes anything.
    for path in ["/sessions", "/status", "/reload", "/"] {
        for method in ["GET", "POST"] {
            assert_eq!(answer(method, path).0, 404, "{method} {path}");
        }
    }
    for path in ["/livez", "/readyz", "/metrics"] {
        assert_eq!(answer("POST", path).0, 405, "{path}");
    }
    assert_eq!(get(&gateway, "/status").0, 200);
    for flags in [
        ["--admin", at.as_str()],
        ["--socket", gateway.socket.to_str().unwrap()],
    ] {
        let output = health(&flags);
        assert_eq!(output.status.code(), Some(0), "{flags:?}");
        assert_eq!(output.stdout, b"ready\n");
    }
}

#[test]
fn who_floods_the_address_of_metrics_takes_no_place_of_the_operators() {
    let address = free_address();
    let gateway = start(&["--upstream", "loopback", "--metrics", &address.to_string()]);
    let silent: Vec<_> = (0..100)
        .map(|_| TcpStream::connect(address).unwrap())
        .collect();
    let asked = Instant::now();
    assert_eq!(get(&gateway, "/livez").0, 200);
    // The silent ones are closed after 5 s.
    assert!(asked.elapsed() < Duration::from_secs(4));
    drop(silent);
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    assert_eq!(ask(stream, "/readyz").0, 200);
}

#[test]
fn an_address_of_metrics_that_is_taken_is_73_and_leaves_no_socket() {
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("gateway.sock");
    let mut command = serve(&socket);
    let address = taken.local_addr().unwrap().to_string();
    command.args(["--upstream", "loopback", "--metrics", &address]);
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(73), "{said}");
    assert!(said.contains("another --metrics"), "{said}");
    assert!(!socket.exists());
}

/// The command of an instruction of the image, a list of words.
fn command_of(instruction: &str) -> Vec<String> {
    let file = include_str!("../deploy/Dockerfile").replace("\\\n", "");
    let mut lines = file.lines();
    let line = lines.find(|line| line.starts_with(instruction)).unwrap();
    let (_, command) = line.split_once("CMD ").unwrap();
    serde_json::from_str(command).unwrap()
}

#[test]
fn a_container_without_nats_is_healthy_and_one_without_a_gateway_is_not() {
    let command = command_of("HEALTHCHECK ");
    assert_eq!(command[0], "/usr/bin/ipc-gateway");
    let mut gateway = start(&["--nats", "nats://127.0.0.1:1"]);
    let socket = gateway.socket.clone();
    let check = || {
        let mut check = Command::new(env!("CARGO_BIN_EXE_ipc-gateway"));
        let check = check.args(&command[1..]).env("IPC_GATEWAY_SOCKET", &socket);
        check.output().unwrap().status.code()
    };
    assert_eq!(get(&gateway, "/readyz").0, 503);
    assert_eq!(check(), Some(0));
    gateway.kill();
    assert_eq!(check(), Some(69));
}

#[test]
fn what_asks_and_does_not_read_is_closed_and_leaves_room() {
    let gateway = start(&["--upstream", "loopback"]);
    let socket = gateway.socket.with_file_name("admin.sock");
    let silent: Vec<_> = (0..80)
        .map(|_| UnixStream::connect(&socket).unwrap())
        .collect();
    // More than are served at once: the question waits until the first of them are closed.
    let asked = Instant::now();
    assert_eq!(get(&gateway, "/livez").0, 200);
    assert!(asked.elapsed() < Duration::from_secs(10));
    drop(silent);
}

#[test]
fn sigint_drains_as_sigterm_does() {
    let gateway = start(&["--upstream", "loopback"]);
    drop(attach(&gateway));
    signal("-INT", gateway.pid());
    let (status, said) = gateway.wait();
    assert_eq!(status.code(), Some(0));
    assert!(said.contains("draining"), "{said}");
}

#[test]
fn a_json_log_has_an_object_a_line_and_no_payload() {
    let text = "[log]\nformat = \"json\"\nfilter = \"trace\"\n";
    let gateway = start_configured(text, &["--upstream", "loopback"]);
    let mut client = attach(&gateway);
    let secret = Request::to("decide").payload(b"my-secret-payload");
    assert_eq!(client.call(secret).unwrap().code(), Code::Ok);
    drop(client);
    eventually("the end is logged", || {
        gateway.log().contains("session ended")
    });
    signal("-TERM", gateway.pid());
    let (_, said) = gateway.wait();
    assert!(!said.contains("my-secret-payload"), "{said}");
    let mut attached = 0;
    for line in said.lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(
            line["timestamp"].is_string() && line["level"].is_string(),
            "{line}"
        );
        if line["fields"]["message"] == "client attached" {
            assert_eq!(line["fields"]["pid"], std::process::id());
            attached += 1;
        }
    }
    assert_eq!(attached, 1);
}

#[test]
fn corrupt_rings_end_their_sessions_and_do_not_flood_the_log() {
    let gateway = start(&["--upstream", "loopback"]);
    let mut client = attach(&gateway);
    for corrupted in 1..=60 {
        let hostile = RawClient::attach(&gateway.socket, 1024);
        hostile.corrupt();
        eventually("it is counted", || {
            metric(&gateway, "ipcgw_sessions_ended_total", "RING_CORRUPT") == corrupted
        });
    }
    assert_eq!(metric(&gateway, "ipcgw_ring_violations_total", "index"), 60);
    assert!(metric(&gateway, "ipcgw_log_suppressed_total", "") > 0);
    let log = gateway.log();
    let lines = log
        .lines()
        .filter(|line| line.contains("rings are corrupt"));
    let lines: Vec<_> = lines.collect();
    assert!((20..50).contains(&lines.len()), "{log}");
    assert!(lines.iter().all(|line| line.contains("uid=")), "{log}");
    let answer = client.call(Request::to("decide").payload(b"x")).unwrap();
    assert_eq!(answer.code(), Code::Ok);
}

/// A gateway that is none of `support`'s because its pipes are handled otherwise.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

#[test]
fn a_log_that_nobody_reads_does_not_stop_the_gateway() {
    const PIPE: usize = 4096;
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("gateway.sock");
    let mut command = serve(&socket);
    let mut process = Process(command.args(["--upstream", "loopback"]).spawn().unwrap());
    let mut log = process.0.stderr.take().unwrap();
    fcntl(&log, FcntlArg::F_SETPIPE_SZ(i32::try_from(PIPE).unwrap())).unwrap();
    Lines::of(process.0.stdout.take().unwrap()).wait_for("serving");
    let mut attached = Vec::new();
    for _ in 0..60 {
        let client = ClientBuilder::new().socket(&socket).connect();
        attached.push(client.unwrap());
    }
    attached.clear();
    let mut client = ClientBuilder::new().socket(&socket).connect().unwrap();
    let answer = client.call(Request::to("decide").payload(b"x")).unwrap();
    assert_eq!(answer.code(), Code::Ok);
    signal("-TERM", process.0.id());
    let told = Instant::now();
    let mut status = None;
    eventually("it ends", || {
        status = process.0.try_wait().unwrap();
        status.is_some()
    });
    assert_eq!(status.and_then(|status| status.code()), Some(0));
    assert!(
        told.elapsed() < Duration::from_secs(5),
        "{:?}",
        told.elapsed()
    );
    let mut written = String::new();
    log.read_to_string(&mut written).unwrap();
    assert!(written.len() > PIPE / 2, "the pipe was not full: {written}");
}

#[test]
fn the_service_manager_is_told_ready_alive_and_stopping() {
    let dir = tempfile::tempdir().unwrap();
    let manager = dir.path().join("notify");
    let told = UnixDatagram::bind(&manager).unwrap();
    told.set_read_timeout(Some(SOON)).unwrap();
    let next = || {
        let mut text = [0; 256];
        let bytes = told.recv(&mut text).unwrap();
        String::from_utf8(text[..bytes].to_vec())
            .unwrap()
            .trim()
            .to_owned()
    };
    let mut command = serve(&dir.path().join("gateway.sock"));
    command
        .args(["--upstream", "loopback"])
        .env("NOTIFY_SOCKET", &manager)
        .env("WATCHDOG_USEC", "200000")
        .env_remove("WATCHDOG_PID");
    let mut process = Process(command.spawn().unwrap());
    assert_eq!(next(), "READY=1");
    for _ in 0..5 {
        assert_eq!(next(), "WATCHDOG=1");
    }
    signal("-TERM", process.0.id());
    let mut last = next();
    while last == "WATCHDOG=1" {
        last = next();
    }
    assert_eq!(last, "STOPPING=1");
    assert_eq!(process.0.wait().unwrap().code(), Some(0));
}

#[test]
fn health_fits_what_the_server_answers() {
    // A server that never comes: alive, and not ready.
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = silent.local_addr().unwrap().port();
    drop(silent);
    let gateway = start(&["--nats", &format!("nats://127.0.0.1:{port}")]);
    let socket = gateway.socket.to_str().unwrap();
    eventually("the failure is known", || {
        get(&gateway, "/readyz").1.contains("refused")
    });
    let output = health(&["--socket", socket, "--json"]);
    assert_eq!(output.status.code(), Some(1));
    let said: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&said["live"], &said["ready"]),
        (&true.into(), &false.into())
    );
    let (status, body) = get(&gateway, "/readyz");
    assert_eq!(status, 503);
    let body: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(body["reason"], said["reason"]);
    // Somebody else's socket, which answers nothing.
    let path = gateway.socket.with_file_name("mute.sock");
    let _mute = UnixListener::bind(&path).unwrap();
    let output = health(&["--admin", path.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(69));
}
