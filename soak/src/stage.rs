//! What runs besides the clients: nats-server, the Router, the gateway, and between gateway and
//! server the proxy where connections are to be broken.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use ipc_ringbuf::{ClientBuilder, Code, Request};

use crate::admin;
use crate::args::Programs;
use crate::evidence::{Evidence, Sink};
use crate::ledger::Account;
use crate::part::{Interrupt, Part, SoakError};
use crate::sampler::{Counters, descriptors};

/// Longest time for something to come to rest.
pub(crate) const REST: Duration = Duration::from_secs(10);
/// Time without a change that counts as rest.
const SETTLED: Duration = Duration::from_millis(300);
/// Connections to NATS that the gateway makes.
pub(crate) const CONNECTIONS: u64 = 2;

/// How a stage is built.
#[derive(Clone, Debug)]
pub(crate) struct Build<'a> {
    pub(crate) programs: &'a Programs,
    /// Where logs go.
    pub(crate) evidence: Option<&'a Evidence>,
    /// More flags for the Router.
    pub(crate) router: Vec<String>,
    /// Whether these flags keep the Router from answering.
    pub(crate) silent: bool,
    /// Whether connections to NATS go through the proxy.
    pub(crate) proxied: bool,
    /// Configuration of the gateway.
    pub(crate) config: Option<&'a Path>,
}

impl Build<'_> {
    fn log(&self, name: &str) -> Sink {
        self.evidence
            .map_or_else(Sink::none, |evidence| evidence.sink(name))
    }
}

/// All of it. Fields end in the order in which they stand.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) gateway: Part,
    pub(crate) router: Part,
    pub(crate) proxy: Option<Part>,
    pub(crate) server: Part,
    pub(crate) socket: PathBuf,
    programs: Programs,
    /// Where nats-server listens.
    address: String,
    /// The gateway's arguments.
    serve: Vec<String>,
    logs: [Sink; 2],
    /// Lines of ended gateways that tell of a panic.
    pub(crate) panics: usize,
    disorderly: usize,
    /// What was asked before anybody else asked.
    warm_up: Account,
    directory: tempfile::TempDir,
}

impl Stage {
    /// Starts everything; returns when a request is answered.
    pub(crate) fn build(build: &Build<'_>, interrupt: &Interrupt) -> Result<Self, SoakError> {
        let programs = build.programs;
        let directory = tempfile::Builder::new().prefix("ipc-soak-").tempdir()?;
        let logs = [build.log("nats-server.log"), build.log("gateway.log")];
        let (server, address) = listen(programs, "127.0.0.1:-1", logs[0].clone(), interrupt)?;
        let mut command = Command::new(programs.router()?);
        command.args(["--nats", &format!("nats://{address}")]);
        command
            .arg("--log")
            .arg(Self::router_log_in(directory.path()));
        command.args(&build.router);
        let mut router =
            Part::start_logged("reference-router", &mut command, build.log("router.log"))?;
        router.wait_for("ready", interrupt)?;
        let (mut proxy, mut upstream) = (None, address.clone());
        if build.proxied {
            let mut command = Command::new(programs.fault_proxy()?);
            command.args(["--to", &address]);
            let mut part = Part::start_logged("fault-proxy", &mut command, build.log("proxy.log"))?;
            let line = part.wait_for("listening on ", interrupt)?;
            upstream = last_word(&line);
            proxy = Some(part);
        }
        let socket = directory.path().join("gateway.sock");
        let mut serve = vec!["serve".to_owned(), "--nats".to_owned()];
        serve.push(format!("nats://{upstream}"));
        serve.extend(["--socket".to_owned(), socket.display().to_string()]);
        if let Some(path) = build.config {
            serve.extend(["--config".to_owned(), path.display().to_string()]);
        }
        let gateway = start_gateway(programs, &serve, logs[1].clone())?;
        let mut stage = Self {
            gateway,
            router,
            proxy,
            server,
            socket,
            programs: programs.clone(),
            address,
            serve,
            logs,
            panics: 0,
            disorderly: 0,
            warm_up: Account::default(),
            directory,
        };
        stage.gateway.wait_for("serving", interrupt)?;
        stage.warm_up(build.silent, interrupt)?;
        Ok(stage)
    }

    /// Where files of the run are that are no evidence.
    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Where the Router writes what it received.
    pub(crate) fn router_log(&self) -> PathBuf {
        Self::router_log_in(self.directory())
    }

    fn router_log_in(directory: &Path) -> PathBuf {
        directory.join("router.log")
    }

    /// Waits until a request is answered, or not where nobody answers, every connection to NATS is
    /// up, and the session that asked is gone.
    fn warm_up(&mut self, silent: bool, interrupt: &Interrupt) -> Result<(), SoakError> {
        let mut asked = Account::default();
        let answered = interrupt.until(REST, || {
            let builder = ClientBuilder::new().socket(&self.socket);
            let Ok(mut client) = builder.connect() else {
                return Ok(false);
            };
            let body = r#"{"tenant_id":"soak","request_id":"0","task":{"type":"soak","payload":{"text":""}}}"#;
            let mut request = Request::to("decide").payload(body);
            if silent {
                request = request.timeout(SETTLED);
            }
            let expected = if silent { Code::Timeout } else { Code::Ok };
            asked.sent += 1;
            let code = client.call(request).ok().map(|reply| reply.code());
            match code {
                Some(code) => *asked.codes.entry(code.name().to_owned()).or_default() += 1,
                None => asked.lost += 1,
            }
            Ok(code == Some(expected))
        })?;
        self.warm_up = asked;
        let rests = interrupt.until(REST, || {
            Ok(self.is_connected()? && admin::get(&self.socket, "/sessions")?.ends_with("[]"))
        })?;
        match answered.and(rests) {
            Some(_) => Ok(()),
            None => Err(SoakError::Part {
                name: "ipc-gateway".to_owned(),
                what: "the first answer".to_owned(),
                said: format!("nothing within {REST:?}"),
            }),
        }
    }

