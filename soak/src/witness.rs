//! The witness: one more client, of little load, whose every request is held against what the Router
//! received.

use std::path::{Path, PathBuf};
use std::process::Command;

use ipc_tools::history::{Checker, Limits, Verdict};

use crate::args::Args;
use crate::part::{Interrupt, Part, SoakError};

/// Its name; its requests have ids that begin with it.
const NAME: &str = "witness";
/// Requests a second.
const RATE: &str = "200";
/// How much later than its deadline a completion may be seen.
const EPSILON: std::time::Duration = std::time::Duration::from_millis(250);

/// The client, and where it and the Router write.
pub(crate) struct Witness {
    part: Part,
    history: PathBuf,
    log: PathBuf,
}

/// Where the Router logs what the witness asks.
pub(crate) fn log(directory: &Path) -> PathBuf {
    directory.join("router.log")
}

/// What the Router must be told to log that and nothing else.
pub(crate) fn log_flags(directory: &Path, command: &mut Command) {
    command.arg("--log").arg(log(directory));
    let mark = format!(r#""request_id":"{NAME}-"#);
    command.args(["--log-matching", &mark]);
}

impl Witness {
    /// Starts it; returns when it is attached.
    pub(crate) fn start(
        args: &Args,
        socket: &Path,
        directory: &Path,
        interrupt: &Interrupt,
    ) -> Result<Self, SoakError> {
        let history = directory.join("history");
        let mut command = Command::new(args.history_client()?);
        command.arg("--socket").arg(socket);
        command.arg("--history").arg(&history);
        command.args(["--name", NAME, "--tenant", "soak", "--rate", RATE]);
        let mut part = Part::start(NAME, &mut command)?;
        part.wait_for("attached", interrupt)?;
        Ok(Self {
            part,
            history,
            log: log(directory),
        })
    }

    /// Ends it in order.
    pub(crate) fn end(&mut self, interrupt: &Interrupt) -> Result<(), SoakError> {
        self.part.close_input();
        self.part.end(interrupt)?;
        Ok(())
    }

    /// Holds its history against the Router's log, once the Router has ended.
    pub(crate) fn judge(&self) -> Result<Verdict, SoakError> {
        let mut checker = Checker::new(Limits { epsilon: EPSILON });
        let read = std::fs::read_to_string;
        checker
            .client(&read(&self.history)?)
            .map_err(std::io::Error::other)?;
        checker
            .router(&read(&self.log)?)
            .map_err(std::io::Error::other)?;
        checker.untouched(NAME);
        Ok(checker.judge())
    }
}
