//! `tools/evidence.sh`: what it says in the end, and its exit code, with programs in place of the tools
//! that leave evidence of what a test wants.
#![expect(
    clippy::unwrap_used,
    reason = "a test and its helpers fail by panicking"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use ipc_tools::artifact::{Artifact, Check, Verdict};
use serde_json::json;

/// A checkout that holds the script and nothing to build.
struct Checkout(tempfile::TempDir);

impl Checkout {
    /// In it every tool passes.
    fn new() -> Self {
        let checkout = Self(tempfile::tempdir().unwrap());
        let tools = Path::new(env!("CARGO_MANIFEST_DIR"));
        let script = fs::read(tools.join("evidence.sh")).unwrap();
        for dir in ["tools", "bin", "target/release"] {
            fs::create_dir_all(checkout.path(dir)).unwrap();
        }
        fs::write(checkout.path("tools/evidence.sh"), script).unwrap();
        checkout.script("tools/setup.sh", "echo NATS_SERVER_2_14=/bin/true\n");
        checkout.script("bin/cargo", "exit 0\n");
        checkout.script("target/release/ipc-gateway", "exit 0\n");
        let readiness = env!("CARGO_BIN_EXE_readiness");
        let beside = checkout.path("target/release/readiness");
        std::os::unix::fs::symlink(readiness, beside).unwrap();
        checkout.tool("e2e", "e2e", Verdict::Pass, 0);
        checkout.tool("contract", "contract", Verdict::Pass, 0);
        checkout.two("ipc-soak", ["soak", "soak-events"], Verdict::Pass, 0);
        checkout.two(
            "compare",
            ["compare-nats", "compare-local"],
            Verdict::Pass,
            0,
        );
        for arguments in [
            &["init", "-q"][..],
            &["add", "tools"],
            &[
                "-c",
                "user.name=a",
                "-c",
                "user.email=a@example.org",
                "commit",
                "-q",
                "-m",
                "All",
            ],
        ] {
            let mut git = Command::new("git");
            let status = git.args(arguments).current_dir(checkout.path("")).status();
            assert!(status.unwrap().success());
        }
        checkout
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn script(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::write(&path, format!("#!/bin/sh\n{text}")).unwrap();
        let made = Command::new("chmod").arg("+x").arg(path).status();
        assert!(made.unwrap().success());
    }

    /// Lines that leave a run of this kind.
    fn leaves(&self, kind: &str, verdict: Verdict) -> String {
        let kept = self.path("kept").join(verdict.name());
        let mut run = Artifact::create(&kept, kind, json!({})).unwrap();
        let check = Check::new("steady.heap", "steady", "", verdict);
        run.check(&check.detail("it was so")).unwrap();
        let path = run.path().to_owned();
        run.finish("").unwrap();
        format!(
            "mkdir -p artifacts/{kind}; cp -r {} artifacts/{kind}/$(date +%s%N); ",
            path.display()
        )
    }

    /// A tool that leaves this and ends so.
    fn tool(&self, name: &str, kind: &str, verdict: Verdict, code: u8) {
        let leaves = self.leaves(kind, verdict);
        let name = format!("target/release/{name}");
        self.script(&name, &format!("{leaves}exit {code}\n"));
    }

    /// One that leaves the second kind when it is told `events` or `local`.
    fn two(&self, name: &str, [first, second]: [&str; 2], verdict: Verdict, code: u8) {
        let (first, second) = (self.leaves(first, verdict), self.leaves(second, verdict));
        let name = format!("target/release/{name}");
        let text =
            format!("case $1 in events|local) {second} ;; *) {first} ;; esac\nexit {code}\n");
        self.script(&name, &text);
    }

    /// Runs the short form; its exit code and what it said.
    fn evidence(&self) -> (Option<i32>, String) {
        let path = std::env::var("PATH").unwrap();
        let output: Output = Command::new("bash")
            .arg(self.path("tools/evidence.sh"))
            .arg("--short")
            .env("PATH", format!("{}:{path}", self.path("bin").display()))
            .env("CARGO_TARGET_DIR", self.path("target"))
            .output()
            .unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(
            String::from_utf8_lossy(&output.stdout).starts_with("# Readiness"),
            "{said}"
        );
        (output.status.code(), said)
    }
}

#[test]
fn it_ends_with_what_was_inconclusive_and_why_and_with_both_gates() {
    let checkout = Checkout::new();
    let (code, said) = checkout.evidence();
    assert_eq!(code, Some(0), "{said}");
    assert!(!said.contains("inconclusive"), "{said}");
    let end = "staging is not reached: the report says what blocks it\n\
               production is not reached: the report says what blocks it\n";
    assert!(said.ends_with(end), "{said}");

    checkout.two(
        "ipc-soak",
        ["soak", "soak-events"],
        Verdict::Inconclusive,
        3,
    );
    // A tool whose exit code says nothing of its targets.
    checkout.two(
        "compare",
        ["compare-nats", "compare-local"],
        Verdict::Inconclusive,
        0,
    );
    let (code, said) = checkout.evidence();
    assert_eq!(code, Some(0), "a short run cannot tell: {said}");
    let (_, end) = said.split_once("what came out").unwrap();
    for name in ["a short soak", "events", "beside others, without NATS"] {
        assert!(
            end.contains(&format!("inconclusive: {name}: artifacts/")),
            "{end}"
        );
    }
    let why = "steady.heap inconclusive: it was so";
    assert_eq!(end.matches(why).count(), 4, "{end}");
}

#[test]
fn what_time_does_not_excuse_has_an_exit_code_of_its_own() {
    let checkout = Checkout::new();
    checkout.tool("contract", "contract", Verdict::Inconclusive, 0);
    let (code, said) = checkout.evidence();
    assert_eq!(code, Some(3), "{said}");
    assert!(
        said.contains("inconclusive: the contract: artifacts/contract/"),
        "{said}"
    );
}

#[test]
fn a_run_that_fails_or_leaves_nothing_fails_the_whole_and_is_named() {
    let checkout = Checkout::new();
    checkout.tool("e2e", "e2e", Verdict::Fail, 1);
    // The last run of its kind is that of an earlier time, and passed.
    checkout.evidence();
    checkout.script("target/release/contract", "exit 0\n");
    let (code, said) = checkout.evidence();
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("failed: the 33 checks: exit code 1; artifacts/e2e/"),
        "{said}"
    );
    assert!(said.contains("steady.heap fail: it was so"), "{said}");
    let nothing = "failed: the contract: exit code 0; no directory below artifacts/contract";
    assert!(said.contains(nothing), "{said}");
}

#[test]
fn a_target_that_is_missed_is_a_failure_whatever_the_exit_code() {
    let checkout = Checkout::new();
    checkout.two(
        "compare",
        ["compare-nats", "compare-local"],
        Verdict::Fail,
        0,
    );
    let (code, said) = checkout.evidence();
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("failed: beside others, through NATS: exit code 0;"),
        "{said}"
    );
}
