//! Processes that this one starts: each is ended with its guard, and all of them end when a signal
//! ends this process.

use core::time::Duration;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Instant;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::signal::unix::{SignalKind, signal};

use super::failure::{Failure, While as _, pause};

/// What runs now.
static RUNNING: Mutex<Vec<u32>> = Mutex::new(Vec::new());
/// Directories that end with this process.
static SCRATCH: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());
/// Longest time to end after SIGTERM.
const FAREWELL: Duration = Duration::from_secs(15);
/// Longest time to end after the end of its input.
const PEACE: Duration = Duration::from_secs(2);
/// Exit code after a signal.
const INTERRUPTED: i32 = 130;

/// Ends what was started when SIGINT, SIGTERM or SIGHUP comes. To be called before anything is started.
///
/// # Errors
/// The operating system's.
pub fn end_all_on_signals() -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .or_say("cannot wait for signals")?;
    // Handlers are not inherited, as a mask would be: what is started heeds its signals.
    let entered = runtime.enter();
    let mut interrupt = signal(SignalKind::interrupt()).or_say("SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).or_say("SIGTERM")?;
    let mut hangup = signal(SignalKind::hangup()).or_say("SIGHUP")?;
    drop(entered);
    thread::spawn(move || {
        let heard = runtime.block_on(async {
            tokio::select! {
                heard = interrupt.recv() => heard,
                heard = terminate.recv() => heard,
                heard = hangup.recv() => heard,
            }
        });
        if heard.is_some() {
            // Held until the end, so that nothing is started any more.
            let running = RUNNING.lock();
            for pid in running.iter().flat_map(|pids| pids.iter()) {
                send(Signal::SIGKILL, *pid);
            }
            for dir in SCRATCH.lock().iter().flat_map(|dirs| dirs.iter()) {
                std::fs::remove_dir_all(dir).ok();
            }
            #[expect(clippy::exit, reason = "whoever sent the signal wants the end")]
            std::process::exit(INTERRUPTED);
        }
    });
    Ok(())
}

/// A directory for sockets and configuration, with a short path; it goes with its guard, and when a
/// signal ends this process.
///
/// # Errors
/// The operating system's.
pub fn scratch() -> Result<tempfile::TempDir, Failure> {
    let dir = tempfile::tempdir().or_say("cannot make a temporary directory")?;
    if let Ok(mut dirs) = SCRATCH.lock() {
        dirs.push(dir.path().to_owned());
    }
    Ok(dir)
}

fn send(signal: Signal, pid: u32) {
    if let Ok(pid) = i32::try_from(pid) {
        // It may have ended by itself.
        kill(Pid::from_raw(pid), signal).ok();
    }
}

/// Which of its outputs is read line by line; the other goes to the log only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a process has two outputs")]
pub enum Speaks {
    /// Standard output.
    Output,
    /// Standard error.
    Error,
}

/// A process. It is killed with its guard.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    /// Closed with this guard.
    input: Option<ChildStdin>,
    said: Receiver<String>,
    /// How long it has to end by itself.
    farewell: Duration,
}

impl Process {
    /// Starts it, with both outputs in `<logs>/<name>.txt`.
    ///
    /// # Errors
    /// The operating system's, with the name.
    pub fn start(
        name: &str,
        command: &mut Command,
        speaks: Speaks,
        logs: &Path,
    ) -> Result<Self, Failure> {
        std::fs::create_dir_all(logs).or_say(logs.display())?;
        let path = logs.join(format!("{name}.txt"));
        let log = File::options().create(true).append(true).open(&path);
        let log = Arc::new(log.or_say(path.display())?);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        Self::spawn(name, command, speaks, Some(&log))
    }

    /// Starts it without a log: what it does not speak on goes where that of this process goes.
    ///
    /// # Errors
    /// The operating system's, with the name.
    pub fn start_unlogged(
        name: &str,
        command: &mut Command,
        speaks: Speaks,
    ) -> Result<Self, Failure> {
        match speaks {
            Speaks::Output => command.stdout(Stdio::piped()),
            Speaks::Error => command.stdout(Stdio::null()).stderr(Stdio::piped()),
        };
        Self::spawn(name, command, speaks, None)
    }

