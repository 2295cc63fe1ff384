//! What the tests of the checking tools share: the programs, and the evidence of a run.
#![expect(
    clippy::unwrap_used,
    reason = "a test and its helpers fail by panicking"
)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use ipc_tools::artifact::{Artifact, Record, runs};

/// Where the gateway and the tools are, built in the profile of this test.
pub(crate) fn programs() -> &'static Path {
    static PROGRAMS: OnceLock<PathBuf> = OnceLock::new();
    PROGRAMS.get_or_init(|| {
        let own = Path::new(env!("CARGO_BIN_EXE_reference-router"));
        let directory = own.parent().unwrap();
        let profile = match directory.file_name().unwrap().to_str().unwrap() {
            "debug" => "dev",
            other => other,
        };
        let status = Command::new(env!("CARGO"))
            .args(["build", "--quiet", "--offline", "--bins"])
            .args(["--package", "ipc-gateway", "--profile", profile])
            .arg("--target-dir")
            .arg(directory.parent().unwrap())
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .status();
        assert!(status.unwrap().success(), "the gateway is built");
        directory.to_owned()
    })
}

/// Runs a tool with its evidence in `dir`; returns what it said and the evidence of this run.
pub(crate) fn run(tool: &str, dir: &Path, arguments: &[&str]) -> (Output, Option<Record>) {
    programs();
    let root = dir.join("artifacts");
    let kind = Path::new(tool).file_name().unwrap().to_str().unwrap();
    let before = runs(&root, kind).unwrap();
    let output = Command::new(tool)
        .arg("--artifacts")
        .arg(&root)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let after = runs(&root, kind).unwrap();
    let new = after.into_iter().find(|path| !before.contains(path));
    (output, new.map(|path| Artifact::read(&path).unwrap()))
}

/// A directory of programs in which the gateway's configuration ends with `more`.
pub(crate) fn gateway_with(dir: &Path, more: &str) -> PathBuf {
    let bin = dir.join("bin");
    std::fs::create_dir(&bin).unwrap();
    for name in ["reference-router", "fault-proxy"] {
        std::os::unix::fs::symlink(programs().join(name), bin.join(name)).unwrap();
    }
    let gateway = programs().join("ipc-gateway");
    // `serve --config FILE ...`
    let script = format!(
        "[ \"$1\" = serve ] && printf '%s' '{more}' >> \"$3\"\nexec '{}' \"$@\"\n",
        gateway.display()
    );
    write_script(&bin.join("ipc-gateway"), &script);
    bin
}

/// Writes a script for the shell.
pub(crate) fn write_script(path: &Path, script: &str) {
    std::fs::write(path, format!("#!/bin/sh\n{script}")).unwrap();
    let made = Command::new("chmod").arg("+x").arg(path).status();
    assert!(made.unwrap().success());
}

/// The checks that did not pass.
pub(crate) fn failed(record: &Record) -> Vec<String> {
    let bad = record.checks.iter();
    bad.filter(|check| check.verdict != ipc_tools::artifact::Verdict::Pass)
        .map(|check| format!("{}: {}", check.id, check.seen()))
        .collect()
}
