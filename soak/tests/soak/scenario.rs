//! The short run with one killed client.

use std::process::Command;

use super::{command, parts, programs, signal, soak, until};

#[test]
fn a_short_run_holds_every_promise_and_leaves_nothing_behind() {
    let directory = tempfile::tempdir().unwrap();
    let flags = ["scenario", "--duration", "2s", "--clients", "3"];
    let output = soak(directory.path(), &flags);
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
    let flags = ["scenario", "--gateway", "/nowhere/ipc-gateway"];
    let output = soak(directory.path(), &flags);
    assert_eq!(output.status.code(), Some(69));
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
    let flags = ["scenario", "--duration", "500ms", "--clients", "2"];
    let output = soak(
        directory.path(),
        &[&flags[..], &["--router", router]].concat(),
    );
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(text.contains("BROKEN      each reply names"), "{text}");
    assert!(text.contains("verdict     FAIL"), "{text}");
}

#[test]
fn an_interrupt_ends_everything() {
    let directory = tempfile::tempdir().unwrap();
    let flags = ["scenario", "--duration", "10m"];
    let mut child = command(directory.path(), &flags).spawn().unwrap();
    // Both the parts and the clients are there once the socket is and the load goes on.
    until("the load goes on", || parts(directory.path()) >= 6);
    signal("-TERM", child.id());
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(parts(directory.path()), 0);
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
}
