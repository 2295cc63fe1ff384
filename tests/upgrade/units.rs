//! The units of `deploy/`, judged by systemd itself.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What `systemd-analyze security` may say at most: 0 is safest, 10 is no protection at all.
const EXPOSURE: f64 = 2.0;

const INSTALL: &str = "systemd-analyze is missing: apt-get install systemd";

fn deployed(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("deploy")
        .join(name)
}

#[test]
fn the_service_is_confined() {
    let output = Command::new("systemd-analyze")
        .args(["security", "--offline=true", "--no-pager"])
        .arg(deployed("ipc-gateway.service"))
        .output()
        .expect(INSTALL);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    let verdict = text
        .lines()
        .find(|line| line.contains("Overall exposure level"))
        .unwrap();
    let level = verdict
        .split_whitespace()
        .find_map(|word| word.parse::<f64>().ok());
    println!("{verdict}");
    assert!(level.unwrap() < EXPOSURE, "{text}");
}

#[test]
fn the_units_are_well_formed() {
    // As installed, but with a program that is there, and with a socket's unit that it can find.
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("ipc-gateway");
    std::fs::write(&program, "").unwrap();
    std::fs::set_permissions(&program, Permissions::from_mode(0o755)).unwrap();
    let mut units = Vec::new();
    for name in ["ipc-gateway.service", "ipc-gateway.socket"] {
        let text = std::fs::read_to_string(deployed(name)).unwrap();
        let text = text.replace("/usr/bin/ipc-gateway", program.to_str().unwrap());
        let unit = dir.path().join(name);
        std::fs::write(&unit, text).unwrap();
        units.push(unit);
    }
    let output = Command::new("systemd-analyze")
        .args(["verify", "--man=no"])
        .args(&units)
        .output()
        .expect(INSTALL);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    // It warns of keys that it does not know, and succeeds.
    assert!(!said.contains("ipc-gateway."), "{said}");
}

/// The value of a key of the service, a number of seconds with or without the unit.
fn number(key: &str) -> u32 {
    let text = std::fs::read_to_string(deployed("ipc-gateway.service")).unwrap();
    let mut lines = text.lines();
    let value = lines.find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    let value = value.expect(key);
    value.trim_end_matches('s').parse().unwrap()
}

#[test]
fn restarts_after_failures_never_reach_the_limit_of_starts() {
    let restarts = number("StartLimitIntervalSec") / number("RestartSec") + 1;
    // Each counts twice when a client waits at the socket.
    assert!(2 * restarts < number("StartLimitBurst"));
}
