//! The directory of a run. A disk that is full does not end the run: what could not be written is
//! counted, and the verdict says that the evidence is incomplete.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use ipc_tools::artifact::Artifact;

/// What could not be written.
#[derive(Clone, Debug, Default)]
struct Failures(Arc<Mutex<(u64, Option<String>)>>);

impl Failures {
    fn note(&self, what: &str, result: io::Result<()>) {
        if let Err(error) = result {
            let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            state.0 += 1;
            state.1.get_or_insert_with(|| format!("{what}: {error}"));
        }
    }
}

/// The directory.
#[derive(Clone, Debug)]
pub(crate) struct Evidence {
    directory: PathBuf,
    failures: Failures,
}

impl Evidence {
    /// What goes into the directory of an artifact besides its own files.
    pub(crate) fn of(artifact: &Artifact) -> Self {
        Self::in_directory(artifact.path())
    }

    /// What goes into this directory.
    pub(crate) fn in_directory(path: &Path) -> Self {
        Self {
            directory: path.to_owned(),
            failures: Failures::default(),
        }
    }

    /// A directory inside, whose failures count here.
    pub(crate) fn inside(&self, name: &str) -> Self {
        Self {
            directory: self.directory.join(name),
            failures: self.failures.clone(),
        }
    }

    /// Where it is.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// A file to be written line by line.
    pub(crate) fn sink(&self, name: &str) -> Sink {
        let file = match File::create(self.directory.join(name)) {
            Ok(file) => Some(BufWriter::new(file)),
            Err(error) => {
                self.failures.note(name, Err(error));
                None
            }
        };
        Sink(Some(Arc::new(Mutex::new(Open {
            name: name.to_owned(),
            file,
            failures: self.failures.clone(),
        }))))
    }

    /// Writes a whole file.
    pub(crate) fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        let result = fs::write(self.directory.join(name), bytes);
        self.failures.note(name, result);
    }

    /// Notes that something else could not be written.
    pub(crate) fn failed(&self, what: &str, error: io::Error) {
        self.failures.note(what, Err(error));
    }

    /// How often something could not be written, and the first time.
    pub(crate) fn failures(&self) -> (u64, Option<String>) {
        let state = self.failures.0.lock();
        state.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The time of day, for logs.
#[expect(
    clippy::disallowed_methods,
    reason = "dates a log; no deadline is computed from it"
)]
pub(crate) fn now() -> SystemTime {
    SystemTime::now()
}

#[derive(Debug)]
struct Open {
    name: String,
    /// None when it could not be created.
    file: Option<BufWriter<File>>,
    failures: Failures,
}

/// A file that is written line by line; all clones write to the same one.
#[derive(Clone, Debug)]
pub(crate) struct Sink(Option<Arc<Mutex<Open>>>);

impl Sink {
    /// One that keeps nothing.
    pub(crate) const fn none() -> Self {
        Self(None)
    }

    /// Writes a line.
    pub(crate) fn line(&self, line: &str) {
        self.with(|file| writeln!(file, "{line}"));
    }

    /// Hands everything to the file.
    pub(crate) fn flush(&self) {
        self.with(Write::flush);
    }

    fn with(&self, write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>) {
        let Some(open) = &self.0 else { return };
        let open = &mut *open.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(file) = &mut open.file else {
            return open.failures.note(&open.name, Err(missing()));
        };
        let result = write(file);
        if result.is_err() {
            // What is buffered would fail again and again: it is given up, and the next line tried.
            if let Ok(again) = file.get_ref().try_clone() {
                let old = core::mem::replace(file, BufWriter::new(again));
                drop(old.into_parts());
            }
        }
        open.failures.note(&open.name, result);
    }
}

fn missing() -> io::Error {
    io::Error::other("the file could not be created")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_written_is_counted_and_the_rest_goes_on() {
        let directory = tempfile::tempdir().unwrap();
        let evidence = Evidence::in_directory(directory.path());
        let sink = evidence.sink("log");
        sink.line("one");
        sink.flush();
        assert_eq!(evidence.failures(), (0, None));
        let full = evidence.sink("no/such/directory");
        full.line("two");
        let (count, first) = evidence.failures();
        assert_eq!(count, 2);
        assert!(first.unwrap().starts_with("no/such/directory: "));
        let text = fs::read_to_string(evidence.directory().join("log")).unwrap();
        assert_eq!(text, "one\n");
    }

    #[test]
    fn a_full_disk_is_survived() {
        let failures = Failures::default();
        let file = File::options().write(true).open("/dev/full").unwrap();
        let sink = Sink(Some(Arc::new(Mutex::new(Open {
            name: "full".to_owned(),
            file: Some(BufWriter::new(file)),
            failures: failures.clone(),
        }))));
        for _ in 0..3 {
            sink.line("text");
            sink.flush();
        }
        drop(sink);
        assert_eq!(failures.0.lock().unwrap().0, 3);
    }
}
