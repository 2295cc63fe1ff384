//! `docs/FAULTS.md` and the tests say the same.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The faults that are numbered.
const FAULTS: std::ops::RangeInclusive<usize> = 1..=45;

fn read(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// A row of the table: its number, its tests and its counters.
struct Row {
    number: usize,
    tests: Vec<String>,
    counters: Vec<String>,
}

fn quoted(cell: &str) -> Vec<String> {
    cell.split('`')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect()
}

fn rows() -> Vec<Row> {
    let row = |line: &str| {
        let cells: Vec<&str> = line.split(" | ").collect();
        let number = cells[0].strip_prefix("| ")?.parse().ok()?;
        Some(Row {
            number,
            tests: quoted(cells[2]),
            counters: quoted(cells[3])
                .into_iter()
                .filter(|word| word.starts_with("ipcgw_"))
                .collect(),
        })
    };
    read("docs/FAULTS.md").lines().filter_map(row).collect()
}

/// The names of the tests whose names begin with a number.
fn tests() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut directories: Vec<PathBuf> = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("tests")];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|end| end == "rs") {
                let text = std::fs::read_to_string(path).unwrap();
                let names = text.lines().filter_map(|line| line.strip_prefix("fn f"));
                let names = names.filter_map(|rest| rest.split('(').next());
                let is_numbered = |name: &&str| name.starts_with(|c: char| c.is_ascii_digit());
                found.extend(names.filter(is_numbered).map(|name| format!("f{name}")));
            }
        }
    }
    found
}

#[test]
fn every_fault_has_a_test_and_every_such_test_is_in_the_table() {
    let rows = rows();
    let numbers: Vec<usize> = rows.iter().map(|row| row.number).collect();
    assert_eq!(numbers, FAULTS.collect::<Vec<_>>());
    let mut listed = BTreeSet::new();
    for row in &rows {
        assert!(!row.tests.is_empty(), "fault {} has no test", row.number);
        for test in &row.tests {
            let number = format!("f{:02}_", row.number);
            assert!(test.starts_with(&number), "{test} stands at {}", row.number);
            listed.insert(test.clone());
        }
    }
    assert_eq!(listed, tests());
}

#[test]
fn every_counter_of_the_table_is_exported() {
    let operations = read("docs/OPERATIONS.md");
    for row in rows() {
        for counter in &row.counters {
            let is_known = ["{", "`"]
                .iter()
                .any(|end| operations.contains(&format!("| `{counter}{end}")));
            assert!(is_known, "{counter} of fault {}", row.number);
        }
    }
}
