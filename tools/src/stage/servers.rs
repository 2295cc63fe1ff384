//! What stands behind the gateway: nats-server, the fault-proxy before it, and the Router.

use core::time::Duration;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::failure::{Failure, While as _};
use super::process::{Process, Speaks};

/// Longest time for a server to be ready.
const SOON: Duration = Duration::from_secs(30);

/// A nats-server on a free loopback port. It can be ended and started again at the same port.
#[derive(Debug)]
pub struct NatsServer {
    program: PathBuf,
    logs: PathBuf,
    port: u16,
    process: Option<Process>,
}

impl NatsServer {
    /// Starts one; returns when it takes connections.
    ///
    /// # Errors
    /// It cannot be started, or is not ready in time.
    pub fn start(program: &Path, logs: &Path) -> Result<Self, Failure> {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .and_then(|listener| listener.local_addr())
            .or_say("there is no free port")?
            .port();
        let mut server = Self {
            program: program.to_owned(),
            logs: logs.to_owned(),
            port,
            process: None,
        };
        server.restart()?;
        Ok(server)
    }

    /// `127.0.0.1:PORT`.
    #[must_use]
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// `nats://127.0.0.1:PORT`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("nats://{}", self.address())
    }

    /// Its process number, while it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Process::pid)
    }

    /// Ends it with SIGKILL.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Starts it again; returns when it takes connections.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn restart(&mut self) -> Result<(), Failure> {
        self.kill();
        let mut command = Command::new(&self.program);
        command.args(["--addr", "127.0.0.1", "--port", &self.port.to_string()]);
        let process = Process::start("nats-server", &mut command, Speaks::Error, &self.logs)?;
        process.wait_for("Server is ready", SOON)?;
        self.process = Some(process);
        Ok(())
    }
}

/// A fault-proxy before a server.
#[derive(Debug)]
pub struct Proxy {
    process: Process,
    address: String,
}

impl Proxy {
    /// Starts one that forwards to `host:port`; returns when it takes connections.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(program: &Path, to: &str, logs: &Path) -> Result<Self, Failure> {
        let mut command = Command::new(program);
        command.args(["--to", to]);
        let process = Process::start("fault-proxy", &mut command, Speaks::Output, logs)?;
        let line = process.wait_for("listening on ", SOON)?;
        let address = line.rsplit(' ').next().unwrap_or_default().to_owned();
        Ok(Self { process, address })
    }

    /// `host:port` where it listens.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Gives an order of `fault-proxy --help`; returns the answer.
    ///
    /// # Errors
    /// It has ended, or does not take the order.
    pub fn order(&mut self, order: &str) -> Result<String, Failure> {
        self.process.tell(order)?;
        let answer = self.process.line(SOON)?;
        if answer.starts_with("ok") {
            Ok(answer)
        } else {
            Err(Failure::new(format_args!("fault-proxy: {answer}")))
        }
    }

    /// Connections that are open now.
    ///
    /// # Errors
    /// As [`order`](Self::order).
    pub fn open(&mut self) -> Result<u64, Failure> {
        let stats = self.order("stats")?;
        let open = stats
            .split(' ')
            .find_map(|word| word.strip_prefix("open=")?.parse().ok());
        open.ok_or_else(|| Failure::new(format_args!("fault-proxy says {stats:?}")))
    }
}

/// A reference Router.
#[derive(Debug)]
pub struct Router {
    process: Process,
    log: PathBuf,
}

impl Router {
    /// Starts one with these flags and its log of requests in `<logs>/<name>.jsonl`; returns when it
    /// has its subscriptions.
    ///
    /// # Errors
    /// It cannot be started, or does not connect in time.
    pub fn start(
        program: &Path,
        name: &str,
        url: &str,
        flags: &[String],
        logs: &Path,
    ) -> Result<Self, Failure> {
        let log = logs.join(format!("{name}.jsonl"));
        let mut command = Command::new(program);
        command.args(["--nats", url]).arg("--log").arg(&log);
        let process = Process::start(name, command.args(flags), Speaks::Output, logs)?;
        process.wait_for("ready", SOON)?;
        Ok(Self { process, log })
    }

    /// Its process number.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Whether it has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        !matches!(self.process.ended(), Ok(None))
    }

    /// What it has logged of the requests that it received, one value each.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn log(&self) -> Result<Vec<serde_json::Value>, Failure> {
        let text = std::fs::read_to_string(&self.log).or_say(self.log.display())?;
        // A line without its end is still being written.
        let (whole, _) = text.rsplit_once('\n').unwrap_or_default();
        whole
            .lines()
            .map(|line| serde_json::from_str(line).or_say("the Router's log"))
            .collect()
    }

    /// Ends it with SIGTERM.
    ///
    /// # Errors
    /// It does not end.
    pub fn end(mut self) -> Result<(), Failure> {
        self.process.terminate().map(|_| ())
    }
}