    /// Whether every connection to NATS is up.
    pub(crate) fn is_connected(&self) -> io::Result<bool> {
        let counters = Counters::take(&self.socket)?;
        Ok(counters.sum("ipcgw_nats_connected") == CONNECTIONS)
    }

    /// The number of the gateway's descriptors when it does not change any more: what has just been
    /// closed takes a moment to be gone.
    pub(crate) fn descriptors_at_rest(&self, interrupt: &Interrupt) -> Result<usize, SoakError> {
        let mut last = descriptors(self.gateway.pid())?;
        loop {
            interrupt.pause(SETTLED)?;
            let now = descriptors(self.gateway.pid())?;
            if now == last {
                return Ok(now);
            }
            last = now;
        }
    }

    /// Starts nats-server again where it was, after it has ended.
    pub(crate) fn restart_server(&mut self, interrupt: &Interrupt) -> Result<(), SoakError> {
        self.server.kill()?;
        let log = self.logs[0].clone();
        (self.server, _) = listen(&self.programs, &self.address, log, interrupt)?;
        Ok(())
    }

    /// Starts a gateway in the place of one that drains or has ended. It serves as soon as it says so.
    pub(crate) fn restart_gateway(&mut self, interrupt: &Interrupt) -> Result<(), SoakError> {
        let before = self.gateway.end(interrupt)?;
        self.disorderly += usize::from(!before.success());
        self.panics += self.count_panics();
        self.gateway = start_gateway(&self.programs, &self.serve, self.logs[1].clone())?;
        Ok(())
    }

    /// Tells the proxy something.
    pub(crate) fn order_proxy(&mut self, order: &str) {
        if let Some(proxy) = &mut self.proxy {
            proxy.order(order);
        }
    }

    fn count_panics(&mut self) -> usize {
        let lines = self.gateway.said();
        lines.filter(|line| line.contains("panicked")).count()
    }

    /// Ends gateway and Router, in this order.
    pub(crate) fn end(&mut self, interrupt: &Interrupt) -> Result<Ended, SoakError> {
        let gateway = self.gateway.terminate(interrupt)?;
        self.panics += self.count_panics();
        self.router.terminate(interrupt)?;
        let counts = self.router.said().next_back().unwrap_or_default();
        let counts = counts.to_owned();
        for log in &self.logs {
            log.flush();
        }
        Ok(Ended {
            in_order: gateway.success(),
            how: gateway.to_string(),
            panics: self.panics,
            disorderly: self.disorderly,
            received: count(&counts, "received="),
            warm_up: self.warm_up.clone(),
            counts,
        })
    }
}

/// How a stage ended.
#[derive(Clone, Debug)]
pub(crate) struct Ended {
    /// Whether the gateway drained and ended with 0.
    pub(crate) in_order: bool,
    /// Its exit status, for people.
    pub(crate) how: String,
    /// How often a gateway panicked.
    pub(crate) panics: usize,
    /// Gateways before the last that ended with something else than 0.
    pub(crate) disorderly: usize,
    /// Requests that the Router received.
    pub(crate) received: u64,
    /// What the stage itself had asked of it before the run.
    pub(crate) warm_up: Account,
    /// Everything that the Router counted.
    pub(crate) counts: String,
}

fn listen(
    programs: &Programs,
    address: &str,
    log: Sink,
    interrupt: &Interrupt,
) -> Result<(Part, String), SoakError> {
    const LISTENING: &str = "Listening for client connections on ";
    let (host, port) = address.rsplit_once(':').unwrap_or_default();
    let mut command = Command::new(&programs.nats_server);
    command.args(["--addr", host, "--port", port]);
    let mut server = Part::start_logged("nats-server", &mut command, log)?;
    let line = server.wait_for(LISTENING, interrupt)?;
    Ok((server, last_word(&line)))
}

fn start_gateway(programs: &Programs, serve: &[String], log: Sink) -> Result<Part, SoakError> {
    let mut command = Command::new(programs.gateway()?);
    Part::start_logged("ipc-gateway", command.args(serve), log)
}

fn last_word(line: &str) -> String {
    line.rsplit(' ').next().unwrap_or_default().to_owned()
}

/// The number after a name in `a=1 b=2`.
pub(crate) fn count(text: &str, name: &str) -> u64 {
    let word = text.split(' ').find_map(|word| word.strip_prefix(name));
    word.and_then(|number| number.parse().ok()).unwrap_or(0)
}

impl Ended {
    /// The number after a name in what the Router counted.
    pub(crate) fn count(&self, name: &str) -> u64 {
        count(&self.counts, name)
    }
}
