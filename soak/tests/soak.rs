//! The soak itself, shortly: it passes on a sound gateway, fails on one that is not, and leaves
//! nothing behind.
#![expect(
    clippy::unwrap_used,
    reason = "a test and its helpers fail by panicking"
)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

#[test]
fn a_short_run_holds_every_promise_and_leaves_nothing_behind() {
    let directory = tempfile::tempdir().unwrap();
    let output = soak(directory.path(), &["--duration", "2s", "--clients", "3"]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    for part in [
        "SUMMARY",
        "held        each request completes exactly once (0 lost, 0 repeated)",
        "held        a killed client's session is gone",
        "verdict     PASS",
    ] {
        assert!(text.contains(part), "{part:?} in {text}");
    }
    assert!(!text.contains("BROKEN"), "{text}");
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[test]
fn a_program_that_is_missing_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let output = soak(directory.path(), &["--gateway", "/nowhere/ipc-gateway"]);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("/nowhere/ipc-gateway"), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
}

#[test]
fn a_router_that_answers_wrongly_fails_the_run() {
    let directory = tempfile::tempdir().unwrap();
    // Answers each request with the same bytes, which name none.
    let wrapper = directory.path().join("router");
    let script = format!(
        "#!/bin/sh\nexec '{}' \"$@\" --raw-body '{{\"ok\":true}}'\n",
        programs().join("reference-router").display()
    );
    std::fs::write(&wrapper, script).unwrap();
    let made = Command::new("chmod").arg("+x").arg(&wrapper).status();
    assert!(made.unwrap().success());
    let router = wrapper.to_str().unwrap();
    let output = soak(
        directory.path(),
        &["--duration", "500ms", "--clients", "2", "--router", router],
    );
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(text.contains("BROKEN      each reply names"), "{text}");
    assert!(text.contains("verdict     FAIL"), "{text}");
}

#[test]
fn an_interrupt_ends_everything() {
    let directory = tempfile::tempdir().unwrap();
    let mut child = command(directory.path(), &["--duration", "10m"])
        .spawn()
        .unwrap();
    // Both the parts and the clients are there once the socket is and the load goes on.
    let start = Instant::now();
    while parts(directory.path()) < 6 {
        assert!(start.elapsed() < Duration::from_secs(30));
        std::thread::yield_now();
    }
    let sent = Command::new("kill").arg(child.id().to_string()).status();
    assert!(sent.unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(parts(directory.path()), 0);
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
}

/// Processes that know of the directory: those of the soak that runs in it.
fn parts(directory: &Path) -> usize {
    let wanted = format!("TMPDIR={}", directory.display());
    let entries = std::fs::read_dir("/proc").unwrap();
    let environments =
        entries.filter_map(|entry| std::fs::read(entry.ok()?.path().join("environ")).ok());
    environments
        .filter(|text| String::from_utf8_lossy(text).contains(&wanted))
        .count()
        // The soak itself.
        .saturating_sub(1)
}

fn soak(directory: &Path, arguments: &[&str]) -> Output {
    command(directory, arguments).output().unwrap()
}

fn command(directory: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ipc-soak"));
    command
        .env("TMPDIR", directory)
        .env("IPC_SOAK_GATEWAY", programs().join("ipc-gateway"))
        .env("IPC_SOAK_ROUTER", programs().join("reference-router"))
        .args(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// Where the gateway and the reference Router are, built in the profile of this test.
fn programs() -> &'static Path {
    static PROGRAMS: OnceLock<PathBuf> = OnceLock::new();
    PROGRAMS.get_or_init(|| {
        let directory = Path::new(env!("CARGO_BIN_EXE_ipc-soak")).parent().unwrap();
        let profile = match directory.file_name().unwrap().to_str().unwrap() {
            "debug" => "dev",
            other => other,
        };
        let status = Command::new(env!("CARGO"))
            .args(["build", "--quiet", "--offline", "--bins"])
            .args(["--package", "ipc-gateway", "--package", "ipc-tools"])
            .args(["--profile", profile, "--target-dir"])
            .arg(directory.parent().unwrap())
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .status();
        assert!(status.unwrap().success(), "the programs are built");
        directory.to_owned()
    })
}
