//! A nats-server on a free loopback port, which can be killed and started again there.

use std::net::{Ipv4Addr, TcpListener};
use std::process::{Child, Command, Stdio};

use super::lines::Lines;

pub(crate) struct Server {
    port: u16,
    arguments: Vec<String>,
    child: Child,
    log: Lines,
    _store: tempfile::TempDir,
}

impl Server {
    pub(crate) fn start() -> Self {
        Self::with(&[])
    }

    pub(crate) fn with(arguments: &[&str]) -> Self {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .and_then(|listener| listener.local_addr())
            .unwrap()
            .port();
        let store = tempfile::tempdir().unwrap();
        let mut all: Vec<String> = ["-a", "127.0.0.1", "-p", &port.to_string(), "-sd"]
            .map(str::to_owned)
            .into();
        all.push(store.path().display().to_string());
        all.extend(arguments.iter().map(|&argument| argument.to_owned()));
        let (child, log) = spawn(&all);
        Self {
            port,
            arguments: all,
            child,
            log,
            _store: store,
        }
    }

    pub(crate) const fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// What it has said since its last start.
    pub(crate) fn log(&self) -> String {
        self.log.text()
    }

    /// Connections made since its start, whether they are still open or not. Needs `-D`.
    pub(crate) fn connections(&self) -> usize {
        self.log().matches("Client connection created").count()
    }

    /// Its version without the leading `2.` and what follows the next full stop.
    pub(crate) fn minor(&self) -> u32 {
        let log = self.log();
        let (_, version) = log.split_once("Version:").unwrap();
        let parts = version.trim_start().split('.').nth(1);
        parts.unwrap().parse().unwrap()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Ends it with SIGKILL.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Makes it read its configuration file again.
    pub(crate) fn reload(&self) {
        let before = self.log().matches("Reloaded server configuration").count();
        super::signal("-HUP", self.child.id());
        super::eventually("it is read again", || {
            self.log().matches("Reloaded server configuration").count() > before
        });
    }

    /// Starts it again on the same port, after [`kill`](Self::kill).
    pub(crate) fn restart(&mut self) {
        (self.child, self.log) = spawn(&self.arguments);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn spawn(arguments: &[String]) -> (Child, Lines) {
    let program = std::env::var_os("NATS_SERVER").unwrap_or_else(|| "nats-server".into());
    let mut child = Command::new(program)
        .args(arguments)
        .stderr(Stdio::piped())
        .spawn()
        .expect("nats-server: set NATS_SERVER or install it");
    let log = Lines::of(child.stderr.take().unwrap());
    log.wait_for_start(&mut child, "Server is ready");
    (child, log)
}
