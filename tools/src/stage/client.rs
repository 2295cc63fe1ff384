//! A client process, as its starter sees it.

use core::time::Duration;
use std::path::Path;
use std::process::Command;

use serde::de::DeserializeOwned;

use super::failure::{Failure, While as _};
use super::orders::{Ask, Flow, FlowReport, Got, Order};
use super::process::{Process, Speaks};

/// Longest time to attach, and to answer beyond the time that the request was given.
const SOON: Duration = Duration::from_secs(30);

/// A process that uses the client library: this program once more, with the hidden subcommand
/// `client` of [`Hidden`](super::Hidden).
#[derive(Debug)]
pub struct Client(Process);

impl Client {
    /// Starts one; returns when it is attached.
    ///
    /// # Errors
    /// It cannot start or attach.
    pub fn start(name: &str, socket: &Path, logs: &Path) -> Result<Self, Failure> {
        Self::start_with(name, socket, 256, logs)
    }

    /// The same, with a ring of so many entries.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_with(
        name: &str,
        socket: &Path,
        entries: u32,
        logs: &Path,
    ) -> Result<Self, Failure> {
        let program = std::env::current_exe().or_say("cannot find this program")?;
        let mut command = Command::new(program);
        command.arg("client").arg("--socket").arg(socket);
        command.args(["--name", name, "--entries", &entries.to_string()]);
        let process = Process::start(name, &mut command, Speaks::Output, logs)?;
        process.wait_for("attached", SOON)?;
        Ok(Self(process))
    }

    /// Its process number.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.0.pid()
    }

    /// Asks and waits for what comes back.
    ///
    /// # Errors
    /// The process has ended, or nothing came back: the gateway has left a request without its
    /// completion.
    pub fn call(&mut self, ask: Ask) -> Result<Got, Failure> {
        let allowed = Duration::from_millis(ask.timeout_ms.unwrap_or(0));
        self.tell(&Order::Call(ask))?;
        self.hear(SOON + allowed)
    }

    /// Sends many; returns when all have completed, or when nothing more comes.
    ///
    /// # Errors
    /// The process has ended or hangs.
    pub fn flow(&mut self, flow: Flow) -> Result<FlowReport, Failure> {
        self.begin(flow)?;
        self.hear(Duration::from_secs(120))
    }

    /// Begins to send many.
    ///
    /// # Errors
    /// The process has ended.
    pub fn begin(&mut self, flow: Flow) -> Result<(), Failure> {
        self.tell(&Order::Flow(flow))
    }

    /// Ends what [`begin`](Self::begin) has begun, once what is on its way has completed.
    ///
    /// # Errors
    /// The process has ended or hangs.
    pub fn stop(&mut self) -> Result<FlowReport, Failure> {
        self.tell(&Order::Stop)?;
        self.hear(Duration::from_secs(60))
    }

    /// Waits until a flow with a count, which [`begin`](Self::begin) has begun, has completed.
    ///
    /// # Errors
    /// The process has ended or hangs.
    pub fn join(&mut self) -> Result<FlowReport, Failure> {
        self.hear(Duration::from_secs(120))
    }

    fn tell(&mut self, order: &Order) -> Result<(), Failure> {
        let line = serde_json::to_string(order).or_say("an order")?;
        self.0.tell(&line)
    }

    fn hear<T: DeserializeOwned>(&self, within: Duration) -> Result<T, Failure> {
        let line = self.0.line(within)?;
        let name = self.0.name();
        serde_json::from_str(&line).or_say(format_args!("{name} says {line:?}"))
    }
}
