//! The soak itself, shortly: what each form of it does on a sound gateway and on one that is not, and
//! what it leaves behind.
//!
//! | module | what is tested |
//! |---|---|
//! | `scenario` | the short run with one killed client |
//! | `run` | a soak of each level of faults, interrupted, and on a full disk |
//! | `events` | what events leave behind |
#![expect(
    clippy::unwrap_used,
    reason = "a test and its helpers fail by panicking"
)]

mod events;
mod run;
mod scenario;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

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
    command_by(&[], directory, arguments)
}

/// The soak, run by a program that becomes it.
fn command_by(prefix: &[&str], directory: &Path, arguments: &[&str]) -> Command {
    let mut words = prefix
        .iter()
        .copied()
        .chain([env!("CARGO_BIN_EXE_ipc-soak")])
        .chain(arguments.iter().copied());
    let mut command = Command::new(words.next().unwrap());
    let beside = |name: &str| programs().join(name);
    command
        .env("TMPDIR", directory)
        .env("IPC_SOAK_GATEWAY", beside("ipc-gateway"))
        .env("IPC_SOAK_ROUTER", beside("reference-router"))
        .args(words)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// Waits until it is so.
fn until(what: &str, is_so: impl Fn() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < Duration::from_secs(60), "{what}");
        std::thread::yield_now();
    }
}

fn signal(name: &str, pid: u32) {
    let sent = Command::new("kill").args([name, &pid.to_string()]).status();
    assert!(sent.unwrap().success());
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
