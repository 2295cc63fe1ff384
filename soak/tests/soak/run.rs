//! A soak of each level of faults, interrupted, and on a full disk. These runs are far too short to
//! judge a slope, so the best they can be is inconclusive.

use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::Value;

use super::{command, command_by, parts, signal, soak, until};

/// The exit code of what is inconclusive.
const INCONCLUSIVE: Option<i32> = Some(3);

/// What a run left behind.
struct Left {
    directory: PathBuf,
    checks: Vec<Value>,
}

impl Left {
    fn of(root: &Path) -> Self {
        let mut runs = std::fs::read_dir(root.join("soak")).unwrap();
        let directory = runs.next().unwrap().unwrap().path();
        let text = std::fs::read_to_string(directory.join("checks.jsonl")).unwrap();
        let checks = text.lines().map(|line| serde_json::from_str(line).unwrap());
        Self {
            checks: checks.collect(),
            directory,
        }
    }

    fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.directory.join(name)).unwrap()
    }

    /// Verdict and detail of a check.
    fn check(&self, id: &str) -> (&str, &str) {
        let check = self.checks.iter().find(|check| check["id"] == id).unwrap();
        (
            check["verdict"].as_str().unwrap(),
            check["detail"].as_str().unwrap(),
        )
    }

    /// What is correct or not can be told in seconds.
    fn assert_correct(&self, more: &[&str]) {
        let always = [
            "ledger",
            "outcomes",
            "deadlines",
            "books",
            "quiescent",
            "witness",
            "ends",
        ];
        for name in always.iter().chain(more) {
            let id = format!("correct.{name}");
            assert_eq!(self.check(&id).0, "pass", "{id}: {:?}", self.check(&id));
        }
        for check in &self.checks {
            assert_ne!(check["verdict"], "fail", "{check}");
        }
    }
}

/// Runs a soak in this directory.
fn run(root: &Path, flags: &[&str]) -> Output {
    let artifacts = root.to_str().unwrap();
    let common = ["--clients", "2", "--rate", "400", "--artifacts", artifacts];
    soak(root, &[&common[..], flags].concat())
}

#[test]
fn a_run_without_faults_leaves_its_evidence() {
    let root = tempfile::tempdir().unwrap();
    let output = run(root.path(), &["--duration", "9s", "--quiesce", "3s"]);
    assert_eq!(output.status.code(), INCONCLUSIVE, "{output:?}");
    let left = Left::of(root.path());
    left.assert_correct(&["complete", "same-books"]);
    assert_eq!(left.check("steady.memory").0, "inconclusive");
    assert!(left.text("metrics.csv").lines().count() > 8);
    assert!(left.text("latency.hlog").contains(",1.000,"));
    assert!(left.text("quiescent.jsonl").lines().count() >= 2);
    assert!(left.text("charts.svg").contains("faults none"));
    let png = std::fs::read(left.directory.join("charts.png")).unwrap();
    assert!(png.starts_with(b"\x89PNG"));
    for name in ["environment.json", "results.json", "verdict.json"] {
        serde_json::from_str::<Value>(&left.text(name)).unwrap();
    }
    assert!(left.text("SUMMARY.md").contains("correct.ledger"));
    assert!(left.text("gateway.log").contains("serving"));
    // Nothing but the evidence.
    assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 1);
}

#[test]
fn light_faults_are_survived() {
    let root = tempfile::tempdir().unwrap();
    let flags = [
        "--duration",
        "10s",
        "--faults",
        "light",
        "--fault-every",
        "1500ms",
    ];
    let output = run(root.path(), &flags);
    assert_eq!(output.status.code(), INCONCLUSIVE, "{output:?}");
    let left = Left::of(root.path());
    left.assert_correct(&["complete"]);
    let found = left.check("correct.recovery").1;
    assert!(found.contains("client "), "{found}");
    assert!(found.contains(", 0 did not heal"), "{found}");
}

#[test]
fn a_storm_is_survived() {
    let root = tempfile::tempdir().unwrap();
    let flags = [
        "--duration",
        "26s",
        "--faults",
        "storm",
        "--fault-every",
        "2s",
    ];
    let output = run(root.path(), &[&flags[..], &["--seed", "5"]].concat());
    assert_eq!(output.status.code(), INCONCLUSIVE, "{output:?}");
    let left = Left::of(root.path());
    left.assert_correct(&["complete"]);
    let found = left.check("correct.recovery").1;
    // How many there is time for depends on the machine; this one comes first.
    for part in ["gateway restarted", ", 0 did not heal"] {
        assert!(found.contains(part), "{part} in {found}");
    }
}

#[test]
fn an_interrupt_ends_with_the_report_of_what_there_is() {
    let root = tempfile::tempdir().unwrap();
    let artifacts = root.path().to_str().unwrap();
    let flags = [
        "--duration",
        "10m",
        "--clients",
        "2",
        "--rate",
        "300",
        "--artifacts",
        artifacts,
    ];
    let child = command(root.path(), &flags).spawn().unwrap();
    let rows = || {
        let mut runs = std::fs::read_dir(root.path().join("soak")).ok()?;
        let metrics = runs.next()?.ok()?.path().join("metrics.csv");
        Some(std::fs::read_to_string(metrics).ok()?.lines().count())
    };
    until("some seconds are measured", || rows() > Some(3));
    signal("-INT", child.id());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), INCONCLUSIVE, "{output:?}");
    assert_eq!(parts(root.path()), 0);
    let left = Left::of(root.path());
    assert_eq!(
        left.check("correct.complete"),
        ("inconclusive", "it was interrupted")
    );
    assert_eq!(left.check("correct.ledger").0, "pass");
    assert!(left.text("SUMMARY.md").contains("it was interrupted"));
}

#[test]
fn a_full_disk_leaves_a_verdict_that_says_so() {
    let root = tempfile::tempdir().unwrap();
    let small = root.path().join("small");
    std::fs::create_dir(&small).unwrap();
    let small = small.to_str().unwrap();
    // In a mount namespace of its own; nobody else sees the little disk.
    let script = format!("mount -t tmpfs -o size=48k none {small} && exec \"$@\"");
    let prefix = ["unshare", "--mount", "sh", "-c", script.as_str(), "sh"];
    let flags = [
        "--duration",
        "6s",
        "--clients",
        "2",
        "--rate",
        "300",
        "--artifacts",
        small,
    ];
    let output = command_by(&prefix, root.path(), &flags).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), INCONCLUSIVE, "{output:?}");
    assert!(text.contains("the evidence is incomplete"), "{text}");
    assert!(text.contains("| correct.ledger | pass |"), "{text}");
    assert!(text.contains("| correct.complete | pass |"), "{text}");
}

#[test]
fn a_program_that_is_missing_is_named() {
    let root = tempfile::tempdir().unwrap();
    let output = run(root.path(), &["--router", "/nowhere/reference-router"]);
    assert_eq!(output.status.code(), Some(69), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("/nowhere/reference-router"), "{said}");
}

#[test]
fn what_is_no_rate_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let output = soak(root.path(), &["--rate", "120%"]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
}
