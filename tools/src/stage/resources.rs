//! Memory, descriptors and threads of processes over time.

use core::time::Duration;
use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Instant;

use super::failure::{Failure, While as _};

/// Time between two samples.
const INTERVAL: Duration = Duration::from_millis(250);

/// What a process has at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "three numbers")]
pub struct Resources {
    /// Resident memory in bytes.
    pub rss_bytes: u64,
    /// Open descriptors.
    pub fds: u64,
    /// Threads.
    pub threads: u64,
}

impl Resources {
    /// Looks at a process.
    ///
    /// # Errors
    /// It has ended.
    pub fn of(pid: u32) -> Result<Self, Failure> {
        let look = || {
            let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
            let field = |name: &str| {
                let line = status.lines().find(|line| line.starts_with(name));
                let word = line.and_then(|line| line.split_whitespace().nth(1));
                word.and_then(|word| word.parse::<u64>().ok())
                    .ok_or_else(|| io::Error::other(format!("no {name} in its status")))
            };
            Ok::<_, io::Error>(Self {
                rss_bytes: field("VmRSS:")? * 1024,
                threads: field("Threads:")?,
                fds: std::fs::read_dir(format!("/proc/{pid}/fd"))?
                    .map(|_| 1)
                    .sum(),
            })
        };
        look().or_say(format_args!("process {pid}"))
    }
}

/// Processes that are looked at, by name.
type Watched = Arc<Mutex<Vec<(String, u32)>>>;

/// Writes `resources.csv` four times a second, until it is dropped.
#[derive(Debug)]
pub struct Sampler {
    watched: Watched,
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Sampler {
    /// Begins to sample into this file.
    #[must_use]
    pub fn start(file: File) -> Self {
        let watched = Watched::default();
        let (stop, stopped) = channel();
        let seen = Arc::clone(&watched);
        let thread = std::thread::spawn(move || {
            let began = Instant::now();
            let mut out = BufWriter::new(file);
            let mut written = writeln!(out, "seconds,process,pid,rss_bytes,fds,threads");
            while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(INTERVAL) {
                written = written.and_then(|()| sample(&seen, began, &mut out));
            }
            if let Err(error) = written.and_then(|()| out.flush()) {
                // Nobody is left to tell when standard error is closed.
                writeln!(io::stderr(), "resources.csv is not whole: {error}").ok();
            }
        });
        Self {
            watched,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    /// Looks at this process from now on, in place of an earlier one of this name.
    pub fn watch(&self, name: &str, pid: u32) {
        if let Ok(mut watched) = self.watched.lock() {
            watched.retain(|(known, _)| known != name);
            watched.push((name.to_owned(), pid));
        }
    }
}

impl Drop for Sampler {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

fn sample(watched: &Watched, began: Instant, out: &mut impl io::Write) -> io::Result<()> {
    let watched = watched.lock().map(|seen| seen.clone()).unwrap_or_default();
    for (name, pid) in watched {
        // One that has ended has nothing.
        if let Ok(resources) = Resources::of(pid) {
            writeln!(
                out,
                "{:.3},{name},{pid},{},{},{}",
                began.elapsed().as_secs_f64(),
                resources.rss_bytes,
                resources.fds,
                resources.threads,
            )?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_memory_descriptors_and_threads() {
        let own = Resources::of(std::process::id()).unwrap();
        assert!(own.rss_bytes > 1 << 20 && own.fds >= 3 && own.threads >= 1);
        Resources::of(u32::MAX).unwrap_err();
    }
}
