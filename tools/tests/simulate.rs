//! The simulation as a program: what it prints, and with which status it ends.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::process::{Command, Output};

fn simulate(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_simulate"))
        .args(args)
        .output()
        .unwrap()
}

#[test]
fn a_run_without_a_failure_ends_with_one_line_of_counts() {
    let run = simulate(&["--seeds", "3", "--from", "5", "--steps", "200"]);
    let text = String::from_utf8(run.stdout).unwrap();
    assert!(run.status.success(), "{text}");
    assert_eq!(text.lines().count(), 1, "{text}");
    for part in ["seeds=3 ", " requests=", " answered=", " faults="] {
        assert!(text.contains(part), "{text}");
    }
}

#[test]
fn two_processes_print_the_same_trace() {
    let args = ["--seeds", "1", "--from", "11", "--steps", "200", "--trace"];
    let (first, second) = (simulate(&args), simulate(&args));
    assert!(first.status.success());
    assert!(first.stdout.len() > 10_000);
    assert_eq!(first.stdout, second.stdout);
}
