//! `docs/OPERATIONS.md` as a runbook: it has every exit code, completion code and end of a session,
//! each with its meaning, and for what is not well a likely cause and what to do.

use ipc_ringbuf::error::EndReason;
use ipc_ringbuf::{Code, Outcome};

use crate::protocol::table_of;

const RUNBOOK: &str = include_str!("../docs/OPERATIONS.md");
const PROTOCOL: &str = include_str!("../docs/PROTOCOL.md");
const EXIT: &str = include_str!("../src/cli/exit.rs");

/// The rows of a table, which must have this many cells, none of them empty but in those rows.
fn complete(heading: &str, cells: usize, may_be_empty: impl Fn(&str) -> bool) -> Vec<Vec<String>> {
    let rows = table_of(RUNBOOK, heading);
    for row in &rows {
        assert_eq!(row.len(), cells, "{row:?}");
        assert!(
            may_be_empty(&row[0]) || row.iter().all(|cell| !cell.is_empty()),
            "{row:?} says nothing of the cause, or of what to do"
        );
        assert!(!row.last().unwrap().is_empty(), "{row:?}");
    }
    rows
}

fn first_cells(rows: &[Vec<String>]) -> Vec<&str> {
    rows.iter().map(|row| row[0].as_str()).collect()
}

#[test]
fn every_exit_code_is_there() {
    let variants = EXIT.lines().filter_map(|line| {
        let (name, number) = line.trim().strip_suffix(',')?.split_once(" = ")?;
        let is_name = name.chars().all(|c| c.is_ascii_alphabetic());
        is_name.then_some(number)
    });
    let variants: Vec<&str> = variants.collect();
    assert!(variants.len() >= 9, "{variants:?}");
    let rows = complete("Exit codes", 4, |code| code == "0");
    assert_eq!(first_cells(&rows), variants);
}

#[test]
fn every_completion_code_is_there() {
    let rows = complete("Completion codes", 5, |code| {
        matches!(code, "OK" | "SENT" | "STORED")
    });
    let said: Vec<_> = rows
        .iter()
        .map(|row| [row[0].as_str(), row[1].as_str()])
        .collect();
    let codes = Code::ALL.iter();
    let codes: Vec<_> = codes
        .map(|code| [code.name(), code.outcome().name()])
        .collect();
    assert_eq!(said, codes);
    assert_eq!(Outcome::ALL.len(), 3);
}

#[test]
fn every_end_of_a_session_is_there() {
    let rows = complete("Ends of sessions", 4, |_| false);
    let names = EndReason::ALL.map(EndReason::name);
    assert_eq!(first_cells(&rows), names);
}

#[test]
fn both_pages_have_the_same_codes() {
    let said = |row: &Vec<String>| (row[1].clone(), row[2].clone());
    let there = table_of(PROTOCOL, "Codes");
    let here = table_of(RUNBOOK, "Completion codes");
    let here: Vec<_> = here
        .into_iter()
        .map(|row| (row[0].clone(), row[1].clone()))
        .collect();
    assert_eq!(there.iter().map(said).collect::<Vec<_>>(), here);
}

#[test]
fn a_missing_row_is_seen() {
    let without: Vec<&str> = RUNBOOK
        .lines()
        .filter(|line| !line.starts_with("| `UPSTREAM_LOST` |"))
        .collect();
    let rows = table_of(&without.join("\n"), "Completion codes");
    assert_eq!(rows.len() + 1, Code::ALL.len());
}
