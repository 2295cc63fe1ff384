//! Processes that this one starts: each is ended with its guard, and all of them when a signal ends
//! this process.

use core::time::Duration;
use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError, channel};
use std::thread;
use std::time::Instant;

use ipc_gateway::control::Interrupts;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::failure::{Failure, While as _};

/// What runs now.
static RUNNING: Mutex<Vec<u32>> = Mutex::new(Vec::new());
/// Longest time to end by itself.
const FAREWELL: Duration = Duration::from_secs(2);
/// Exit code after a signal.
const INTERRUPTED: i32 = 130;

/// Ends what was started when SIGINT or SIGTERM comes. To be called before anything is started.
///
/// # Errors
/// The operating system's.
pub(crate) fn end_all_on_signals() -> Result<(), Failure> {
    let interrupts = Interrupts::hold().or_say("cannot hold signals")?;
    thread::spawn(move || {
        if interrupts.wait().is_ok() {
            // Held until the end, so that nothing is started any more.
            let running = RUNNING.lock();
            for pid in running.iter().flat_map(|pids| pids.iter()) {
                signal(*pid, Signal::SIGKILL);
            }
            #[expect(clippy::exit, reason = "whoever sent the signal wants the end")]
            std::process::exit(INTERRUPTED);
        }
    });
    Ok(())
}

fn signal(pid: u32, signal: Signal) {
    if let Ok(pid) = i32::try_from(pid) {
        // It may have ended by itself.
        kill(Pid::from_raw(pid), signal).ok();
    }
}

/// A process whose standard output is read line by line.
#[derive(Debug)]
pub(crate) struct Process {
    name: String,
    child: Child,
    /// Its standard input; closed with this guard.
    input: Option<ChildStdin>,
    said: Receiver<String>,
    /// How long it has to end by itself.
    farewell: Duration,
}

/// Which of its outputs a process speaks on.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Speaks {
    Output,
    /// Its log; what it writes to standard output is dropped.
    Error,
}

impl Process {
    /// Starts it.
    ///
    /// # Errors
    /// The operating system's, with the name.
    pub(crate) fn start(
        name: impl Into<String>,
        command: &mut Command,
        speaks: Speaks,
    ) -> Result<Self, Failure> {
        let name = name.into();
        command.stdin(Stdio::piped());
        match speaks {
            Speaks::Output => command.stdout(Stdio::piped()),
            Speaks::Error => command.stdout(Stdio::null()).stderr(Stdio::piped()),
        };
        let mut running = RUNNING.lock().or_say("the list of processes")?;
        let program = command.get_program().to_string_lossy().into_owned();
        let mut child = command
            .spawn()
            .or_say(format_args!("cannot start {name} ({program})"))?;
        running.push(child.id());
        drop(running);
        let input = child.stdin.take();
        let said = match speaks {
            Speaks::Output => child.stdout.take().map(lines),
            Speaks::Error => child.stderr.take().map(lines),
        };
        Ok(Self {
            name,
            child,
            input,
            said: said.ok_or_else(|| Failure::new("no pipe"))?,
            farewell: Duration::ZERO,
        })
    }

    /// Lets it end by itself when its input is closed, for it has something to clean up.
    pub(crate) const fn in_peace(mut self) -> Self {
        self.farewell = FAREWELL;
        self
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Writes a line to its standard input.
    ///
    /// # Errors
    /// It has ended.
    pub(crate) fn tell(&mut self, line: &str) -> Result<(), Failure> {
        let name = &self.name;
        let Some(input) = &mut self.input else {
            return Err(Failure(format!("{name} is not listening")));
        };
        writeln!(input, "{line}").or_say(format_args!("{name} has ended"))
    }

    /// Its next line.
    ///
    /// # Errors
    /// It has ended, or says nothing for so long.
    pub(crate) fn line(&self, within: Duration) -> Result<String, Failure> {
        let name = &self.name;
        self.said.recv_timeout(within).map_err(|error| {
            Failure(match error {
                RecvTimeoutError::Timeout => format!("{name} said nothing for {within:?}"),
                RecvTimeoutError::Disconnected => format!("{name} has ended"),
            })
        })
    }

    /// Its next line, if there is one already.
    ///
    /// # Errors
    /// It has ended.
    pub(crate) fn early_line(&self) -> Result<Option<String>, Failure> {
        match self.said.try_recv() {
            Ok(line) => Ok(Some(line)),
            Err(TryRecvError::Empty) => Ok(None),
            Err(TryRecvError::Disconnected) => Err(Failure(format!("{} has ended", self.name))),
        }
    }

    /// Waits until it says this; what it said before that is in the error.
    ///
    /// # Errors
    /// It has ended, or says nothing more for so long.
    pub(crate) fn wait_for(&self, what: &str, within: Duration) -> Result<String, Failure> {
        let mut before = String::new();
        loop {
            let line = self
                .line(within)
                .map_err(|failure| Failure(format!("{failure}{before}")))?;
            if line.contains(what) {
                return Ok(line);
            }
            before.push_str("; it said: ");
            before.push_str(line.trim());
        }
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
        // It may have ended by itself.
        self.child.kill().ok();
        if let Ok(mut running) = RUNNING.lock() {
            running.retain(|pid| *pid != self.child.id());
        }
        self.child.wait().ok();
    }
}

/// The lines of a pipe, as they come. A pipe that nobody reads would stop its writer.
fn lines(pipe: impl Read + Send + 'static) -> Receiver<String> {
    let (tell, said) = channel();
    thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            // Read on even when nobody listens any more.
            tell.send(line).ok();
        }
    });
    said
}
