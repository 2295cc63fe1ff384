//! [`Artifact`]: the directory of a run that goes on.

use core::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::Value;

use super::check::{Check, Conclusion, Verdict};
use super::environment::Environment;
use super::programs::Programs;
use super::read::{CHECKS, ENVIRONMENT, ReadError, Record, SUMMARY, VERDICT};
use super::time;

/// Where the directories of all kinds are, from the current directory.
pub const DEFAULT_ROOT: &str = "artifacts";
/// Runs of one kind that may begin within the same second.
const SAME_SECOND: u32 = 1000;
/// Characters of a detail in the table of `SUMMARY.md`.
const SHOWN: usize = 200;

/// The directory of a run. Without [`finish`](Self::finish) the run stays unfinished.
#[derive(Debug)]
#[must_use = "a run that is not finished is no evidence"]
pub struct Artifact {
    path: PathBuf,
    environment: Environment,
    lines: File,
    checks: Vec<Check>,
}

impl Artifact {
    /// Creates `<root>/<kind>/<now>/` with its `environment.json`, and looks for the programs where
    /// [`Programs::find`] does. `configuration` is whatever the run was told to do.
    ///
    /// # Errors
    /// The directory or a file cannot be written.
    pub fn create(root: &Path, kind: &str, configuration: Value) -> io::Result<Self> {
        Self::create_with(root, kind, &Programs::find(), configuration)
    }

    /// The same, for programs that the caller has found.
    ///
    /// # Errors
    /// As [`create`](Self::create).
    pub fn create_with(
        root: &Path,
        kind: &str,
        programs: &Programs,
        configuration: Value,
    ) -> io::Result<Self> {
        let started = time::now_rfc3339();
        let path = new_directory(&root.join(kind), &time::name(&started))?;
        let environment = Environment::look(kind, started, programs, configuration);
        write_json(&path.join(ENVIRONMENT), &environment)?;
        let lines = File::create(path.join(CHECKS)).map_err(|error| at(&path, &error))?;
        Ok(Self {
            path,
            environment,
            lines,
            checks: Vec::new(),
        })
    }

    /// Reads what a run has left in its directory.
    ///
    /// # Errors
    /// [`ReadError`] says which file is not what it must be.
    pub fn read(dir: &Path) -> Result<Record, ReadError> {
        Record::read(dir)
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What is written in `environment.json`.
    #[must_use]
    pub const fn environment(&self) -> &Environment {
        &self.environment
    }

    /// The checks that were written.
    #[must_use]
    pub fn checks(&self) -> &[Check] {
        &self.checks
    }

    /// Creates a file in the directory, or a folder and a file in it: `logs/gateway.txt`.
    ///
    /// # Errors
    /// The operating system's, with the path.
    pub fn file(&self, name: &str) -> io::Result<File> {
        let path = self.path.join(name);
        if let Some(dir) = path.parent() {
            fs::create_dir_all(dir).map_err(|error| at(dir, &error))?;
        }
        File::create(&path).map_err(|error| at(&path, &error))
    }

    /// Writes a check. It is in the file when this returns.
    ///
    /// # Errors
    /// The operating system's, such as a full disk; the check does not count then.
    pub fn check(&mut self, check: &Check) -> io::Result<()> {
        let mut line = serde_json::to_vec(check)?;
        line.push(b'\n');
        self.lines
            .write_all(&line)
            .map_err(|error| at(&self.path.join(CHECKS), &error))?;
        self.checks.push(check.clone());
        Ok(())
    }

    /// Writes `SUMMARY.md`, with `summary` between the head and the table of checks, and at last
    /// `verdict.json`.
    ///
    /// # Errors
    /// The operating system's; the run stays unfinished then.
    pub fn finish(self, summary: &str) -> io::Result<Verdict> {
        self.lines.sync_all()?;
        let conclusion = Conclusion::of(&self.checks, time::now_rfc3339());
        let text = self.summary(&conclusion, summary);
        let path = self.path.join(SUMMARY);
        fs::write(&path, text).map_err(|error| at(&path, &error))?;
        // A name that is there has its contents.
        let unfinished = self.path.join("verdict.json.part");
        write_json(&unfinished, &conclusion)?;
        fs::rename(&unfinished, self.path.join(VERDICT))?;
        Ok(conclusion.verdict)
    }

    /// Turns the list of checks into a file that takes nothing.
    #[cfg(test)]
    pub(super) fn fill_for_test(&mut self) {
        self.lines = File::options().write(true).open("/dev/full").unwrap();
    }

    fn summary(&self, conclusion: &Conclusion, text: &str) -> String {
        let about = &self.environment;
        let dirty = if about.git.dirty { ", changed" } else { "" };
        let mut out = format!(
            "# {}: {}\n\n{} passed, {} failed, {} inconclusive.\n\n\
             - from {} to {}\n- revision {}{dirty}, the tool of {}\n- {}, {} cores, {} MiB, Linux {}\n\
             - {}; {}; {}\n- command `{}`\n\n",
            about.kind,
            conclusion.verdict,
            conclusion.passed,
            conclusion.failed,
            conclusion.inconclusive,
            about.started,
            conclusion.finished,
            about.git.revision,
            about.tool_revision,
            about.cpu,
            about.cores,
            about.memory_bytes >> 20,
            about.kernel,
            about.gateway_version,
            about.nats_server,
            about.rustc,
            about.command_line(),
        );
        out.push_str(text.trim());
        out.push_str(
            "\n\n## Checks\n\n| check | verdict | what must be so | seen |\n|---|---|---|---|\n",
        );
        for check in &self.checks {
            // Writing to a String cannot fail.
            writeln!(
                out,
                "| {} | {} | {} | {} |",
                check.id,
                check.verdict,
                cell(&check.name),
                cell(&shown(check)),
            )
            .ok();
        }
        out
    }
}

/// What was seen, cut so that it fits a table.
fn shown(check: &Check) -> String {
    let text = check.seen();
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}...", text.get(..end).unwrap_or_default()),
        None => text,
    }
}

/// Text that does not end its cell or its row.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

/// Creates the directory of this name, or of this name and a number.
fn new_directory(parent: &Path, name: &str) -> io::Result<PathBuf> {
    fs::create_dir_all(parent).map_err(|error| at(parent, &error))?;
    for number in 1..=SAME_SECOND {
        let path = match number {
            1 => parent.join(name),
            _ => parent.join(format!("{name}-{number}")),
        };
        match fs::create_dir(&path) {
            Ok(()) => return Ok(path),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(at(&path, &error)),
        }
    }
    let crowded = io::Error::from(io::ErrorKind::AlreadyExists);
    Err(at(&parent.join(name), &crowded))
}

fn write_json(path: &Path, value: &impl Serialize) -> io::Result<()> {
    let write = || {
        let mut text = serde_json::to_vec_pretty(value)?;
        text.push(b'\n');
        let mut file = File::create(path)?;
        file.write_all(&text)?;
        file.sync_all()
    };
    write().map_err(|error| at(path, &error))
}

/// The error, with the path before it.
fn at(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}
