//! `ipc-gateway bench` as a process, and the client processes that it starts.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

use super::gateway::Gateway;
use super::{eventually, signal};

/// A running bench, killed with its guard.
pub(crate) struct Bench(Option<Child>);

impl Bench {
    /// Starts one that prints JSON.
    pub(crate) fn start(gateway: &Gateway, arguments: &[&str]) -> Self {
        let mut command = command(&gateway.socket, arguments);
        Self(Some(command.arg("--json").spawn().unwrap()))
    }

    pub(crate) fn pid(&self) -> u32 {
        self.0.as_ref().unwrap().id()
    }

    /// Its client processes, once this many of them have a session.
    pub(crate) fn clients(&self, count: usize) -> Vec<u32> {
        let mut found = Vec::new();
        eventually("the client processes are attached", || {
            found = children(self.pid());
            found.retain(|pid| sessions(*pid) > 0);
            found.len() == count
        });
        found
    }

    pub(crate) fn signal(&self, name: &str) {
        signal(name, self.pid());
    }

    /// Waits for its end.
    pub(crate) fn end(mut self) -> Output {
        self.0.take().unwrap().wait_with_output().unwrap()
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            child.kill().ok();
            child.wait().ok();
        }
    }
}

pub(crate) fn command(socket: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ipc-gateway"));
    command.arg("bench").arg("--socket").arg(socket);
    command.args(arguments);
    command.stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Fields that are there with `--timeout`.
const WITH_TIMEOUT: [&str; 3] = ["in_time", "refused", "rejected_after_us"];

/// What it has printed with `--json`; checks that nothing is missing and that the counts add up.
pub(crate) fn report(output: &Output) -> Value {
    let said = String::from_utf8_lossy(&output.stderr);
    let report: Value = serde_json::from_slice(&output.stdout).expect(&said);
    let mut fields: Vec<&String> = report.as_object().unwrap().keys().collect();
    fields.sort();
    fields.retain(|field| !WITH_TIMEOUT.contains(&field.as_str()));
    let expected = [
        "answered",
        "burst",
        "clients",
        "codes",
        "latency_us",
        "payload",
        "rate",
        "rejected",
        "requests",
        "seconds",
        "unknown",
        "wait",
        "window",
    ];
    assert_eq!(fields, expected);
    let requests = number(&report, "requests");
    let outcomes = ["answered", "rejected", "unknown"].map(|name| number(&report, name));
    assert_eq!(requests, outcomes.iter().sum::<u64>());
    let codes = report["codes"].as_object().unwrap();
    let by_code: u64 = codes.values().map(|count| count.as_u64().unwrap()).sum();
    assert_eq!(requests, by_code);
    let latency = ["p50", "p90", "p99", "p999", "max"]
        .map(|name| report["latency_us"][name].as_f64().unwrap());
    assert!(latency.is_sorted() && latency[0] > 0.0, "{latency:?}");
    assert_eq!(report["latency_us"].as_object().unwrap().len(), 5);
    report
}

pub(crate) fn number(report: &Value, name: &str) -> u64 {
    report[name].as_u64().unwrap()
}

/// Processes whose parent this is.
pub(crate) fn children(parent: u32) -> Vec<u32> {
    let wanted = format!("PPid:\t{parent}");
    processes()
        .filter(|pid| status(*pid).is_some_and(|text| text.lines().any(|line| line == wanted)))
        .collect()
}

fn processes() -> impl Iterator<Item = u32> {
    let entries = std::fs::read_dir("/proc").unwrap();
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}

fn status(pid: u32) -> Option<String> {
    std::fs::read_to_string(format!("/proc/{pid}/status")).ok()
}

/// Whether there is a process of this number that runs a client of bench.
pub(crate) fn is_client(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/cmdline"))
        .is_ok_and(|line| line.contains("bench-client"))
}

/// Sessions of a process: the regions that it has mapped.
pub(crate) fn sessions(pid: u32) -> usize {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default();
    let regions = maps.lines().filter(|line| line.contains("memfd:"));
    let mut inodes: Vec<&str> = regions
        .filter(|line| line.contains("rw-s"))
        .filter_map(|line| line.split_whitespace().nth(4))
        .collect();
    inodes.sort_unstable();
    inodes.dedup();
    inodes.len()
}

/// Where no gateway is.
pub(crate) fn nowhere(dir: &tempfile::TempDir) -> PathBuf {
    dir.path().join("gateway.sock")
}
