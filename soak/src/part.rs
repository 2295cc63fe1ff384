//! A program that is run: what it says is read as it comes, and it ends with its guard.

use std::collections::VecDeque;
use std::io::{self, BufRead as _, BufReader, Read, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use tokio::signal::unix::{SignalKind, signal};

use crate::evidence::Sink;

/// Longest time to start, and to end.
const BOUND: Duration = Duration::from_secs(20);
/// Time between two looks for an interrupt.
const SLICE: Duration = Duration::from_millis(20);
/// Lines that are kept of what a part says.
const KEPT: usize = 200;

/// Why a run could not be made or finished.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SoakError {
    /// A program cannot be started.
    #[error("cannot start {0}: {1}; see --help for where it is looked for")]
    Start(String, io::Error),
    /// A part did not do what was waited for.
    #[error("{name}: {what} did not come; it said: {said}")]
    Part {
        name: String,
        what: String,
        said: String,
    },
    /// SIGINT, SIGTERM or SIGHUP.
    #[error("interrupted; everything has been ended")]
    Interrupted,
    /// The operating system.
    #[error(transparent)]
    Os(#[from] io::Error),
}

impl SoakError {
    pub(crate) fn exit(&self) -> ExitCode {
        match self {
            Self::Interrupted => ExitCode::from(130),
            // EX_UNAVAILABLE of sysexits.h.
            Self::Start(..) => ExitCode::from(69),
            _ => ExitCode::FAILURE,
        }
    }
}

/// SIGINT, SIGTERM and SIGHUP as something that can be looked at. Handlers are not inherited, so the parts
/// heed their signals as always.
#[derive(Debug)]
pub(crate) struct Interrupt(Receiver<()>);

impl Interrupt {
    pub(crate) fn listen() -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()?;
        let (mut int, mut term, mut hup) = {
            let _entered = runtime.enter();
            (
                signal(SignalKind::interrupt())?,
                signal(SignalKind::terminate())?,
                signal(SignalKind::hangup())?,
            )
        };
        let (tell, interrupts) = channel();
        std::thread::spawn(move || {
            runtime.block_on(async {
                loop {
                    tokio::select! {
                        _ = int.recv() => {}
                        _ = term.recv() => {}
                        _ = hup.recv() => {}
                    }
                    if tell.send(()).is_err() {
                        return;
                    }
                }
            });
        });
        Ok(Self(interrupts))
    }

    /// Lets time pass; whether an interrupt has come meanwhile.
    pub(crate) fn has_come(&self, time: Duration) -> bool {
        self.pause(time).is_err()
    }

    /// Lets time pass; an error when an interrupt has come.
    pub(crate) fn pause(&self, time: Duration) -> Result<(), SoakError> {
        match self.0.recv_timeout(time) {
            Err(RecvTimeoutError::Timeout) => Ok(()),
            _ => Err(SoakError::Interrupted),
        }
    }

    /// Looks until it is so, at most `bound`; returns how long that took, if it came to be so.
    pub(crate) fn until(
        &self,
        bound: Duration,
        mut is_so: impl FnMut() -> io::Result<bool>,
    ) -> Result<Option<Duration>, SoakError> {
        let start = Instant::now();
        loop {
            if is_so()? {
                return Ok(Some(start.elapsed()));
            }
            if start.elapsed() >= bound {
                return Ok(None);
            }
            self.pause(Duration::from_millis(1))?;
        }
    }
}

/// A running program.
#[derive(Debug)]
pub(crate) struct Part {
    name: String,
    child: Child,
    lines: Receiver<String>,
    /// The newest lines.
    said: VecDeque<String>,
}

impl Part {
    /// Starts a program. Its input stays open until [`close_input`](Self::close_input).
    pub(crate) fn start(name: &str, command: &mut Command) -> Result<Self, SoakError> {
        Self::start_logged(name, command, Sink::none())
    }

