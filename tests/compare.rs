//! `compare`: each contender answers, and every figure is there.

use std::process::{Child, Output, Stdio};

use serde_json::Value;

use crate::support::bench::children;
use crate::support::{eventually, signal, tool};

/// Runs a tiny comparison; returns the document.
fn run(arguments: &str) -> Value {
    let output = output(arguments);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
    serde_json::from_slice(&output.stdout).expect(&said)
}

fn output(arguments: &str) -> Output {
    let mut command = tool::command("compare");
    command.args(arguments.split_whitespace());
    command.output().unwrap()
}

fn positive(value: &Value, what: &str) {
    assert!(value.as_f64().is_some_and(|it| it > 0.0), "{what}: {value}");
}

/// Checks every figure of every contender; `roles` says which processes each has.
fn check(cell: &Value, roles: &[(&str, &[&str])]) {
    let contenders = cell["contenders"].as_array().unwrap();
    let names: Vec<&str> = contenders
        .iter()
        .map(|contender| contender["contender"].as_str().unwrap())
        .collect();
    let expected: Vec<&str> = roles.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, expected);
    for (contender, (name, roles)) in contenders.iter().zip(roles) {
        for figure in ["rate", "p50_us", "p99_us", "p999_us", "probe_ns"] {
            positive(&contender[figure]["median"], name);
        }
        let rounds = contender["rounds"].as_array().unwrap();
        for cpu in rounds
            .iter()
            .map(|round| &round["cpu"])
            .chain([&contender["cpu"]])
        {
            for role in ["clients", "total"] {
                positive(&cpu[role], name);
            }
            for role in ["gateway", "server", "responder"] {
                let time = cpu.get(role).expect("a column for each role");
                assert_eq!(time.is_number(), roles.contains(&role), "{name} {role}");
            }
        }
    }
    let ratios = cell["ratios"].as_array().unwrap();
    assert_eq!(ratios.len(), names.len() - 1);
    for ratio in ratios {
        assert_eq!(ratio["of"], "gateway");
        for figure in ["rate", "cpu", "p50", "p99"] {
            positive(&ratio[figure]["median"], figure);
        }
    }
}

#[test]
fn every_contender_answers_through_nats() {
    let document = run(
        "nats --seconds 0.2 --warmup 0.1 --rounds 1 --clients 2 --window 4 --payload 64 --json",
    );
    let direct: &[&str] = &["server", "responder"];
    let between: &[&str] = &["gateway", "server", "responder"];
    let [cell] = document["cells"].as_array().unwrap().as_slice() else {
        panic!("not one cell: {document}");
    };
    check(
        cell,
        &[
            ("direct-request", direct),
            ("direct-pipelined", direct),
            ("raw", direct),
            ("gateway", between),
            ("gateway-unique", between),
            ("uds", between),
        ],
    );
    for field in ["cpu", "kernel", "date", "nats_server", "command"] {
        assert_ne!(document["machine"][field].as_str().unwrap(), "", "{field}");
    }
}

#[test]
fn every_contender_answers_without_nats() {
    let document = run(
        "local --contenders gateway,uds --kinds steady,asleep --seconds 0.2 --warmup 0.1 \
         --rounds 1 --window 16 --payload 64 --json",
    );
    let cells = document["cells"].as_array().unwrap();
    assert_eq!(cells.len(), 2);
    for cell in cells {
        check(cell, &[("gateway", &["gateway"]), ("uds", &["gateway"])]);
    }
    let to_probe = cells[1]["to_probe"].as_array().unwrap();
    assert_eq!(to_probe.len(), 2);
    for ratio in to_probe {
        positive(&ratio["ratio"]["median"], "ratio to two wake-ups");
    }
}

