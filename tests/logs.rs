//! How log lines look, and what is never in them.

use std::fs::File;
use std::io::{PipeWriter, Write as _, pipe};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::process::Stdio;
use std::time::{Duration, Instant};

use ipc_ringbuf::{ClientBuilder, Code, Request};
use nix::fcntl::{FcntlArg, fcntl};

use crate::support::admin::get;
use crate::support::gateway::{Gateway, attach, serve, start_configured, until_connected};
use crate::support::lines::Lines;
use crate::support::router::Router;
use crate::support::server::Server;
use crate::support::{decide, eventually, signal};

/// What a gateway says that is started, asked once and ended, when `JOURNAL_STREAM` names its
/// standard error, or something else.
fn said(is_journal: bool, format: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("gateway.sock");
    let (reader, writer) = pipe().unwrap();
    let writer = File::from(OwnedFd::from(writer));
    let is = writer.metadata().unwrap();
    let inode = if is_journal { is.ino() } else { is.ino() + 1 };
    let mut child = serve(&socket)
        .args(["--upstream", "loopback"])
        .env("JOURNAL_STREAM", format!("{}:{inode}", is.dev()))
        .env("IPC_GATEWAY_LOG", "debug")
        .env("IPC_GATEWAY_LOG_FORMAT", format)
        .stderr(Stdio::from(writer))
        .spawn()
        .unwrap();
    Lines::of(child.stdout.take().unwrap()).wait_for("serving");
    let lines = Lines::of(reader);
    let mut client = ClientBuilder::new().socket(&socket).connect().unwrap();
    let answer = client.call(Request::to("decide").payload(b"x")).unwrap();
    assert_eq!(answer.code(), Code::Ok);
    drop(client);
    signal("-TERM", child.id());
    assert!(child.wait().unwrap().success());
    lines.all()
}

#[test]
fn lines_for_the_journal_begin_with_their_priority() {
    for format in ["text", "json"] {
        let text = said(true, format);
        let attached: Vec<&str> = text
            .lines()
            .filter(|l| l.contains("client attached"))
            .collect();
        assert_eq!(attached.len(), 1, "{text}");
        for line in text.lines() {
            let level = line.get(..3).unwrap();
            assert!(["<3>", "<4>", "<6>", "<7>"].contains(&level), "{line}");
            let name = match level {
                "<3>" => "ERROR",
                "<4>" => "WARN",
                "<6>" => "INFO",
                _ => "DEBUG",
            };
            assert!(line.contains(name), "{line}");
            if format == "json" {
                serde_json::from_str::<serde_json::Value>(&line[3..]).unwrap();
            } else {
                // The journal notes the time itself, and shows no colours.
                assert!(!line.contains('\x1b') && !line.contains("Z "), "{line}");
            }
        }
    }
}

#[test]
fn a_standard_error_that_is_not_the_journal_gets_no_priorities() {
    for format in ["text", "json"] {
        let text = said(false, format);
        assert!(text.contains("client attached"), "{text}");
        assert!(!text.lines().any(|line| line.starts_with('<')), "{text}");
    }
}

#[test]
fn the_most_talkative_log_has_no_payload_no_header_value_and_no_secret() {
    let server = Server::with(&["--auth", "t0ken-of-the-server"]);
    let url = format!("nats://t0ken-of-the-server@127.0.0.1:{}", server.port());
    let _router = Router::start_at(&url, &["--echo"]);
    let text = format!(
        "[log]\nfilter = \"trace\"\n[nats]\nurls = [\"{}\"]\ntoken = \"t0ken-of-the-server\"\n",
        server.url()
    );
    let gateway = start_configured(&text, &[]);
    let mut client = attach(&gateway);
    until_connected(&mut client);
    let body = decide("payl0ad-of-a-request", 128);
    let request = Request::to("decide")
        .header("x-mark", "va1ue-of-a-header")
        .payload(&body);
    assert_eq!(client.call(request).unwrap().code(), Code::Ok);
    drop(client);
    eventually("the end is logged", || {
        gateway.log().contains("session ended")
    });
    let log = gateway.log();
    assert!(log.contains("TRACE") || log.contains("DEBUG"), "{log}");
    for secret in [
        "payl0ad-of-a-request",
        "va1ue-of-a-header",
        "t0ken-of-the-server",
    ] {
        assert!(!log.contains(secret), "{secret} is in\n{log}");
    }
}

/// Has no room for another byte.
fn fill(mut pipe: &PipeWriter) {
    let bytes = fcntl(pipe, FcntlArg::F_GETPIPE_SZ).unwrap();
    let bytes = usize::try_from(bytes).unwrap();
    pipe.write_all(&vec![b'x'; bytes]).unwrap();
}

/// A gateway whose log nobody reads, with this standard output.
fn unread(output: Stdio, log: PipeWriter) -> Gateway {
    let dir = tempfile::tempdir().unwrap();
    let mut command = serve(&dir.path().join("gateway.sock"));
    command.args(["--upstream", "loopback"]);
    let child = command.stdout(output).stderr(log).spawn().unwrap();
    Gateway::of(child, Lines::of(std::io::empty()), dir)
}

/// It becomes ready, is followed by another and ends well.
fn goes_on(mut gateway: Gateway) {
    let mut client = attach(&gateway);
    let is_ready = |gateway: &Gateway| get(gateway, "/readyz").0 == 200;
    eventually("it is ready", || is_ready(&gateway));
    let environment = format!("/proc/{}/environ", gateway.pid());
    let is_successor = || {
        let variables = std::fs::read(&environment).unwrap();
        let mut variables = variables.split(|byte| *byte == 0);
        variables.any(|it| it.starts_with(b"IPC_GATEWAY_HANDOVER="))
    };
    signal("-USR2", gateway.pid());
    eventually("the next gateway takes over", is_successor);
    eventually("it is ready", || is_ready(&gateway));
    let reply = client.call(Request::to("decide")).unwrap();
    assert_eq!(reply.code(), Code::Ok);
    assert!(client.end_reason().is_none());
    let asked = Instant::now();
    gateway.stop();
    assert!(asked.elapsed() < Duration::from_secs(10));
}

#[test]
fn a_reader_that_has_stopped_holds_up_neither_start_nor_hand_over_nor_end() {
    let (_reader, full) = pipe().unwrap();
    fill(&full);
    goes_on(unread(Stdio::from(full.try_clone().unwrap()), full));
    // Nobody is left to read what a gateway would say about its log.
    let (gone, output) = pipe().unwrap();
    drop(gone);
    let (_reader, full) = pipe().unwrap();
    fill(&full);
    goes_on(unread(Stdio::from(output), full));
}
