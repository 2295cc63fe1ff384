//! `ipc-gateway top` against a gateway with clients: what scripts get, and what is seen and left on
//! a terminal.

use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use ipc_ringbuf::{ClientBuilder, Request};
use serde_json::Value;

use crate::support::bench::Bench;
use crate::support::gateway::{Gateway, attach_with, start};
use crate::support::lines::Lines;
use crate::support::screen::Screen;

const LOOPBACK: &[&str] = &["--upstream", "loopback"];
/// What brings back the screen that was there before, and the cursor.
const RESTORED: [&str; 2] = ["\u{1b}[?1049l", "\u{1b}[?25h"];

fn top(socket: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ipc-gateway"));
    command
        .arg("top")
        .arg("--socket")
        .arg(socket)
        .args(arguments);
    command.stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn output(gateway: &Gateway, arguments: &[&str]) -> Output {
    top(&gateway.socket, arguments).output().unwrap()
}

/// A gateway with two client processes that keep it busy.
fn under_load() -> (Gateway, Bench, Vec<u32>) {
    let gateway = start(LOOPBACK);
    let arguments = ["--clients", "2", "--window", "8", "--duration", "8s"];
    let bench = Bench::start(&gateway, &arguments);
    let clients = bench.clients(2);
    (gateway, bench, clients)
}

#[test]
fn once_prints_a_view_that_a_pipe_can_take() {
    let (gateway, _bench, clients) = under_load();
    let output = output(
        &gateway,
        &["--once", "--interval", "500ms", "--sort", "pid"],
    );
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(!text.contains('\u{1b}'), "{text:?}");
    let pid = format!("pid {}", gateway.pid());
    assert!(
        text.starts_with("ipc-gateway ") && text.contains(&pid),
        "{text}"
    );
    assert!(text.contains("ready") && text.contains("OK "), "{text}");
    // No connections to NATS, so no table of them.
    assert!(text.contains("WORKER") && text.contains("decide") && !text.contains("NATS"));
    let (_, table) = text.split_once("PID▴").unwrap();
    let rows: Vec<Vec<&str>> = table
        .lines()
        .skip(1)
        .map(|row| row.split_whitespace().collect())
        .collect();
    let mut sorted = clients;
    sorted.sort_unstable();
    let pids: Vec<u32> = rows.iter().map(|row| row[1].parse().unwrap()).collect();
    assert_eq!(pids, sorted, "{text}");
    for row in rows {
        let rate = row.iter().rev().nth(4).unwrap().replace(',', "");
        assert!(rate.parse::<f64>().unwrap() > 0.0, "{row:?}");
        assert_eq!(row[3], "ipc-gateway");
    }
}

#[test]
fn json_once_is_one_object_with_rates() {
    let (gateway, _bench, clients) = under_load();
    let output = output(&gateway, &["--once", "--json", "--interval", "500ms"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text.lines().count(), 1);
    let sample: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(sample["reachable"], true);
    assert!(sample["interval_seconds"].as_f64().unwrap() >= 0.4);
    assert_eq!(sample["gateway"]["pid"], gateway.pid());
    assert_eq!(sample["nats"], Value::Null);
    let total = sample["totals"]["completed_per_second"].as_f64().unwrap();
    let sessions = sample["sessions"].as_array().unwrap();
    let each = sessions
        .iter()
        .map(|row| row["completed_per_second"].as_f64().unwrap());
    let sum: f64 = each.sum();
    // Both are of the same moments, to within a cycle of the worker.
    assert!(
        total > 0.0 && (0.5..2.0).contains(&(sum / total)),
        "{sum} {total}"
    );
    for row in sessions {
        let pid = u32::try_from(row["pid"].as_u64().unwrap()).unwrap();
        assert!(clients.contains(&pid), "{row}");
        assert!(row["p50_seconds"].as_f64() <= row["p99_seconds"].as_f64());
        assert!(row["p99_seconds"].as_f64().unwrap() > 0.0, "{row}");
    }
    let busy: f64 = sample["workers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|w| w["busy"].as_f64().unwrap())
        .sum();
    assert!(busy > 0.0, "{sample}");
}

/// A program that is killed with its guard.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

#[test]
fn json_goes_on_while_the_gateway_is_away() {
    let mut gateway = start(LOOPBACK);
    let mut running = Running(
        top(&gateway.socket, &["--json", "--interval", "100ms"])
            .spawn()
            .unwrap(),
    );
    let lines = Lines::of(running.0.stdout.take().unwrap());
    lines.wait_for_lines(2);
    gateway.kill();
    lines.wait_for("\"reachable\":false");
    gateway.restart(LOOPBACK);
    lines.wait_for(&format!("\"pid\":{}", gateway.pid()));
    for line in lines.text().lines() {
        let sample: Value = serde_json::from_str(line).unwrap();
        assert!(sample["reachable"].is_boolean(), "{line}");
    }
    assert!(running.0.try_wait().unwrap().is_none());
}

#[test]
fn json_ends_with_its_reader() {
    let gateway = start(LOOPBACK);
    let mut running = Running(
        top(&gateway.socket, &["--json", "--interval", "100ms"])
            .spawn()
            .unwrap(),
    );
    drop(running.0.stdout.take());
    assert_eq!(running.0.wait().unwrap().code(), Some(0));
}

#[test]
fn without_a_gateway_there_is_one_line_and_exit_69() {
    let directory = tempfile::tempdir().unwrap();
    let nowhere = directory.path().join("gateway.sock");
    for arguments in [&[][..], &["--once"], &["--json"], &["--once", "--json"]] {
        let output = top(&nowhere, arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(69), "{arguments:?}");
        assert!(output.stdout.is_empty());
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(said.contains("not reachable") && said.contains("is the gateway running"));
    }
}

#[test]
fn a_view_for_people_needs_a_terminal() {
    let gateway = start(LOOPBACK);
    let output = output(&gateway, &[]);
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("--once"), "{said}");
}

#[test]
fn on_a_terminal_keys_change_what_is_seen_and_everything_is_as_before_in_the_end() {
    let mut gateway = start(LOOPBACK);
    let mut client = attach_with(&gateway, ClientBuilder::new().name("somebody"));
    client.call(Request::to("decide").payload(b"{}")).unwrap();
    let command = top(&gateway.socket, &["--interval", "100ms"]);
    let mut screen = Screen::start(&command, 140, 30);
    screen.wait_for("\u{1b}[?1049h", 0);
    screen.wait_for("ready", 0);
    screen.wait_for("(somebody)", 0);
    assert!(screen.is_raw());
    screen.press(" ", "PAUSED");
    screen.press(" ", " ");
    screen.press("/", "filter:");
    screen.press("x", "x_");
    // In a filter it is a letter.
    screen.press("q", "q_");
    screen.press("\r", "every");
    screen.press("+", "2");
    // Another size: everything is drawn anew.
    let before = screen.now();
    screen.resize(100, 20);
    screen.wait_for("ipc-gateway", before);
    screen.wait_for("200ms", before);
    // The gateway goes away and comes back.
    let before = screen.now();
    gateway.kill();
    screen.wait_for("reachable:", before);
    let before = screen.now();
    gateway.restart(LOOPBACK);
    screen.wait_for("ready", before);
    let (status, shown) = screen.end("q");
    assert_eq!(status.code(), Some(0));
    let (_, last) = shown.rsplit_once("\u{1b}[?1049h").unwrap();
    for code in RESTORED {
        assert!(last.contains(code), "{code:?} is not in {last:?}");
    }
}

#[test]
fn control_c_and_signals_give_the_terminal_back() {
    let gateway = start(LOOPBACK);
    for (keys, name) in [("\u{3}", None), ("", Some("-TERM")), ("", Some("-HUP"))] {
        let screen = Screen::start(&top(&gateway.socket, &[]), 80, 24);
        screen.wait_for("ready", 0);
        assert!(screen.is_raw());
        if let Some(name) = name {
            screen.signal(name);
        }
        let (status, shown) = screen.end(keys);
        assert_eq!(status.code(), Some(0), "{name:?}");
        let (_, last) = shown.rsplit_once("\u{1b}[?1049h").unwrap();
        for code in RESTORED {
            assert!(last.contains(code), "{name:?}: {code:?} is not in {last:?}");
        }
    }
}
