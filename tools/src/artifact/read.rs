//! [`Record`]: what a run has left.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

use super::check::{Check, Conclusion};
use super::environment::{Environment, SCHEMA};

pub(super) const ENVIRONMENT: &str = "environment.json";
pub(super) const CHECKS: &str = "checks.jsonl";
pub(super) const SUMMARY: &str = "SUMMARY.md";
pub(super) const VERDICT: &str = "verdict.json";

/// What a run has left in its directory.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Record {
    /// The directory.
    pub path: PathBuf,
    /// Where, when and with what it was made.
    pub environment: Environment,
    /// The checks, in the order in which they were decided.
    pub checks: Vec<Check>,
    /// What came out; none when the run did not come to its end.
    pub conclusion: Option<Conclusion>,
}

/// Why a directory is not what a run leaves.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The operating system.
    #[error("{}: {error}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What it said.
        error: io::Error,
    },
    /// A file is not JSON, or not that of a run.
    #[error("{}: line {line}: {error}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Where, from 1.
        line: usize,
        /// What is wrong with it.
        error: serde_json::Error,
    },
    /// It was written by a later version of these tools.
    #[error("{}: schema {found}, this program knows {SCHEMA}", path.display())]
    Schema {
        /// The file.
        path: PathBuf,
        /// Its schema.
        found: u32,
    },
    /// The conclusion is not that of the checks: a file was changed or is not whole.
    #[error("{}: verdict.json is not what checks.jsonl says", path.display())]
    Contradiction {
        /// The directory.
        path: PathBuf,
    },
}

impl Record {
    pub(super) fn read(dir: &Path) -> Result<Self, ReadError> {
        let path = dir.join(ENVIRONMENT);
        let environment: Environment = parse(&path, 1, &text(&path)?)?;
        if environment.schema != SCHEMA {
            let found = environment.schema;
            return Err(ReadError::Schema { path, found });
        }
        let conclusion: Option<Conclusion> = match text(&dir.join(VERDICT)) {
            Ok(text) => Some(parse(&dir.join(VERDICT), 1, &text)?),
            Err(ReadError::Io { error, .. }) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        let path = dir.join(CHECKS);
        let all = text(&path)?;
        // The last line of a run that goes on may not be whole.
        let whole = match (&conclusion, all.rsplit_once('\n')) {
            (Some(_), _) => all.as_str(),
            (None, Some((whole, _))) => whole,
            (None, None) => "",
        };
        let checks = whole
            .lines()
            .enumerate()
            .map(|(index, line)| parse(&path, index + 1, line))
            .collect::<Result<Vec<Check>, _>>()?;
        if let Some(conclusion) = &conclusion
            && *conclusion != Conclusion::of(&checks, conclusion.finished.clone())
        {
            return Err(ReadError::Contradiction {
                path: dir.to_owned(),
            });
        }
        Ok(Self {
            path: dir.to_owned(),
            environment,
            checks,
            conclusion,
        })
    }
}

/// Whether a run has begun in this directory.
#[must_use]
pub fn is_run(dir: &Path) -> bool {
    dir.join(ENVIRONMENT).is_file()
}

/// The directories of all runs of a kind, the oldest first; empty when there were none.
///
/// # Errors
/// The directory cannot be read.
pub fn runs(root: &Path, kind: &str) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(root.join(kind)) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if is_run(&path) {
            found.push(path);
        }
    }
    // A number after the time tells runs of one second apart.
    let key = |path: &PathBuf| {
        let name = path
            .file_name()
            .map(|name| name.to_string_lossy().into_owned());
        let name = name.unwrap_or_default();
        let (time, number) = name.split_once('-').unwrap_or((&name, "1"));
        (time.to_owned(), number.parse::<u32>().unwrap_or(0))
    };
    found.sort_by_cached_key(key);
    Ok(found)
}

fn text(path: &Path) -> Result<String, ReadError> {
    fs::read_to_string(path).map_err(|error| ReadError::Io {
        path: path.to_owned(),
        error,
    })
}