    /// Starts a program whose lines are written to `log` as well.
    pub(crate) fn start_logged(
        name: &str,
        command: &mut Command,
        log: Sink,
    ) -> Result<Self, SoakError> {
        let program = command.get_program().to_string_lossy().into_owned();
        let mut child = command
            // A Ctrl-C is for us, who end the parts in order.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| SoakError::Start(program, error))?;
        let (tell, lines) = channel();
        if let Some(output) = child.stdout.take() {
            read(output, tell.clone(), log.clone());
        }
        if let Some(output) = child.stderr.take() {
            read(output, tell, log);
        }
        Ok(Self {
            name: name.to_owned(),
            child,
            lines,
            said: VecDeque::new(),
        })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for a line that has this text in it.
    pub(crate) fn wait_for(
        &mut self,
        text: &str,
        interrupt: &Interrupt,
    ) -> Result<String, SoakError> {
        self.read_until(interrupt, |line| line.contains(text))?
            .ok_or_else(|| self.error(text))
    }

    /// Waits for its end.
    pub(crate) fn end(&mut self, interrupt: &Interrupt) -> Result<ExitStatus, SoakError> {
        // It has closed its output, so it ends at once if it does not hang.
        self.read_until(interrupt, |_| false)?;
        let mut status = None;
        interrupt.until(BOUND, || {
            status = self.child.try_wait()?;
            Ok(status.is_some())
        })?;
        status.ok_or_else(|| self.error("its end"))
    }

    /// Ends it with SIGTERM and waits for that.
    pub(crate) fn terminate(&mut self, interrupt: &Interrupt) -> Result<ExitStatus, SoakError> {
        self.signal("-TERM")?;
        self.end(interrupt)
    }

    /// Sends it a signal, by the name that `kill` knows.
    pub(crate) fn signal(&self, signal: &str) -> io::Result<()> {
        let pid = self.pid().to_string();
        Command::new("kill").args([signal, &pid]).status()?;
        Ok(())
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        self.child.try_wait()
    }

    /// Writes a line to its input. One that has ended does not read it.
    pub(crate) fn order(&mut self, line: &str) {
        if let Some(input) = &mut self.child.stdin {
            writeln!(input, "{line}").ok();
        }
    }

    /// The next line, which is not kept; none at the end of its output, or when none has come by
    /// then.
    pub(crate) fn next_line(&self, until: Instant) -> Option<String> {
        let left = until.saturating_duration_since(Instant::now());
        self.lines.recv_timeout(left).ok()
    }

    /// The lines that have come since the last time. They are not kept.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.lines.try_iter().collect()
    }

    /// Ends it with SIGKILL.
    pub(crate) fn kill(&mut self) -> io::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Closes its input.
    pub(crate) fn close_input(&mut self) {
        drop(self.child.stdin.take());
    }

    /// The newest lines, up to now.
    pub(crate) fn said(&mut self) -> impl DoubleEndedIterator<Item = &str> {
        while let Ok(line) = self.lines.try_recv() {
            self.keep(line);
        }
        self.said.iter().map(String::as_str)
    }

    /// Reads until a line that is wanted, the end of its output, or the bound.
    fn read_until(
        &mut self,
        interrupt: &Interrupt,
        wanted: impl Fn(&str) -> bool,
    ) -> Result<Option<String>, SoakError> {
        let start = Instant::now();
        while start.elapsed() < BOUND {
            match self.lines.recv_timeout(SLICE) {
                Ok(line) => {
                    self.keep(line.clone());
                    if wanted(&line) {
                        return Ok(Some(line));
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            interrupt.pause(Duration::ZERO)?;
        }
        Ok(None)
    }

    fn keep(&mut self, line: String) {
        if self.said.len() == KEPT {
            self.said.pop_front();
        }
        self.said.push_back(line);
    }

    fn error(&mut self, what: &str) -> SoakError {
        SoakError::Part {
            name: self.name.clone(),
            what: format!("{what:?}"),
            said: self.said().collect::<Vec<_>>().join(" | "),
        }
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        self.kill().ok();
    }
}

/// Reads a pipe on a thread of its own: one that nobody reads would stop its writer.
fn read(pipe: impl Read + Send + 'static, tell: Sender<String>, log: Sink) {
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            log.line(&line);
            if tell.send(line).is_err() {
                return;
            }
        }
    });
}