    fn spawn(
        name: &str,
        command: &mut Command,
        speaks: Speaks,
        log: Option<&Arc<File>>,
    ) -> Result<Self, Failure> {
        command.stdin(Stdio::piped());
        let mut running = RUNNING.lock().or_say("the list of processes")?;
        let program = command.get_program().to_string_lossy().into_owned();
        let mut child = command
            .spawn()
            .or_say(format_args!("cannot start {name} ({program})"))?;
        running.push(child.id());
        drop(running);
        let (tell, said) = channel();
        let (out, err) = match speaks {
            Speaks::Output => (Some(tell), None),
            Speaks::Error => (None, Some(tell)),
        };
        if let Some(pipe) = child.stdout.take() {
            read(pipe, log.cloned(), out);
        }
        if let Some(pipe) = child.stderr.take() {
            read(pipe, log.cloned(), err);
        }
        let input = child.stdin.take();
        Ok(Self {
            name: name.to_owned(),
            child,
            input,
            said,
            farewell: Duration::ZERO,
        })
    }

    /// Lets it end by itself when its input is closed, for it has something to clean up.
    #[must_use]
    pub const fn in_peace(mut self) -> Self {
        self.farewell = PEACE;
        self
    }

    /// What it is called.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its number.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How it has ended, if it has.
    ///
    /// # Errors
    /// The operating system's.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>, Failure> {
        let name = &self.name;
        self.child.try_wait().or_say(name)
    }

    /// Writes a line to its standard input.
    ///
    /// # Errors
    /// It has ended.
    pub fn tell(&mut self, line: &str) -> Result<(), Failure> {
        let name = &self.name;
        let Some(input) = &mut self.input else {
            return Err(Failure::new(format_args!("{name} is not listening")));
        };
        writeln!(input, "{line}").or_say(format_args!("{name} has ended"))
    }

    /// Its next line.
    ///
    /// # Errors
    /// It has ended, or says nothing for so long.
    pub fn line(&self, within: Duration) -> Result<String, Failure> {
        let name = &self.name;
        self.said.recv_timeout(within).map_err(|error| {
            Failure::new(match error {
                RecvTimeoutError::Timeout => format!("{name} said nothing for {within:?}"),
                RecvTimeoutError::Disconnected => format!("{name} has ended"),
            })
        })
    }

    /// Its next line, if there is one already.
    ///
    /// # Errors
    /// It has ended.
    pub fn early_line(&self) -> Result<Option<String>, Failure> {
        match self.said.try_recv() {
            Ok(line) => Ok(Some(line)),
            Err(TryRecvError::Empty) => Ok(None),
            Err(TryRecvError::Disconnected) => {
                Err(Failure::new(format_args!("{} has ended", self.name)))
            }
        }
    }

    /// Waits until it says this; what it said before that is in the error.
    ///
    /// # Errors
    /// It has ended, or says nothing more for so long.
    pub fn wait_for(&self, what: &str, within: Duration) -> Result<String, Failure> {
        let mut before = String::new();
        loop {
            let line = self
                .line(within)
                .map_err(|failure| Failure::new(format_args!("{failure}{before}")))?;
            if line.contains(what) {
                return Ok(line);
            }
            before.push_str("; it said: ");
            before.push_str(line.trim());
        }
    }

    /// Ends it with SIGTERM and waits for that.
    ///
    /// # Errors
    /// It does not end; its guard then kills it.
    pub fn terminate(&mut self) -> Result<ExitStatus, Failure> {
        send(Signal::SIGTERM, self.pid());
        self.wait(FAREWELL)
    }

    /// Waits until it has ended by itself.
    ///
    /// # Errors
    /// It does not end within `bound`.
    pub fn wait(&mut self, bound: Duration) -> Result<ExitStatus, Failure> {
        let since = Instant::now();
        loop {
            if let Some(status) = self.ended()? {
                return Ok(status);
            }
            if since.elapsed() > bound {
                let name = &self.name;
                return Err(Failure::new(format_args!("{name} does not end")));
            }
            pause(Duration::from_millis(2));
        }
    }

    /// Ends it with SIGKILL; returns when it has gone.
    pub fn kill(&mut self) {
        // It may have ended by itself.
        self.child.kill().ok();
        if let Ok(mut running) = RUNNING.lock() {
            running.retain(|pid| *pid != self.child.id());
        }
        self.child.wait().ok();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.input = None;
        let since = Instant::now();
        while let Some(left) = self.farewell.checked_sub(since.elapsed()) {
            if let Err(RecvTimeoutError::Disconnected) = self.said.recv_timeout(left) {
                break;
            }
        }
        self.kill();
    }
}

/// Reads a pipe on a thread of its own: one that nobody reads would stop its writer.
fn read(pipe: impl Read + Send + 'static, log: Option<Arc<File>>, tell: Option<Sender<String>>) {
    thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            if let Some(log) = &log {
                // A log that cannot be written must not stop the process.
                writeln!(&**log, "{line}").ok();
            }
            if let Some(tell) = &tell {
                // Read on even when nobody listens any more.
                tell.send(line).ok();
            }
        }
    });
}
