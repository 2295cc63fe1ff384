//! `examples/client.c`, which was written from `docs/PROTOCOL.md` alone: gcc builds it without a
//! warning, and the real gateway serves it.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use ipc_ringbuf::Code;

use crate::protocol::trusts_whom_the_variable_names;
use crate::support::eventually;
use crate::support::gateway::{Gateway, attach, connected, start};
use crate::support::lines::Lines;
use crate::support::router::Router;
use crate::support::server::Server;

/// The first request of the program.
const REQUEST: &str = r#"{"version":"1","tenant_id":"acme","request_id":"c-0","task":{"type":"chat","payload":{"text":"request 0"}}}"#;

/// Builds the program once; returns where it is. The directory stays for as long as the tests run.
fn program() -> &'static Path {
    static BUILT: OnceLock<(tempfile::TempDir, PathBuf)> = OnceLock::new();
    let (_, program) = BUILT.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("client");
        let output = Command::new("gcc")
            .args(["-std=c11", "-Wall", "-Wextra", "-Werror", "-O2", "-o"])
            .arg(&program)
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/client.c"))
            .output()
            .expect("gcc is installed");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        (dir, program)
    });
    program
}

fn command(socket: &Path, count: u32) -> Command {
    let mut command = Command::new(program());
    command.arg(socket).args(["decide", &count.to_string()]);
    command
}

/// The program as a process, killed with its guard.
struct Client {
    child: Child,
    said: Lines,
    complaints: Lines,
}

impl Client {
    fn start(socket: &Path, count: u32) -> Self {
        let mut child = command(socket, count)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let said = Lines::of(child.stdout.take().unwrap());
        let complaints = Lines::of(child.stderr.take().unwrap());
        Self {
            child,
            said,
            complaints,
        }
    }

    /// Waits until it ends; returns its exit code, what it has said and what it complained of.
    fn end(mut self) -> (Option<i32>, String, String) {
        let (said, complaints) = (self.said.all(), self.complaints.all());
        (self.child.wait().unwrap().code(), said, complaints)
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn run(gateway: &Gateway, count: u32) -> (Option<i32>, String, String) {
    Client::start(&gateway.socket, count).end()
}

#[test]
fn what_it_sends_comes_back_byte_for_byte() {
    let gateway = start(&["--upstream", "loopback"]);
    drop(attach(&gateway));
    // None but the first, a hundred, and then more than any lap of the rings.
    for count in [0, 100, 20_000] {
        let counted = if count == 0 {
            String::new()
        } else {
            format!("{count} answered 0\n")
        };
        let expected = format!(
            "answered 0: {REQUEST}\n{counted}{count} payloads came back as they were sent\n"
        );
        assert_eq!(run(&gateway, count), (Some(0), expected, String::new()));
    }
    assert!(!gateway.log().contains("corrupt"), "{}", gateway.log());
}

#[test]
fn it_gets_the_routers_answer_byte_for_byte_and_sleeps_until_then() {
    let server = Server::start();
    let gateway = connected(&server);
    let mut router = Router::start(&server, &["--delay", "30ms"]);
    let (code, said, complaints) = run(&gateway, 40);
    router.close();
    assert_eq!((code, complaints.as_str()), (Some(0), ""), "{said}");
    let payloads = router.payloads();
    assert_eq!(payloads.first().map(String::as_str), Some(REQUEST));
    let replies = std::fs::read_to_string(router.replies()).unwrap();
    assert_eq!(replies.lines().count(), 41, "{replies}");
    let answer = replies.lines().next().unwrap();
    let expected =
        format!("answered 0: {answer}\n40 answered 0\n0 payloads came back as they were sent\n");
    assert_eq!(said, expected);
}

/// The counts that it has printed, by outcome and code.
fn counts(said: &str) -> Vec<(u64, &str)> {
    let lines = said
        .lines()
        .skip(1)
        .filter(|line| !line.contains("payloads"));
    let count =
        |line| str::split_once(line, ' ').map(|(count, what)| (count.parse().unwrap(), what));
    lines.filter_map(count).collect()
}

#[test]
fn it_completes_everything_when_the_gateway_is_killed() {
    let server = Server::start();
    let mut gateway = connected(&server);
    let router = Router::start(&server, &["--delay", "30ms"]);
    let client = Client::start(&gateway.socket, 100_000);
    eventually("it has sent", || router.payloads().len() > 20);
    gateway.kill();
    let (code, said, complaints) = client.end();
    assert_eq!((code, complaints.as_str()), (Some(1), ""), "{said}");
    let lost = format!("unknown {}", Code::GatewayRestarted.number());
    let counts = counts(&said);
    assert!(
        counts
            .iter()
            .any(|(count, what)| *count > 0 && *what == "answered 0"),
        "{said}"
    );
    // As many as a session of 16 entries has in flight.
    assert!(
        counts
            .iter()
            .any(|(count, what)| (1..=16).contains(count) && *what == lost),
        "{said}"
    );
    assert_eq!(counts.len(), 2, "{said}");
}

#[test]
fn it_is_told_what_a_draining_gateway_never_took() {
    let mut gateway = start(&["--upstream", "loopback"]);
    let client = Client::start(&gateway.socket, 50_000_000);
    eventually("it is attached", || {
        gateway.log().contains("client attached")
    });
    gateway.stop();
    let (code, said, complaints) = client.end();
    assert_eq!((code, complaints.as_str()), (Some(1), ""), "{said}");
    let rejected = format!("rejected {}", Code::Draining.number());
    assert!(said.contains(&rejected), "{said}");
}

#[test]
fn without_a_gateway_it_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("none.sock");
    let (code, said, complaints) = Client::start(&socket, 1).end();
    assert_eq!((code, said.as_str()), (Some(69), ""));
    let expected = format!("client: {}: No such file or directory\n", socket.display());
    assert_eq!(complaints, expected);
}

#[test]
fn it_trusts_whom_the_variable_names() {
    let gateway = start(&["--upstream", "loopback"]);
    drop(attach(&gateway));
    trusts_whom_the_variable_names(|| command(&gateway.socket, 1));
}
