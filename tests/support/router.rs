//! The reference Router as a process, built once for all tests.

use std::path::PathBuf;
use std::process::{Child, Stdio};

use serde_json::Value;

use super::lines::Lines;
use super::server::Server;
use super::{signal, tool};

pub(crate) struct Router {
    child: Child,
    said: Lines,
    dir: tempfile::TempDir,
}

impl Router {
    /// Starts one with these flags; returns when it has its subscriptions.
    pub(crate) fn start(server: &Server, flags: &[&str]) -> Self {
        Self::start_at(&server.url(), flags)
    }

    /// The same, at a server that knows users: they stand in its URL.
    pub(crate) fn start_at(url: &str, flags: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut child = tool::command("reference-router")
            .args(["--nats", url])
            .arg("--log")
            .arg(dir.path().join("log"))
            .arg("--reply-log")
            .arg(dir.path().join("replies"))
            .args(flags)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let output = child.stdout.take().unwrap();
        Lines::of(output).wait_for_start(&mut child, "ready");
        let said = Lines::of(child.stderr.take().unwrap());
        Self { child, said, dir }
    }

    /// What it received, one value each; complete for every reply that has come.
    pub(crate) fn log(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.dir.path().join("log")).unwrap();
        // A line without its end is still being written.
        let (complete, _) = text.rsplit_once('\n').unwrap_or_default();
        complete
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// Where the log is.
    pub(crate) fn log_path(&self) -> PathBuf {
        self.dir.path().join("log")
    }

    /// The payloads of the requests that it received, as text.
    pub(crate) fn payloads(&self) -> Vec<String> {
        let text = |line: &Value| line["payload"].as_str().map(str::to_owned);
        self.log().iter().filter_map(text).collect()
    }

    /// The bodies that it sent, one a line.
    pub(crate) fn replies(&self) -> PathBuf {
        self.dir.path().join("replies")
    }

    /// Ends it with SIGTERM, after which the log is complete.
    pub(crate) fn close(&mut self) {
        signal("-TERM", self.child.id());
        self.child.wait().unwrap();
    }

    /// Ends it with SIGTERM; returns its counts.
    pub(crate) fn end(mut self) -> String {
        signal("-TERM", self.child.id());
        self.child.wait().unwrap();
        self.said.all()
    }
}

impl Drop for Router {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