fn parse<T: DeserializeOwned>(path: &Path, line: usize, text: &str) -> Result<T, ReadError> {
    serde_json::from_str(text).map_err(|error| ReadError::Malformed {
        path: path.to_owned(),
        line,
        error,
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use serde_json::json;

    use super::super::{Artifact, Verdict};
    use super::*;

    fn create(root: &Path) -> Artifact {
        Artifact::create(root, "e2e", json!({"rate": 5})).unwrap()
    }

    fn check(id: &str, verdict: Verdict) -> Check {
        Check::new(id, "subjects", "the subject | is right", verdict).detail(json!({"sent": 1}))
    }

    #[test]
    fn what_was_written_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let mut artifact = create(dir.path());
        let path = artifact.path().to_owned();
        let written = [
            check("subjects.1", Verdict::Pass),
            check("subjects.2", Verdict::Fail),
        ];
        for check in &written {
            artifact.check(check).unwrap();
        }
        artifact
            .file("logs/gateway.txt")
            .unwrap()
            .write_all(b"x")
            .unwrap();
        let environment = artifact.environment().clone();
        assert_eq!(artifact.finish("All of it.").unwrap(), Verdict::Fail);
        let record = Artifact::read(&path).unwrap();
        assert_eq!(record.environment, environment);
        assert_eq!(record.environment.configuration, json!({"rate": 5}));
        assert_eq!(record.checks, written);
        let conclusion = record.conclusion.unwrap();
        assert_eq!((conclusion.passed, conclusion.failed), (1, 1));
        let summary = fs::read_to_string(path.join(SUMMARY)).unwrap();
        assert!(summary.starts_with("# e2e: fail\n"), "{summary}");
        assert!(summary.contains("All of it."), "{summary}");
        assert!(summary.contains("the subject \\| is right"), "{summary}");
        assert!(path.join("logs/gateway.txt").is_file());
        assert!(path.starts_with(dir.path().join("e2e")));
    }

    #[test]
    fn a_run_that_did_not_end_has_no_conclusion_and_may_break_off() {
        let dir = tempfile::tempdir().unwrap();
        let mut artifact = create(dir.path());
        artifact.check(&check("a.1", Verdict::Pass)).unwrap();
        let path = artifact.path().to_owned();
        drop(artifact);
        let mut lines = fs::OpenOptions::new()
            .append(true)
            .open(path.join(CHECKS))
            .unwrap();
        lines.write_all(b"{\"id\":\"a.2\"").unwrap();
        let record = Artifact::read(&path).unwrap();
        assert_eq!(record.conclusion, None);
        assert_eq!(record.checks.len(), 1);
    }

    #[test]
    fn files_that_contradict_each_other_are_no_evidence() {
        let dir = tempfile::tempdir().unwrap();
        let mut artifact = create(dir.path());
        let path = artifact.path().to_owned();
        artifact.check(&check("a.1", Verdict::Fail)).unwrap();
        artifact.finish("").unwrap();
        fs::write(path.join(CHECKS), "").unwrap();
        let error = Artifact::read(&path).unwrap_err();
        assert!(matches!(error, ReadError::Contradiction { .. }), "{error}");
        fs::write(path.join(CHECKS), "{}\n").unwrap();
        let error = Artifact::read(&path).unwrap_err();
        assert!(
            matches!(error, ReadError::Malformed { line: 1, .. }),
            "{error}"
        );
        fs::remove_file(path.join(ENVIRONMENT)).unwrap();
        let error = Artifact::read(&path).unwrap_err();
        assert!(matches!(error, ReadError::Io { .. }), "{error}");
    }

    #[test]
    fn runs_of_one_second_have_directories_of_their_own_in_order() {
        let dir = tempfile::tempdir().unwrap();
        assert!(runs(dir.path(), "e2e").unwrap().is_empty());
        let paths: Vec<PathBuf> = (0..12)
            .map(|_| create(dir.path()).path().to_owned())
            .collect();
        assert_eq!(runs(dir.path(), "e2e").unwrap(), paths);
        assert!(runs(dir.path(), "soak").unwrap().is_empty());
    }

    #[test]
    fn what_cannot_be_written_is_said_with_its_path() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        let error = Artifact::create(&file, "e2e", json!({})).unwrap_err();
        assert!(error.to_string().contains("file/e2e"), "{error}");
        let mut artifact = create(dir.path());
        // A device that is full: the check is not counted.
        artifact.fill_for_test();
        let error = artifact.check(&check("a.1", Verdict::Pass)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull, "{error}");
        assert!(artifact.checks().is_empty());
    }
}
