//! The gateway: the real binary with a configuration of its own.

use core::time::Duration;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::failure::{Failure, While as _, eventually};
use super::process::{Process, Speaks};

/// Longest time to be ready, and to answer a question.
const SOON: Duration = Duration::from_secs(30);

/// How a gateway is started.
#[derive(Clone, Debug)]
#[expect(
    clippy::exhaustive_structs,
    reason = "whoever starts one says all of it"
)]
pub struct GatewayOptions<'a> {
    /// The program.
    pub program: &'a Path,
    /// What it is called in the logs.
    pub name: &'a str,
    /// Its server.
    pub url: &'a str,
    /// The text of its configuration file.
    pub configuration: &'a str,
    /// Where its socket and its configuration file go; one directory for each gateway.
    pub dir: &'a Path,
    /// Where its log goes.
    pub logs: &'a Path,
    /// Connections to wait for; none to return as soon as it serves.
    pub connections: u64,
}

/// A gateway process.
#[derive(Debug)]
pub struct Gateway {
    process: Process,
    socket: PathBuf,
}

impl Gateway {
    /// Starts one; returns when it serves and has its connections.
    ///
    /// # Errors
    /// It cannot start, or does not connect in time.
    pub fn start(options: &GatewayOptions<'_>) -> Result<Self, Failure> {
        std::fs::create_dir_all(options.dir).or_say(options.dir.display())?;
        let socket = options.dir.join("gateway.sock");
        let file = options.dir.join("config.toml");
        std::fs::write(&file, options.configuration).or_say(file.display())?;
        let mut command = Command::new(options.program);
        command.arg("serve").arg("--config").arg(&file);
        command.arg("--socket").arg(&socket);
        command.args(["--nats", options.url]);
        // Settings of whoever runs this would win over the file.
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("IPC_GATEWAY_") {
                command.env_remove(name);
            }
        }
        let process = Process::start(options.name, &mut command, Speaks::Output, options.logs)?;
        process.wait_for("serving", SOON)?;
        let gateway = Self { process, socket };
        if options.connections > 0 {
            eventually(SOON, "the gateway has its connections", || {
                Ok(gateway.metric("ipcgw_nats_connected", "")? == options.connections)
            })?;
        }
        Ok(gateway)
    }

    /// Its process number.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Where clients attach.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Whether it has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        !matches!(self.process.ended(), Ok(None))
    }

    /// Ends it with SIGTERM.
    ///
    /// # Errors
    /// It does not end, or not with 0.
    pub fn end(mut self) -> Result<(), Failure> {
        let status = self.process.terminate()?;
        if status.success() {
            return Ok(());
        }
        Err(Failure::new(format!("the gateway ended with {status}")))
    }

    /// All of its counters, as OpenMetrics text.
    ///
    /// # Errors
    /// It does not answer.
    pub fn metrics(&self) -> Result<String, Failure> {
        let path = self.socket.with_file_name("admin.sock");
        let ask = || {
            let mut stream = UnixStream::connect(&path)?;
            stream.set_read_timeout(Some(SOON))?;
            write!(
                stream,
                "GET /metrics HTTP/1.1\r\nHost: stage\r\nConnection: close\r\n\r\n"
            )?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok::<_, std::io::Error>(answer)
        };
        let answer = ask().or_say("the gateway's admin server")?;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
        if head.starts_with("HTTP/1.1 200") {
            Ok(body.to_owned())
        } else {
            Err(Failure::new(format_args!("the admin server says {head:?}")))
        }
    }

    /// The sum of all samples of a counter or gauge whose labels contain `labels`, such as
    /// `code="OK"`.
    ///
    /// # Errors
    /// It does not answer, or has no such sample.
    pub fn metric(&self, name: &str, labels: &str) -> Result<u64, Failure> {
        self.metric_if_any(name, labels)?.ok_or_else(|| {
            Failure::new(format_args!("the gateway has no metric {name}{{{labels}}}"))
        })
    }

    /// The same; none when it has no such sample.
    ///
    /// # Errors
    /// It does not answer.
    pub fn metric_if_any(&self, name: &str, labels: &str) -> Result<Option<u64>, Failure> {
        let text = self.metrics()?;
        let samples: Vec<u64> = text
            .lines()
            .filter_map(|line| {
                let (series, value) = line.rsplit_once(' ')?;
                let (found, given) = series.split_once('{').unwrap_or((series, ""));
                let is_it = found == name && given.contains(labels);
                is_it.then(|| value.parse().ok())?
            })
            .collect();
        Ok((!samples.is_empty()).then(|| samples.iter().sum()))
    }
}
