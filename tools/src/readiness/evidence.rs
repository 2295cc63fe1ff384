//! What the runs left behind, and whether it is about this code.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use ipc_tools::artifact::{Artifact, Check, ReadError, Record, Verdict, runs};
use serde_json::Value;

use crate::plan::Line;

/// One finished run.
#[derive(Debug)]
pub(crate) struct Evidence {
    pub(crate) path: PathBuf,
    pub(crate) kind: String,
    pub(crate) revision: String,
    /// Whether it ran from files that were not committed.
    pub(crate) dirty: bool,
    /// Seconds since 1970.
    pub(crate) started: u64,
    pub(crate) verdict: Verdict,
    pub(crate) checks: Vec<Check>,
    pub(crate) configuration: Value,
}

/// What was found below some directories.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) evidence: Vec<Evidence>,
    /// Directories that are not what a run leaves, and why; and runs that did not end.
    pub(crate) unusable: Vec<String>,
}

impl Found {
    /// Reads `<root>/<kind>/<run>/` of each root.
    pub(crate) fn below(roots: &[PathBuf]) -> Self {
        let mut found = Self::default();
        for root in roots {
            for kind in directories(root) {
                for run in runs(root, &kind).unwrap_or_default() {
                    found.add(&run);
                }
            }
        }
        found
    }

    fn add(&mut self, run: &Path) {
        match Artifact::read(run).map(Evidence::of) {
            Ok(Some(evidence)) => self.evidence.push(evidence),
            Ok(None) => self
                .unusable
                .push(format!("{}: did not end", run.display())),
            Err(error @ ReadError::Io { .. }) => self.unusable.push(error.to_string()),
            Err(error) => self.unusable.push(format!("{error}: not counted")),
        }
    }
}

impl Evidence {
    /// `None` for a run that has not ended.
    fn of(record: Record) -> Option<Self> {
        let environment = record.environment;
        let started = humantime::parse_rfc3339(&environment.started).ok()?;
        let started = started.duration_since(std::time::UNIX_EPOCH).ok()?;
        Some(Self {
            path: record.path,
            kind: environment.kind,
            revision: environment.git.revision,
            dirty: environment.git.dirty,
            started: started.as_secs(),
            verdict: record.conclusion?.verdict,
            checks: record.checks,
            configuration: environment.configuration,
        })
    }

    /// Whether a line of the plan asks for this.
    pub(crate) fn shows(&self, line: &Line) -> bool {
        let says = |(pointer, wanted): &(&str, &str)| {
            self.configuration.pointer(pointer).and_then(Value::as_str) == Some(*wanted)
        };
        self.kind == line.kind && line.when.iter().all(says)
    }

    /// How many checks of a category passed; each counts once.
    pub(crate) fn passed_in(&self, category: &str) -> usize {
        let mut passed: Vec<&str> = self
            .checks
            .iter()
            .filter(|check| check.category == category && check.verdict == Verdict::Pass)
            .map(|check| check.id.as_str())
            .collect();
        passed.sort_unstable();
        passed.dedup();
        passed.len()
    }

    /// The checks that did not pass, of one category or of all.
    pub(crate) fn failures(&self, category: Option<&str>) -> String {
        let failed: Vec<&str> = self
            .checks
            .iter()
            .filter(|check| category.is_none_or(|it| it == check.category))
            .filter(|check| check.verdict != Verdict::Pass)
            .map(|check| check.id.as_str())
            .collect();
        if failed.is_empty() {
            return String::new();
        }
        format!("did not pass: {}", failed.join(", "))
    }

    /// The first letters of the revision.
    pub(crate) fn shown_revision(&self) -> String {
        let short = crate::report::short(&self.revision);
        let dirty = if self.dirty { "-dirty" } else { "" };
        format!("{short}{dirty}")
    }
}

/// Names of the directories in one that may be missing.
fn directories(root: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(root) else {
        return Vec::new();
    };
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let mut found: Vec<String> = paths
        .filter(|path| path.is_dir())
        .filter_map(|path| Some(path.file_name()?.to_str()?.to_owned()))
        .collect();
    found.sort();
    found
}

/// The revision that is judged, and what else has the same code.
#[derive(Debug)]
pub(crate) struct Revisions {
    head: String,
    dirty: bool,
    /// What git said of other revisions.
    same: RefCell<HashMap<String, bool>>,
}

