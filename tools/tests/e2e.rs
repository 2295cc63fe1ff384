//! `e2e`: every check passes with a sound gateway and Router, and fails when one is not.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test and its helpers fail by panicking"
)]

mod checks;

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use ipc_tools::artifact::{Record, Verdict};

use checks::{failed, gateway_with, programs, run, write_script};

const E2E: &str = env!("CARGO_BIN_EXE_e2e");

/// The service levels are those of a release build on a quiet machine: here it counts that they are
/// measured.
#[test]
fn all_33_checks_pass_and_leave_their_evidence() {
    let dir = tempfile::tempdir().unwrap();
    let load = ["--slo-rate", "400", "--slo-seconds", "3"];
    let (output, record) = run(E2E, dir.path(), &load);
    let said = String::from_utf8_lossy(&output.stderr);
    let record = record.expect(&said);
    let mut contract = record.checks.iter().filter(|check| check.category != "slo");
    let bad: Vec<String> = failed(&record);
    assert!(
        bad.iter().all(|line| line.starts_with("slo.p")),
        "{bad:#?}\n{said}"
    );
    assert_eq!(contract.clone().count(), 33);
    assert!(contract.all(|check| check.verdict == Verdict::Pass));
    let levels: Vec<_> = record.checks[33..].iter().collect();
    assert_eq!(levels.len(), 4);
    assert!(levels[0].detail["clients"][0]["sent"].as_u64() > Some(500));
    let expected = if bad.is_empty() { 0 } else { 1 };
    assert_eq!(output.status.code(), Some(expected), "{said}");
    // Everything that the evidence consists of.
    for name in [
        "wire.jsonl",
        "resources.csv",
        "SUMMARY.md",
        "logs/nats-server.txt",
    ] {
        let text = std::fs::read_to_string(record.path.join(name)).unwrap();
        assert!(text.lines().count() > 10, "{name}: {text}");
    }
    let first = &record.checks[0];
    for part in ["sent", "wire", "got", "held"] {
        let list = first.detail[part].as_array().unwrap();
        assert!(!list.is_empty(), "{part}");
    }
    assert_eq!(
        first.detail["wire"][0]["subject"],
        "beamline.router.v1.decide"
    );
    assert!(record.environment.nats_server.contains("nats-server"));
    assert!(record.environment.gateway_version.contains("ipc-gateway"));
    // Progress, one line a check.
    assert!(said.contains("37/37"), "{said}");
}

/// Runs these checks; each must fail, and for the reason given.
fn must_fail(dir: &Path, arguments: &[&str], expected: &[(&str, &str)]) -> Record {
    let mut all: Vec<&str> = arguments.to_vec();
    for (id, _) in expected {
        all.extend(["--check", id]);
    }
    let (output, record) = run(E2E, dir, &all);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    let record = record.expect(&said);
    assert_eq!(record.checks.len(), expected.len(), "{said}");
    for (check, (id, reason)) in record.checks.iter().zip(expected) {
        assert_eq!(check.id, *id);
        assert_eq!(check.verdict, Verdict::Fail, "{said}");
        let seen = check.seen();
        assert!(seen.contains(reason), "{id}: {seen}");
    }
    record
}

/// A Router that is run by a script, which sees its flags.
fn router_by(dir: &Path, script: &str) -> String {
    let path = dir.join("router");
    let program = programs().join("reference-router");
    let script = format!("router='{}'\n{script}", program.display());
    write_script(&path, &script);
    path.to_str().unwrap().to_owned()
}

#[test]
fn a_router_that_drops_headers_changes_codes_and_answers_wrongly_is_found_out() {
    let dir = tempfile::tempdir().unwrap();
    // Says nothing in headers, another code than it is asked for, and is never late or silent.
    let router = router_by(
        dir.path(),
        "for word do shift\n\
         case $word in\n\
         --echo-headers) continue ;;\n\
         policy_not_found|unavailable) word=internal ;;\n\
         x-router=*) word=x-other=1 ;;\n\
         5500ms|4200ms) word=0s ;;\n\
         esac\n\
         set -- \"$@\" \"$word\"\ndone\nexec \"$router\" \"$@\"\n",
    );
    must_fail(
        dir.path(),
        &["--reference-router", &router],
        &[
            ("subjects.3", "x-router on the wire is absent"),
            ("errors.2", "policy_not_found is ROUTER_INTERNAL 500"),
            ("errors.4", "unavailable is ROUTER_INTERNAL 500"),
            ("timeouts.2", "it took 0."),
            ("timeouts.3", "is OK 200, not TIMEOUT 504"),
        ],
    );
}

