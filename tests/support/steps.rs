//! `step-child` of `tools/` as a process: a client that ends at a step of the protocol.

use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, Stdio};

use super::{eventually, tool};

/// How a child can die.
pub(crate) const WAYS: [&str; 4] = ["kill", "exit", "abort", "exec"];
/// What it exits with when it came through alive.
const ALIVE: i32 = 3;

/// A child process, killed with its guard.
pub(crate) struct StepChild {
    child: Child,
    way: String,
}

impl StepChild {
    /// Starts one that dies at this step, when it comes to it for the `repeat`th time.
    pub(crate) fn start(
        socket: &Path,
        step: &str,
        way: &str,
        repeat: u32,
        arguments: &[&str],
    ) -> Self {
        let child = tool::command("step-child")
            .arg("--socket")
            .arg(socket)
            .args(["--step", step, "--way", way])
            .args(["--repeat", &repeat.to_string()])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let way = way.to_owned();
        Self { child, way }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until it has died in its way. After `exec` the process lives on as another program.
    pub(crate) fn died(&mut self) {
        if self.way == "exec" {
            let path = format!("/proc/{}/comm", self.pid());
            eventually("it is another program", || {
                std::fs::read_to_string(&path).is_ok_and(|name| name == "cat\n")
            });
            return;
        }
        let status = self.child.wait().unwrap();
        let expected = match self.way.as_str() {
            "kill" => (Some(9), None),
            "abort" => (Some(6), None),
            _ => (None, Some(7)),
        };
        assert_eq!((status.signal(), status.code()), expected);
    }

    /// Waits for the end of one that never comes to its step; every answer was its own.
    pub(crate) fn lived(mut self) {
        assert_eq!(self.child.wait().unwrap().code(), Some(ALIVE));
    }
}

impl Drop for StepChild {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
