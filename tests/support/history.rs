//! Clients that write histories, and the checker that holds them against Router and gateway.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use serde_json::Value;

use super::gateway::Gateway;
use super::lines::Lines;
use super::{admin, eventually, tool};

/// A client process that writes a history. Ends with its guard.
pub(crate) struct Historian {
    child: Child,
    pub(crate) name: String,
}

impl Historian {
    /// Ends it with SIGKILL.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Ends it in order: it waits for what it has asked.
    pub(crate) fn end(&mut self) {
        drop(self.child.stdin.take());
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{}: {status}", self.name);
    }
}

impl Drop for Historian {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// The histories of one test, and what the checker is told besides.
pub(crate) struct Histories {
    dir: tempfile::TempDir,
    names: Vec<String>,
    arguments: Vec<String>,
    marks: File,
}

impl Histories {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let marks = File::create(dir.path().join("marks")).unwrap();
        Self {
            dir,
            names: Vec::new(),
            arguments: Vec::new(),
            marks,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Starts a client; returns when it is attached.
    pub(crate) fn client(&mut self, socket: &Path, name: &str, flags: &[&str]) -> Historian {
        let mut child = tool::command("history-client")
            .arg("--socket")
            .arg(socket)
            .arg("--history")
            .arg(self.path(name))
            .args(["--name", name])
            .args(flags)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = child.stdout.take().unwrap();
        Lines::of(output).wait_for_start(&mut child, "attached");
        self.names.push(name.to_owned());
        Historian {
            child,
            name: name.to_owned(),
        }
    }

    /// Notes that a fault begins now.
    pub(crate) fn fault(&mut self) {
        self.mark("fault");
    }

    /// Notes that everything is whole again now.
    pub(crate) fn healed(&mut self) {
        self.mark("healed");
    }

    fn mark(&mut self, mark: &str) {
        let at = ipc_ringbuf::monotonic_ns();
        writeln!(self.marks, r#"{{"mark":"{mark}","at":{at}}}"#).unwrap();
    }

    /// Notes what the gateway has counted before the first request.
    pub(crate) fn before(&mut self, gateway: &Gateway) {
        self.books(gateway, "before");
    }

    /// Notes what the gateway has counted after the last completion, once it is at rest.
    pub(crate) fn after(&mut self, gateway: &Gateway) {
        eventually("the sessions are gone", || {
            admin::metric(gateway, "ipcgw_sessions", "") == 0
        });
        self.books(gateway, "after");
    }

    /// Notes the books under a name that is a flag of the checker.
    pub(crate) fn books(&mut self, gateway: &Gateway, name: &str) {
        let (status, text) = admin::get(gateway, "/metrics");
        assert_eq!(status, 200);
        std::fs::write(self.path(name), text).unwrap();
        let path = self.path(name).display().to_string();
        self.arguments.extend([format!("--{name}"), path]);
    }

    /// Gives the checker a further flag.
    pub(crate) fn flag(&mut self, flag: &str, value: &str) {
        self.arguments.extend([flag.to_owned(), value.to_owned()]);
    }

    /// Runs the checker, which must find nothing; returns its verdict.
    pub(crate) fn check(&self, router_logs: &[PathBuf]) -> Value {
        let mut command = tool::command("check-history");
        command.arg("--json").arg("--marks").arg(self.path("marks"));
        for name in &self.names {
            command.arg("--client").arg(self.path(name));
        }
        for log in router_logs {
            command.arg("--router").arg(log);
        }
        let output = command.args(&self.arguments).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{text}{said}");
        serde_json::from_str(&text).unwrap()
    }
}