#[test]
fn a_repeated_reply_that_is_not_counted_is_found_out() {
    let dir = tempfile::tempdir().unwrap();
    // It repeats once, where it is told to repeat twice: as if half of the repetitions were not counted.
    let router = router_by(
        dir.path(),
        "for word do shift\n\
         case $word in\n\
         2) word=1 ;;\n\
         esac\n\
         set -- \"$@\" \"$word\"\ndone\nexec \"$router\" \"$@\"\n",
    );
    must_fail(
        dir.path(),
        &["--reference-router", &router],
        &[("timeouts.5", "counted and completed nothing is ")],
    );
}

#[test]
fn a_gateway_that_sends_elsewhere_is_found_out() {
    let dir = tempfile::tempdir().unwrap();
    let elsewhere = "[[route]]\nname = \"decide\"\nsubject = \"elsewhere\"\n";
    let bin = gateway_with(dir.path(), elsewhere);
    let router = router_by(dir.path(), "exec \"$router\" --subject elsewhere \"$@\"\n");
    must_fail(
        dir.path(),
        &[
            "--bin-dir",
            bin.to_str().unwrap(),
            "--reference-router",
            &router,
        ],
        &[(
            "subjects.1",
            "the subject is elsewhere, not beamline.router.v1.decide",
        )],
    );
}

#[test]
fn a_gateway_that_does_not_know_the_contract_is_found_out() {
    let dir = tempfile::tempdir().unwrap();
    let opaque = "[[route]]\nname = \"decide\"\ncontract = \"opaque\"\ntimeout = \"9s\"\n\
                  [route.breaker]\nenabled = false\n";
    let bin = gateway_with(dir.path(), opaque);
    must_fail(
        dir.path(),
        &["--bin-dir", bin.to_str().unwrap()],
        &[
            ("subjects.2", "header version on the wire is absent"),
            (
                "subjects.5",
                "trace_id on the wire, given traceparent is absent",
            ),
            ("errors.1", "is OK 200, not ROUTER_INVALID_REQUEST 400"),
            ("errors.3", "is OK 200, not ROUTER_DECISION_FAILED 500"),
            ("errors.5", "is OK 200, not ROUTER_UNKNOWN 500"),
            ("timeouts.3", "is OK 200, not TIMEOUT 504"),
        ],
    );
}

#[test]
fn a_gateway_that_does_not_say_that_the_server_is_away_is_found_out() {
    let dir = tempfile::tempdir().unwrap();
    let bin = gateway_with(dir.path(), "fail_fast = \"1m\"\n");
    must_fail(
        dir.path(),
        &["--bin-dir", bin.to_str().unwrap()],
        &[(
            "reconnect.6",
            "a request meanwhile is EXPIRED_UNSENT 504, not UPSTREAM_DOWN 503",
        )],
    );
}

#[test]
fn a_gateway_that_is_deaf_to_backpressure_is_found_out() {
    let dir = tempfile::tempdir().unwrap();
    let bin = gateway_with(dir.path(), "enabled = false\n");
    let checks = ["backpressure.1", "backpressure.7"];
    let expected = checks.map(|id| (id, "not within"));
    must_fail(dir.path(), &["--bin-dir", bin.to_str().unwrap()], &expected);
}

