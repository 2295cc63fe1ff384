//! `hostile-client` of `tools/` as a process.

use std::process::{Child, Command, Stdio};

use serde_json::Value;

use super::gateway::Gateway;
use super::tool;

/// A hostile client process, killed with its guard.
pub(crate) struct Hostile(Option<Child>);

/// What it has done, and what came of it.
#[derive(Debug)]
pub(crate) struct Deeds(Value);

/// How long the tests with a hostile client last, in seconds: 15, or what `IPCGW_HOSTILE_SECONDS`
/// says.
pub(crate) fn seconds() -> u64 {
    std::env::var("IPCGW_HOSTILE_SECONDS").map_or(15, |seconds| seconds.parse().unwrap())
}

impl Hostile {
    /// Starts one with these kinds of attack, or all of them.
    pub(crate) fn start(gateway: &Gateway, seconds: u64, seed: u64, only: &[&str]) -> Self {
        Self::run(
            tool::command("hostile-client"),
            gateway,
            seconds,
            seed,
            only,
        )
    }

    /// Starts one at the lowest priority.
    pub(crate) fn background(gateway: &Gateway, seconds: u64, seed: u64) -> Self {
        Self::run(
            tool::background("hostile-client"),
            gateway,
            seconds,
            seed,
            &[],
        )
    }

    fn run(
        mut command: Command,
        gateway: &Gateway,
        seconds: u64,
        seed: u64,
        only: &[&str],
    ) -> Self {
        command.arg("--socket").arg(&gateway.socket);
        command.args(["--seconds", &seconds.to_string()]);
        command.args(["--seed", &seed.to_string()]);
        for kind in only {
            command.args(["--only", kind]);
        }
        let command = command.stdin(Stdio::null()).stdout(Stdio::piped());
        Self(Some(command.spawn().unwrap()))
    }

    /// Waits for its end.
    pub(crate) fn end(mut self) -> Deeds {
        let output = self.0.take().unwrap().wait_with_output().unwrap();
        assert!(output.status.success(), "the gateway could be reached");
        Deeds(serde_json::from_slice(&output.stdout).unwrap())
    }
}

impl Drop for Hostile {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            child.kill().ok();
            child.wait().ok();
        }
    }
}

impl Deeds {
    /// A count.
    pub(crate) fn number(&self, name: &str) -> u64 {
        self.0[name].as_u64().unwrap()
    }

    /// Sessions that ended for this reason.
    pub(crate) fn ends(&self, reason: &str) -> u64 {
        self.0["ends"][reason].as_u64().unwrap_or(0)
    }
}