impl Revisions {
    /// Those of the checkout in the current directory.
    ///
    /// # Errors
    /// A line that says why there is none.
    pub(crate) fn look(revision: &str) -> Result<Self, String> {
        let head = git(&["rev-parse", "--verify", &format!("{revision}^{{commit}}")])?;
        let dirty = !git(&["status", "--porcelain", "--untracked-files=no"])?.is_empty();
        Ok(Self {
            head,
            dirty,
            same: RefCell::default(),
        })
    }

    pub(crate) fn head(&self) -> &str {
        &self.head
    }

    /// Whether files were changed and not committed.
    pub(crate) const fn is_dirty(&self) -> bool {
        self.dirty
    }

    /// Whether the run was of this code: of this revision, or of one that differs in nothing but
    /// what is written about it, as the commit does that adds the evidence.
    pub(crate) fn is_same_code(&self, evidence: &Evidence) -> bool {
        if evidence.dirty {
            return false;
        }
        if evidence.revision == self.head {
            return true;
        }
        let mut same = self.same.borrow_mut();
        *same
            .entry(evidence.revision.clone())
            .or_insert_with_key(|revision| {
                let range = ["diff", "--quiet", revision, &self.head, "--", "."];
                let prose = [":(exclude)docs", ":(exclude,glob)**/*.md"];
                git(&[&range[..], &prose[..]].concat()).is_ok()
            })
    }
}

/// What git prints, without the end of the line.
fn git(arguments: &[&str]) -> Result<String, String> {
    let output = Command::new("git")
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("cannot run git: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("git {}: {}", arguments.join(" "), said.trim()))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use serde_json::json;

    /// A run that has ended so, without checks.
    pub(crate) fn evidence(kind: &str, revision: &str, outcome: &str) -> Evidence {
        Evidence {
            path: format!("artifacts/{kind}/run").into(),
            kind: kind.to_owned(),
            revision: revision.to_owned(),
            dirty: false,
            started: 0,
            verdict: serde_json::from_value(json!(outcome)).unwrap(),
            checks: Vec::new(),
            configuration: json!({}),
        }
    }

    impl Evidence {
        pub(crate) fn add(&mut self, category: &str, verdict: &str, count: usize) {
            let from = self.checks.len();
            for number in from..from + count {
                let id = format!("{category}.{number}");
                let verdict = serde_json::from_value(json!(verdict)).unwrap();
                self.checks.push(Check::new(id, category, "", verdict));
            }
        }
    }

    /// Of a checkout at `head`; nothing else has its code.
    pub(crate) fn revisions(head: &str) -> Revisions {
        Revisions {
            head: head.to_owned(),
            dirty: false,
            same: RefCell::new(HashMap::from([("other".to_owned(), false)])),
        }
    }

    #[test]
    fn only_finished_runs_are_evidence() {
        let dir = tempfile::tempdir().unwrap();
        let configuration = json!({ "faults": "none" });
        let mut run = Artifact::create(dir.path(), "soak", configuration).unwrap();
        let roots = [dir.path().to_owned(), dir.path().join("nothing")];
        let found = Found::below(&roots);
        assert!(found.evidence.is_empty());
        assert!(found.unusable[0].ends_with("did not end"), "{found:?}");
        run.check(&Check::new("a.1", "a", "", Verdict::Pass))
            .unwrap();
        run.finish("").unwrap();
        let found = Found::below(&roots);
        assert_eq!(found.evidence.len(), 1);
        assert_eq!(found.evidence[0].verdict, Verdict::Pass);
        assert_eq!(found.evidence[0].configuration["faults"], "none");
        assert!(found.unusable.is_empty());
    }

    #[test]
    fn a_check_that_is_written_twice_counts_once() {
        let mut run = evidence("e2e", "head", "pass");
        run.add("errors", "pass", 1);
        let again = Check::new("errors.0", "errors", "", Verdict::Pass);
        run.checks.push(again);
        assert_eq!(run.passed_in("errors"), 1);
    }

    #[test]
    fn uncommitted_changes_are_other_code() {
        let mut run = evidence("loom", "head", "pass");
        assert!(revisions("head").is_same_code(&run));
        run.dirty = true;
        assert!(!revisions("head").is_same_code(&run));
        assert!(!revisions("head").is_same_code(&evidence("loom", "other", "pass")));
    }
}