#[test]
fn a_router_that_nobody_can_command_fails_what_needs_that_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = Server::start();
    let mut router = Command::new(programs().join("reference-router"))
        .args(["--nats", &server.url])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let external = ["--router", "external", "--nats", &server.url];
    let mut arguments = external.to_vec();
    arguments.extend([
        "--check",
        "subjects.1",
        "--check",
        "subjects.4",
        "--check",
        "errors.1",
    ]);
    arguments.extend(["--check", "reconnect.1", "--check", "reconnect.7"]);
    let (output, record) = run(E2E, dir.path(), &arguments);
    let said = String::from_utf8_lossy(&output.stderr);
    let bad = failed(&record.expect(&said));
    assert_eq!(bad, Vec::<String>::new(), "{said}");
    assert_eq!(output.status.code(), Some(0), "{said}");
    must_fail(
        dir.path(),
        &external,
        &[
            (
                "errors.2",
                "not tried: an external Router cannot be told to answer 404",
            ),
            (
                "timeouts.7",
                "not tried: an external Router cannot be told to be silent",
            ),
        ],
    );
    router.kill().unwrap();
    router.wait().unwrap();
    server.kill();
}

/// A nats-server of the test's own.
struct Server {
    child: std::process::Child,
    url: String,
    _logs: tempfile::TempDir,
}

impl Server {
    fn start() -> Self {
        let program = ipc_tools::artifact::Programs::find().nats_server.unwrap();
        let logs = tempfile::tempdir().unwrap();
        let ports = logs.path().to_str().unwrap();
        let child = Command::new(program)
            .args([
                "--addr",
                "127.0.0.1",
                "--port",
                "-1",
                "--ports_file_dir",
                ports,
            ])
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let file = logs
            .path()
            .join(format!("nats-server_{}.ports", child.id()));
        let since = Instant::now();
        let url = loop {
            let text = std::fs::read_to_string(&file).unwrap_or_default();
            let ports: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
            if let Some(url) = ports["nats"][0].as_str() {
                break url.to_owned();
            }
            assert!(since.elapsed() < Duration::from_secs(20), "{text}");
            std::thread::yield_now();
        };
        Self {
            child,
            url,
            _logs: logs,
        }
    }

    fn kill(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

#[test]
fn what_is_missing_and_what_is_wrong_have_codes_of_their_own() {
    let dir = tempfile::tempdir().unwrap();
    let code = |arguments: &[&str]| {
        let (output, _) = run(E2E, dir.path(), arguments);
        let said = String::from_utf8(output.stderr).unwrap();
        (output.status.code(), said)
    };
    let (status, said) = code(&["--bin-dir", "/nowhere"]);
    assert_eq!(status, Some(69), "{said}");
    assert!(said.contains("cargo build"), "{said}");
    let closed = ["--router", "external", "--nats", "nats://127.0.0.1:1"];
    let (status, said) = code(&closed);
    assert_eq!(status, Some(69), "{said}");
    assert!(said.contains("127.0.0.1:1"), "{said}");
    for wrong in [
        &["--check", "subjects.99"][..],
        &["--category", "none"],
        &["--router", "external"],
    ] {
        let (status, said) = code(wrong);
        assert_eq!(status, Some(2), "{said}");
    }
    let output = Command::new(E2E).arg("--list").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text.lines().count(), 37, "{text}");
}

#[test]
fn a_signal_ends_every_process_and_leaves_the_run_unfinished() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = Command::new(E2E)
        .arg("--artifacts")
        .arg(dir.path())
        .arg("--bin-dir")
        .arg(programs())
        .args(["--check", "timeouts.2"])
        .env("TMPDIR", dir.path())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let since = Instant::now();
    while parts(dir.path()) < 5 {
        assert!(since.elapsed() < Duration::from_secs(30));
        std::thread::yield_now();
    }
    let sent = Command::new("kill").arg(child.id().to_string()).status();
    assert!(sent.unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let since = Instant::now();
    while parts(dir.path()) > 0 {
        assert!(since.elapsed() < Duration::from_secs(30));
        std::thread::yield_now();
    }
    let runs = ipc_tools::artifact::runs(dir.path(), "e2e").unwrap();
    let record = ipc_tools::artifact::Artifact::read(&runs[0]).unwrap();
    assert_eq!(record.conclusion, None);
    // Nothing but the evidence is left.
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}

/// Processes that know of the directory.
fn parts(directory: &Path) -> usize {
    let wanted = format!("TMPDIR={}", directory.display());
    let entries = std::fs::read_dir("/proc").unwrap();
    let environments =
        entries.filter_map(|entry| std::fs::read(entry.ok()?.path().join("environ")).ok());
    environments
        .filter(|text| String::from_utf8_lossy(text).contains(&wanted))
        .count()
}
