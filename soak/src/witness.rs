//! The witness: one more client, of little load, whose every request is held against what the Router
//! received.

use std::path::PathBuf;
use std::process::Command;

use ipc_tools::history::{Checker, Limits, Tenants, Verdict};

use crate::args::Programs;
use crate::part::{Interrupt, Part, SoakError};
use crate::stage::Stage;

/// Its name; its requests have ids that begin with it.
pub(crate) const NAME: &str = "witness";
/// Requests a second.
const RATE: &str = "200";
/// How much later than its deadline a completion may be seen.
pub(crate) const EPSILON: std::time::Duration = std::time::Duration::from_millis(250);

/// The client, and where it writes.
pub(crate) struct Witness {
    part: Part,
    history: PathBuf,
}

/// What the Router must be told to log what the witness asks and nothing else.
pub(crate) fn log_flags() -> Vec<String> {
    let mark = format!(r#""request_id":"{NAME}-"#);
    vec!["--log-matching".to_owned(), mark]
}

impl Witness {
    /// Starts it; returns when it is attached.
    pub(crate) fn start(
        programs: &Programs,
        stage: &Stage,
        interrupt: &Interrupt,
    ) -> Result<Self, SoakError> {
        let history = stage.directory().join("history");
        let mut command = Command::new(programs.history_client()?);
        command.arg("--socket").arg(&stage.socket);
        command.arg("--history").arg(&history);
        command.args(["--name", NAME, "--tenant", "soak", "--rate", RATE]);
        let mut part = Part::start(NAME, &mut command)?;
        part.wait_for("attached", interrupt)?;
        Ok(Self { part, history })
    }

    /// Ends it in order.
    pub(crate) fn end(&mut self, interrupt: &Interrupt) -> Result<(), SoakError> {
        self.part.close_input();
        self.part.end(interrupt)?;
        Ok(())
    }

    /// Holds its history against the Router's log, once the Router has ended.
    pub(crate) fn judge(&self, stage: &Stage) -> Result<Verdict, SoakError> {
        let mut checker = Checker::new(Limits {
            epsilon: EPSILON,
            // Nothing here names a tenant in a header, and the gateway binds none.
            tenants: Tenants::Free,
        });
        checker
            .client(&std::fs::read_to_string(&self.history)?)
            .map_err(std::io::Error::other)?;
        checker
            .router(&std::fs::read_to_string(stage.router_log())?)
            .map_err(std::io::Error::other)?;
        checker.untouched(NAME);
        Ok(checker.judge())
    }
}
