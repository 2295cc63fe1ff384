//! `polite-client` of `tools/` as a process: steady work, each answer held against its request.

use std::io::Write as _;
use std::path::Path;
use std::process::{Child, ChildStdin, Stdio};

use serde_json::Value;

use super::lines::Lines;
use super::{eventually, tool};

/// A polite client process, killed with its guard.
pub(crate) struct Polite {
    child: Child,
    orders: Option<ChildStdin>,
    said: Lines,
    pauses: usize,
}

/// What it has counted.
#[derive(Debug)]
pub(crate) struct Report(Value);

impl Polite {
    /// Starts one at so many requests a second; returns when it is attached.
    pub(crate) fn start(socket: &Path, name: &str, rate: u32) -> Self {
        Self::start_with(socket, name, rate, &[])
    }

    /// The same, with further arguments.
    pub(crate) fn start_with(socket: &Path, name: &str, rate: u32, arguments: &[&str]) -> Self {
        let mut child = tool::command("polite-client")
            .arg("--socket")
            .arg(socket)
            .args(["--name", name, "--rate", &rate.to_string()])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let orders = child.stdin.take();
        let said = Lines::of(child.stdout.take().unwrap());
        said.wait_for_start(&mut child, "attached\n");
        Self {
            child,
            orders,
            said,
            pauses: 0,
        }
    }

    /// Lets it finish what is on its way; returns when nothing is.
    pub(crate) fn pause(&mut self) {
        self.order("pause\n");
        self.pauses += 1;
        eventually("it pauses", || {
            self.said.text().matches("paused\n").count() == self.pauses
        });
    }

    /// Lets it go on.
    pub(crate) fn go(&mut self) {
        self.order("go\n");
    }

    fn order(&mut self, order: &str) {
        let orders = self.orders.as_mut().unwrap();
        orders.write_all(order.as_bytes()).unwrap();
    }

    /// Ends it; returns what it has counted.
    pub(crate) fn end(mut self) -> Report {
        self.orders = None;
        assert!(self.child.wait().unwrap().success());
        let said = self.said.all();
        Report(serde_json::from_str(said.lines().last().unwrap()).unwrap())
    }
}

impl Drop for Polite {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl Report {
    /// Its books are exact: everything was sent, completed once, OK, and with its own answer.
    #[track_caller]
    pub(crate) fn assert_exact(&self) -> u64 {
        let [sent, completed, ok, wrong, unanswered] =
            ["sent", "completed", "ok", "wrong", "unanswered"].map(|name| self.number(name));
        assert!(sent > 0, "{self:?}");
        assert_eq!([completed, ok], [sent, sent], "{self:?}");
        assert_eq!([wrong, unanswered], [0, 0], "{self:?}");
        sent
    }

    fn number(&self, name: &str) -> u64 {
        self.0[name].as_u64().unwrap()
    }

    /// A latency in microseconds, from the moment at which the request was due: `p50`, `p99`, ...
    pub(crate) fn latency(&self, quantile: &str) -> u64 {
        self.0["latency_us"][quantile].as_u64().unwrap()
    }
}
