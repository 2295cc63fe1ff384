//! `contract`: the gateway does what the contract says, and a contract or a gateway that says
//! otherwise is found out.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test and its helpers fail by panicking"
)]

mod checks;

use std::path::{Path, PathBuf};

use ipc_tools::artifact::Record;

use checks::{failed, gateway_with, run, write_script};

const CONTRACT: &str = env!("CARGO_BIN_EXE_contract");

/// The contract of the repository.
fn document() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../contracts/router.v1.json")
}

/// Runs with this contract; returns the status, what was said, and the evidence.
fn check(dir: &Path, document: &Path, more: &[&str]) -> (Option<i32>, String, Option<Record>) {
    let mut arguments = vec!["--contract", document.to_str().unwrap()];
    arguments.extend(more);
    let (output, record) = run(CONTRACT, dir, &arguments);
    let said = String::from_utf8(output.stderr).unwrap();
    (output.status.code(), said, record)
}

#[test]
fn the_gateway_does_what_the_contract_says() {
    let dir = tempfile::tempdir().unwrap();
    let (status, said, record) = check(dir.path(), &document(), &[]);
    let record = record.expect(&said);
    assert_eq!(failed(&record), Vec::<String>::new(), "{said}");
    assert_eq!(status, Some(0), "{said}");
    let count = |category: &str| {
        let of = record.checks.iter().filter(|c| c.category == category);
        of.count()
    };
    let counts = [
        "json", "subject", "headers", "fields", "limits", "errors", "replies", "payload",
    ];
    // 7 headers, the trace, 2 reserved prefixes, an exception and 3 limits; 13 codes and 3 unknown.
    assert_eq!(counts.map(count), [2, 1, 14, 17, 8, 16, 4, 3], "{said}");
    assert_eq!(count("backpressure"), 10);
    let wire = std::fs::read_to_string(record.path.join("wire.jsonl")).unwrap();
    assert!(wire.contains("beamline.router.v1.decide"));
}

/// What a contract with one change finds wrong.
fn found_with(from: &str, to: &str) -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    let text = std::fs::read_to_string(document()).unwrap();
    assert!(text.contains(from), "{from}");
    let changed = dir.path().join("changed.json");
    std::fs::write(&changed, text.replacen(from, to, 1)).unwrap();
    let (status, said, record) = check(dir.path(), &changed, &[]);
    assert_eq!(status, Some(1), "{said}");
    failed(&record.expect(&said))
}

#[test]
fn a_contract_that_says_something_else_than_the_gateway_does_is_found_out() {
    let status = found_with("\"status\": 403}", "\"status\": 409}");
    assert!(
        status.iter().any(|line| line.starts_with("json.codes")),
        "{status:#?}"
    );
    let line = status
        .iter()
        .find(|line| line.starts_with("errors.validator_blocked"));
    assert!(
        line.is_some_and(|line| line.contains("403, not")),
        "{status:#?}"
    );
    let limit = found_with("\"max\": 256", "\"max\": 255");
    let [only] = limit.as_slice() else {
        unreachable!("{limit:#?}");
    };
    assert!(only.starts_with("limits.idempotency_key"), "{only}");
    let exact = found_with("\"any_of\": [32, 36]", "\"any_of\": [33, 36]");
    let [only] = exact.as_slice() else {
        unreachable!("{exact:#?}");
    };
    assert!(only.starts_with("limits.trace_id"), "{only}");
}

#[test]
fn a_gateway_without_the_contract_is_found_out() {
    let dir = tempfile::tempdir().unwrap();
    let opaque = "[[route]]\nname = \"decide\"\ncontract = \"opaque\"\n";
    let bin = gateway_with(dir.path(), opaque);
    let more = ["--bin-dir", bin.to_str().unwrap()];
    let (status, said, record) = check(dir.path(), &document(), &more);
    assert_eq!(status, Some(1), "{said}");
    let bad = failed(&record.expect(&said));
    for id in [
        "headers.version",
        "headers.ipcgw-deadline-ms",
        "errors.internal",
        "replies.3",
    ] {
        let is_it = |line: &String| line.starts_with(&format!("{id}: "));
        assert!(bad.iter().any(is_it), "{id}: {bad:#?}");
    }
}

#[test]
fn what_is_missing_or_no_contract_has_a_code_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let (status, said, _) = check(dir.path(), &dir.path().join("none.json"), &[]);
    assert_eq!(status, Some(69), "{said}");
    assert!(said.contains("none.json"), "{said}");
    let broken = dir.path().join("broken.json");
    write_script(&broken, "");
    let (status, said, record) = check(dir.path(), &broken, &[]);
    assert_eq!(status, Some(1), "{said}");
    assert!(record.is_none());
    let (status, said, _) = check(dir.path(), &document(), &["--bin-dir", "/nowhere"]);
    assert_eq!(status, Some(69), "{said}");
    assert!(said.contains("cargo build"), "{said}");
}
