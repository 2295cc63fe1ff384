//! What the runs left behind, and whether it is about this code.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use ipc_tools::artifact::{
    Artifact, Check, Environment, Git, ReadError, Record, Verdict, is_run, runs,
};
use serde_json::Value;

use crate::plan::{Line, Wanted};

/// One finished run.
#[derive(Debug)]
pub(crate) struct Evidence {
    pub(crate) path: PathBuf,
    pub(crate) kind: String,
    /// What ran: the gateway's own word, where a gateway ran.
    pub(crate) revision: String,
    /// Whether it was made from files that were not committed.
    pub(crate) dirty: bool,
    /// What is to be said of the revision; empty as a rule.
    pub(crate) note: String,
    /// `release` or `debug`, where it was said.
    pub(crate) profile: Option<String>,
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
    /// Reads `<root>/<kind>/<run>/` of each root, and `<root>/<run>/`, as runs are kept.
    pub(crate) fn below(roots: &[PathBuf]) -> Self {
        let mut found = Self::default();
        for root in roots {
            for name in directories(root) {
                let path = root.join(&name);
                if is_run(&path) {
                    found.add(&path);
                    continue;
                }
                for run in runs(root, &name).unwrap_or_default() {
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
        let (git, note) = ran(&environment);
        let told = |pointer| environment.configuration.pointer(pointer)?.as_str();
        let profile = environment.profile.as_deref();
        let profile = profile
            .or_else(|| told("/profile"))
            .or_else(|| told("/build"));
        Some(Self {
            path: record.path,
            kind: environment.kind,
            revision: git.revision,
            dirty: git.dirty,
            note,
            profile: profile.map(str::to_owned),
            started: started.as_secs(),
            verdict: record.conclusion?.verdict,
            checks: record.checks,
            configuration: environment.configuration,
        })
    }

    /// Whether a line of the plan is about such runs.
    pub(crate) fn shows(&self, line: &Line) -> bool {
        let says = |(pointer, wanted): &(&str, &str)| {
            self.configuration.pointer(pointer).and_then(Value::as_str) == Some(*wanted)
        };
        self.kind == line.kind && line.when.iter().all(says)
    }

    /// What is missing so that it shows the line; empty when nothing is.
    pub(crate) fn lacks(&self, line: &Line) -> Vec<String> {
        let needs = line.needs.iter();
        needs.filter_map(|need| need.lacks(self)).collect()
    }

    /// Whether it was told to make some of its checks only.
    pub(crate) fn is_restricted(&self) -> bool {
        ["/categories", "/checks"].iter().any(|pointer| {
            let named = self.configuration.pointer(pointer);
            let named = named.and_then(Value::as_array);
            named.is_some_and(|named| !named.is_empty())
        })
    }

    /// Whether what it has of this failed. A check that is not there has not.
    pub(crate) fn has_failed(&self, wanted: Wanted) -> bool {
        match wanted {
            Wanted::Whole => self.verdict == Verdict::Fail,
            Wanted::Category(category, _) => {
                let mut own = self.checks.iter().filter(|it| it.category == category);
                own.any(|check| check.verdict == Verdict::Fail)
            }
        }
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

/// What ran, and what is to be said of it. A recorded command builds what the checkout holds; other
/// runs start a gateway, and are made by a tool, that may have been built of something else. What
/// gateway and tool of two revisions show is shown of neither.
fn ran(environment: &Environment) -> (Git, String) {
    let checkout = environment.git.clone();
    if environment.configuration.get("recorded").is_some() {
        return (checkout, String::new());
    }
    let Some(built) = environment.gateway_revision() else {
        let note = "the gateway does not say of which revision it was built".to_owned();
        let git = Git {
            dirty: true,
            ..checkout
        };
        return (git, note);
    };
    let tool = of_tool(environment, &built);
    let dirty = built.dirty || checkout.dirty || tool.is_some();
    let is_same = checkout.revision.starts_with(&built.revision);
    let mut notes = Vec::new();
    if !is_same || built.dirty != checkout.dirty {
        notes.push(format!(
            "the gateway was built of {}, the checkout was {}",
            shown(&built),
            shown(&checkout)
        ));
    }
    notes.extend(tool);
    let revision = if is_same {
        checkout.revision
    } else {
        built.revision
    };
    (Git { revision, dirty }, notes.join("; "))
}

/// What is to be said of the tool that made a run; none where it was built of the gateway's revision,
/// without changes.
fn of_tool(environment: &Environment, gateway: &Git) -> Option<String> {
    let Some(tool) = environment.revision_of_tool() else {
        return Some("the tool does not say of which revision it was built".to_owned());
    };
    // They need not say as many digits.
    let is_same = tool.revision.starts_with(&gateway.revision)
        || gateway.revision.starts_with(&tool.revision);
    (!is_same || tool.dirty).then(|| format!("the tool was built of {}", shown(&tool)))
}

/// A revision and whether something differs from it, in words.
fn shown(git: &Git) -> String {
    let changes = if git.dirty { " and changes" } else { "" };
    format!("{}{changes}", crate::report::short(&git.revision))
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
        // A gateway says the first digits only.
        let revision = &evidence.revision;
        if !revision.is_empty() && self.head.starts_with(revision.as_str()) {
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

    /// A run that has ended so, and is enough for every line about its kind.
    pub(crate) fn evidence(kind: &str, revision: &str, outcome: &str) -> Evidence {
        let mut evidence = Evidence {
            path: format!("artifacts/{kind}/run").into(),
            kind: kind.to_owned(),
            revision: revision.to_owned(),
            dirty: false,
            note: String::new(),
            profile: None,
            started: 0,
            verdict: serde_json::from_value(json!(outcome)).unwrap(),
            checks: Vec::new(),
            configuration: json!({}),
        };
        for line in crate::plan::PLAN.iter().filter(|line| line.kind == kind) {
            for need in line.needs {
                need.fulfil(&mut evidence);
            }
        }
        evidence
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
    fn runs_are_found_by_kind_and_as_they_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let mut run = Artifact::create(dir.path(), "soak", json!({ "build": "debug" })).unwrap();
        run.check(&Check::new("a.1", "a", "", Verdict::Pass))
            .unwrap();
        let path = run.path().to_owned();
        run.finish("").unwrap();
        let kept = dir.path().join("kept");
        fs::create_dir(&kept).unwrap();
        fs::rename(path, kept.join("2026-11-26-soak-none")).unwrap();
        fs::write(kept.join("README.md"), "").unwrap();
        let found = Found::below(&[dir.path().to_owned()]);
        assert_eq!(found.evidence.len(), 1, "as the run of a kind");
        let found = Found::below(&[kept]);
        assert_eq!(found.evidence.len(), 1, "{found:?}");
        assert_eq!(found.evidence[0].kind, "soak");
        assert!(found.unusable.is_empty());
    }

    const HEAD: &str = "f66352eada82ae65c46fd2ab8a4da2d9edfaf0f6";

    /// A run of the gateway that says this of itself, in the checkout of [`HEAD`], by a tool that says
    /// the same.
    fn run_of(said: &str, dirty: bool) -> (Git, String) {
        run_by(said, said, dirty)
    }

    /// The same, by a tool that says something else of itself.
    fn run_by(tool: &str, said: &str, dirty: bool) -> (Git, String) {
        let dir = tempfile::tempdir().unwrap();
        let run = Artifact::create(dir.path(), "e2e", json!({})).unwrap();
        let mut environment = run.environment().clone();
        environment.gateway_version = format!("ipc-gateway 0.1.0\nrevision: {said}");
        environment.tool_revision = tool.to_owned();
        environment.git = Git {
            revision: HEAD.to_owned(),
            dirty,
        };
        ran(&environment)
    }

    #[test]
    fn evidence_is_of_the_revision_of_the_gateway_that_ran() {
        let (git, note) = run_of("f66352eada82", false);
        assert_eq!((git.revision.as_str(), git.dirty), (HEAD, false));
        assert_eq!(note, "");
        let (git, note) = run_of("99ba8b293efa", false);
        assert_eq!((git.revision.as_str(), git.dirty), ("99ba8b293efa", false));
        let said = "the gateway was built of 99ba8b293efa, the checkout was f66352eada82";
        assert_eq!(note, said);
        // Either was changed.
        let (git, note) = run_of("f66352eada82+modified", false);
        assert!(
            git.dirty && note.contains("f66352eada82 and changes, the"),
            "{note}"
        );
        let (git, note) = run_of("f66352eada82", true);
        assert!(
            git.dirty && note.ends_with("f66352eada82 and changes"),
            "{note}"
        );
        // It does not say.
        let (git, note) = run_of("unknown", false);
        assert!(git.dirty && note.contains("does not say"), "{note}");
    }

    #[test]
    fn a_tool_of_another_revision_shows_nothing_of_this_one() {
        let built = "f66352eada82";
        let (git, note) = run_by("99ba8b293efa", built, false);
        assert!(git.dirty);
        assert_eq!(note, "the tool was built of 99ba8b293efa");
        let (git, note) = run_by("f66352eada82+modified", built, false);
        assert!(git.dirty && note == "the tool was built of f66352eada82 and changes");
        for unsaid in ["", "unknown"] {
            let (git, note) = run_by(unsaid, built, false);
            assert!(
                git.dirty && note.starts_with("the tool does not say"),
                "{note}"
            );
        }
        // Both of another: it is of that one.
        let (git, note) = run_by("99ba8b293efa", "99ba8b293efa", false);
        assert!(!git.dirty && !note.contains("tool"), "{note}");
    }

    #[test]
    fn a_recorded_command_is_of_the_checkout() {
        let dir = tempfile::tempdir().unwrap();
        let told = json!({ "recorded": ["tools/proofs.sh", "loom"] });
        let run = Artifact::create(dir.path(), "loom", told).unwrap();
        let mut environment = run.environment().clone();
        environment.gateway_version = "ipc-gateway 0.1.0\nrevision: 99ba8b293efa".to_owned();
        let (git, note) = ran(&environment);
        assert_eq!((&git, note.as_str()), (&environment.git, ""));
    }

    #[test]
    fn the_first_digits_of_a_revision_are_that_revision() {
        let other = || HashMap::from([("99ba8b293efa".to_owned(), false)]);
        let revisions = Revisions {
            head: HEAD.to_owned(),
            dirty: false,
            same: RefCell::new(other()),
        };
        assert!(revisions.is_same_code(&evidence("e2e", "f66352eada82", "pass")));
        assert!(!revisions.is_same_code(&evidence("e2e", "99ba8b293efa", "pass")));
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