#[test]
fn a_run_leaves_what_it_measured_and_whether_targets_were_reached() {
    let root = tempfile::tempdir().unwrap();
    run(&format!(
        "local --contenders gateway,uds --kinds steady --seconds 0.2 --warmup 0.1 --rounds 1 \
         --window 16 --payload 64 --json --artifacts {}",
        root.path().display()
    ));
    let kind = root.path().join("compare-local");
    let dir = kind.read_dir().unwrap().next().unwrap().unwrap().path();
    let read = |name: &str| std::fs::read_to_string(dir.join(name)).unwrap();
    let document: Value = serde_json::from_str(&read("document.json")).unwrap();
    assert_eq!(document["cells"].as_array().unwrap().len(), 1);
    let check: Value = serde_json::from_str(read("checks.jsonl").trim()).unwrap();
    assert_eq!(check["id"], "64x1x16.rate-over-uds");
    // One round says nothing.
    assert_eq!(check["verdict"], "inconclusive");
    let verdict: Value = serde_json::from_str(&read("verdict.json")).unwrap();
    assert_eq!(verdict["verdict"], "inconclusive");
}

#[test]
fn both_sides_can_spin() {
    let document = run(
        "local --contenders gateway --kinds spinning --seconds 0.2 --warmup 0.1 --rounds 1 --json",
    );
    let cell = &document["cells"][0];
    check(cell, &[("gateway", &["gateway"])]);
    positive(
        &cell["to_probe"][0]["ratio"]["median"],
        "ratio to the probe",
    );
}

#[test]
fn the_table_is_for_people_and_what_fails_is_one_line_and_1() {
    let table = output("local --contenders uds --kinds asleep --seconds 0.2 --rounds 1");
    let table = String::from_utf8(table.stdout).unwrap();
    for part in ["requests/s", "p99.9", "asleep", "uds", "two wake-ups"] {
        assert!(table.contains(part), "{part:?} in {table}");
    }
    let failed = output("nats --seconds 0.1 --nats-server /nowhere/nats-server");
    assert_eq!(failed.status.code(), Some(1));
    let said = String::from_utf8(failed.stderr).unwrap();
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.contains("/nowhere/nats-server"), "{said}");
    assert!(failed.stdout.is_empty());
}

/// Starts a comparison that would take ten minutes; returns when both servers and a client run.
fn start_long() -> (Child, Vec<(u32, String)>) {
    let mut command = tool::command("compare");
    command.args("nats --seconds 600 --rounds 1 --contenders raw --window 8".split(' '));
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    let mut found = Vec::new();
    eventually("servers and client are there", || {
        found = children(child.id())
            .into_iter()
            .map(|pid| (pid, command_line(pid)))
            .collect();
        // Not while one of them is still about to become its program.
        let has = |name: &str| found.iter().any(|(_, line)| line.contains(name));
        ["nats.conf", " responder ", " client "]
            .into_iter()
            .all(has)
    });
    (child, found)
}

fn command_line(pid: u32) -> String {
    std::fs::read_to_string(format!("/proc/{pid}/cmdline"))
        .unwrap_or_default()
        .replace('\0', " ")
}

/// Whether one of these processes is still there.
fn is_left(processes: &[(u32, String)]) -> bool {
    processes
        .iter()
        .any(|(pid, line)| command_line(*pid) == *line)
}

#[test]
fn a_signal_ends_every_process_that_was_started() {
    let (child, started) = start_long();
    signal("-TERM", child.id());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{output:?}");
    eventually("its processes are gone", || !is_left(&started));
}

#[test]
fn answers_that_do_not_come_fail_the_run() {
    let (child, started) = start_long();
    let (responder, _) = started
        .iter()
        .find(|(_, line)| line.contains(" responder "))
        .unwrap();
    signal("-KILL", *responder);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let said = String::from_utf8(output.stderr).unwrap();
    let last = said.lines().last().unwrap();
    // What was on its way is never answered, what is sent later has nobody to answer it.
    assert!(last.contains("raw client 0: "), "{said}");
    assert!(output.stdout.is_empty());
    eventually("its processes are gone", || !is_left(&started));
}
