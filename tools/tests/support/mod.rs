//! Real processes for the tests: a nats-server and a reference-router, each ended by its guard.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test helper fails by panicking"
)]

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::Duration;

use async_nats::{Client, Message, Subscriber};
use futures_util::StreamExt as _;

/// Longest time for anything that must happen.
pub(crate) const SOON: Duration = Duration::from_secs(10);
/// A request that breaks no rule.
pub(crate) const VALID: &str =
    r#"{"tenant_id":"t","request_id":"r-1","task":{"type":"chat","payload":{"text":"hello"}}}"#;
/// Where requests go.
pub(crate) const DECIDE: &str = "beamline.router.v1.decide";

/// A nats-server on a free loopback port that it has chosen itself.
pub(crate) struct Server {
    child: Child,
    pub(crate) url: String,
}

impl Server {
    /// Starts one; returns when it takes connections.
    pub(crate) fn start() -> Self {
        let binary = std::env::var("NATS_SERVER").unwrap_or_else(|_| "nats-server".to_owned());
        let mut child = Command::new(binary)
            .args(["--addr", "127.0.0.1", "--port", "-1"])
            .stderr(Stdio::piped())
            .spawn()
            .expect("no nats-server: set NATS_SERVER to what tools/setup.sh prints");
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let url = address(&mut log);
        // The server ends if nobody reads what it says.
        std::thread::spawn(move || log.read_to_end(&mut Vec::new()));
        Self { child, url }
    }

    pub(crate) async fn connect(&self) -> Client {
        async_nats::connect(&self.url).await.unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// Reads a server's log until it is ready; its address is said before.
fn address(log: &mut BufReader<ChildStderr>) -> String {
    let mut address = None;
    for line in log.lines() {
        let line = line.unwrap();
        if let Some((_, found)) = line.split_once("Listening for client connections on ") {
            address = Some(format!("nats://{}", found.trim()));
        }
        if line.contains("Server is ready") {
            return address.expect("the server said where it listens");
        }
    }
    panic!("nats-server ended before it was ready");
}

/// A reference-router process.
pub(crate) struct Router {
    child: Option<Child>,
}

impl Router {
    /// Starts one with these flags; returns when it is ready.
    pub(crate) fn start(server: &Server, flags: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_reference-router"))
            .args(["--nats", &server.url])
            .args(flags)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        stdout.read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        Self { child: Some(child) }
    }

    /// Its process number.
    pub(crate) fn pid(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    /// Sends it a signal by name.
    pub(crate) fn signal(&self, name: &str) {
        let pid = self.pid().to_string();
        let sent = Command::new("kill").args(["-s", name, &pid]).status();
        assert!(sent.unwrap().success());
    }

    /// Ends it with SIGTERM; returns what it says at the end.
    pub(crate) fn end(mut self) -> String {
        self.signal("TERM");
        let output = self.child.take().unwrap().wait_with_output().unwrap();
        assert!(output.status.success());
        String::from_utf8(output.stderr).unwrap()
    }
}

impl Drop for Router {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}

/// Sends a request to the decide subject; its replies come on the subscription.
pub(crate) async fn ask(client: &Client, payload: &str) -> Subscriber {
    request(client, DECIDE, payload).await
}

/// Asks for the backpressure status.
pub(crate) async fn poll_status(client: &Client) -> Subscriber {
    request(client, "beamline.router.v2.status.backpressure", "").await
}

async fn request(client: &Client, subject: &'static str, payload: &str) -> Subscriber {
    let inbox = client.new_inbox();
    let replies = client.subscribe(inbox.clone()).await.unwrap();
    client
        .publish_with_reply(subject, inbox, payload.to_owned().into())
        .await
        .unwrap();
    replies
}

/// The next message, which must come soon.
pub(crate) async fn next(messages: &mut Subscriber) -> Message {
    tokio::time::timeout(SOON, messages.next())
        .await
        .expect("a message within the time allowed")
        .expect("the connection is open")
}

/// The next message as JSON.
pub(crate) async fn next_json(messages: &mut Subscriber) -> serde_json::Value {
    serde_json::from_slice(&next(messages).await.payload).unwrap()
}
