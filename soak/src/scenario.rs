//! What happens when: load for a while, one client killed in the middle, everything counted.

use std::process::Command;
use std::time::{Duration, Instant};

use ipc_ringbuf::{ClientBuilder, Code, Request};

use crate::admin;
use crate::args::Args;
use crate::client::ATTACHED;
use crate::ledger::Account;
use crate::part::{Interrupt, Part, SoakError};
use crate::sampler::{Sample, descriptors};
use crate::say;
use crate::summary::Summary;
use crate::witness::{self, Witness};

/// Time between two samples.
const TICK: Duration = Duration::from_secs(1);
/// Longest time until a dead client's session is gone.
const RECLAIM: Duration = Duration::from_millis(200);
/// Longest time for something to come to rest.
const REST: Duration = Duration::from_secs(10);

/// Time without a change that counts as rest.
const SETTLED: Duration = Duration::from_millis(300);
/// Connections to NATS that the gateway makes.
const CONNECTIONS: u32 = 2;

/// Runs it.
pub(crate) fn run(args: &Args) -> Result<Summary, SoakError> {
    let interrupt = Interrupt::listen()?;
    let stage = Stage::build(args, &interrupt)?;
    let mut summary = Summary::default();
    let gateway = stage.gateway.pid();
    let at_rest = stage.descriptors_at_rest(&interrupt)?;
    let mut clients = (0..args.clients)
        .map(|number| stage.client(args, number))
        .collect::<Result<Vec<_>, _>>()?;
    for client in &mut clients {
        client.wait_for(ATTACHED, &interrupt)?;
    }
    let directory = stage.directory.path();
    let mut witness = Witness::start(args, &stage.socket, directory, &interrupt)?;
    let start = Instant::now();
    let duration = args.duration.0;
    stage.load(start, duration / 2, &mut summary, &interrupt)?;
    let before = descriptors(gateway)?;
    // The witness has a session too.
    let each = before.saturating_sub(at_rest) / (clients.len() + 1);
    let mut victim = clients.remove(0);
    victim.kill()?;
    let without = before.saturating_sub(each);
    let reclaimed = interrupt.until(REST, || Ok(descriptors(gateway)? <= without))?;
    let took = reclaimed.unwrap_or(REST);
    summary.promise(
        each > 0 && took < RECLAIM,
        format!("a killed client's session is gone within {RECLAIM:?} (took {took:.1?})"),
    );
    stage.load(start, duration, &mut summary, &interrupt)?;
    summary.load = start.elapsed();
    summary.account = settle(&mut clients, &mut summary, &interrupt)?;
    witness.end(&interrupt)?;
    let emptied = interrupt.until(REST, || Ok(descriptors(gateway)? == at_rest))?;
    summary.promise(
        emptied.is_some(),
        format!("the gateway's descriptors are {at_rest} again once all clients are gone"),
    );
    let directory = stage.end(&mut summary, &interrupt)?;
    let verdict = witness.judge()?;
    drop(directory);
    say(&format!("witness: {verdict}"));
    summary.promise(
        verdict.holds() && verdict.submitted > 0,
        format!(
            "the witness's {} requests are what the Router received",
            verdict.submitted
        ),
    );
    Ok(summary)
}

/// Ends the clients and gathers their accounts.
fn settle(
    clients: &mut [Part],
    summary: &mut Summary,
    interrupt: &Interrupt,
) -> Result<Account, SoakError> {
    clients.iter_mut().for_each(Part::close_input);
    let mut sum = Account::default();
    let mut reported = 0;
    for client in &mut *clients {
        let status = client.end(interrupt)?;
        let account = client
            .said()
            .rev()
            .find_map(|line| serde_json::from_str(line).ok());
        if let Some(account) = account.filter(|_| status.success()) {
            sum.add(&account);
            reported += 1;
        }
    }
    let count = clients.len();
    summary.promise(
        reported == count,
        format!("every client that was not killed lives to the end ({reported} of {count})"),
    );
    summary.promise(
        sum.sent > 0 && sum.lost == 0 && sum.repeated == 0,
        format!(
            "each request completes exactly once ({} lost, {} repeated)",
            sum.lost, sum.repeated
        ),
    );
    summary.promise(
        sum.mixed_up == 0,
        format!("each reply names its request ({} do not)", sum.mixed_up),
    );
    let others = sum.sent.saturating_sub(sum.count(Code::Ok));
    summary.promise(
        others == 0,
        format!("the others do not notice the killed client ({others} not answered OK)"),
    );
    Ok(sum)
}

/// What runs besides the clients. Fields end in the order in which they stand.
struct Stage {
    gateway: Part,
    router: Part,
    _server: Part,
    socket: std::path::PathBuf,
    directory: tempfile::TempDir,
}

impl Stage {
    /// Starts nats-server, the Router and the gateway; returns when a request is answered.
    fn build(args: &Args, interrupt: &Interrupt) -> Result<Self, SoakError> {
        let directory = tempfile::Builder::new().prefix("ipc-soak-").tempdir()?;
        let mut command = Command::new(&args.nats_server);
        command.args(["--addr", "127.0.0.1", "--port", "-1"]);
        let mut server = Part::start("nats-server", &mut command)?;
        const LISTENING: &str = "Listening for client connections on ";
        let line = server.wait_for(LISTENING, interrupt)?;
        let address = line.rsplit(' ').next().unwrap_or_default();
        let url = format!("nats://{address}");
        let mut command = Command::new(args.router()?);
        witness::log_flags(directory.path(), command.args(["--nats", &url]));
        let mut router = Part::start("reference-router", &mut command)?;
        router.wait_for("ready", interrupt)?;
        let socket = directory.path().join("gateway.sock");
        let mut command = Command::new(args.gateway()?);
        command
            .args(["serve", "--nats", &url, "--socket"])
            .arg(&socket);
        let mut stage = Self {
            gateway: Part::start("ipc-gateway", &mut command)?,
            router,
            _server: server,
            socket,
            directory,
        };
        stage.gateway.wait_for("serving", interrupt)?;
        stage.warm_up(interrupt)?;
        Ok(stage)
    }

    /// Waits until a request is answered, every connection to NATS is up, and the session that
    /// asked is gone.
    fn warm_up(&self, interrupt: &Interrupt) -> Result<(), SoakError> {
        let answered = interrupt.until(REST, || {
            let builder = ClientBuilder::new().socket(&self.socket);
            let Ok(mut client) = builder.connect() else {
                return Ok(false);
            };
            let body = r#"{"tenant_id":"soak","request_id":"0","task":{"type":"soak","payload":{"text":""}}}"#;
            let reply = client.call(Request::to("decide").payload(body));
            Ok(reply.is_ok_and(|reply| reply.code() == Code::Ok))
        })?;
        let connected = format!("ipcgw_nats_connected {CONNECTIONS}\n");
        let rests = interrupt.until(REST, || {
            let connected = admin::get(&self.socket, "/metrics")?.contains(&connected);
            Ok(connected && admin::get(&self.socket, "/sessions")?.ends_with("[]"))
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

    /// The number of the gateway's descriptors when it does not change any more: what has just been
    /// closed takes a moment to be gone.
    fn descriptors_at_rest(&self, interrupt: &Interrupt) -> Result<usize, SoakError> {
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

    fn client(&self, args: &Args, number: u32) -> Result<Part, SoakError> {
        let name = format!("c{number}");
        let mut command = Command::new(std::env::current_exe()?);
        command
            .args(["--client", &name, "--socket"])
            .arg(&self.socket);
        command.args(["--window", &args.window.to_string()]);
        command.args(["--payload", &args.payload.to_string()]);
        Part::start(&name, &mut command)
    }

    /// Lets the load go on until `end` after `start`, and samples.
    fn load(
        &self,
        start: Instant,
        end: Duration,
        summary: &mut Summary,
        interrupt: &Interrupt,
    ) -> Result<(), SoakError> {
        loop {
            let sample = Sample::take(self.gateway.pid(), start.elapsed())?;
            say(&format!(
                "{:6.1} s  resident {} KiB, {} descriptors",
                sample.at.as_secs_f64(),
                sample.resident >> 10,
                sample.descriptors
            ));
            summary.samples.push(sample);
            let left = end.saturating_sub(start.elapsed());
            if left.is_zero() {
                return Ok(());
            }
            interrupt.pause(left.min(TICK))?;
        }
    }

    /// Ends everything, the gateway first. What was written is there until what is returned goes.
    fn end(
        mut self,
        summary: &mut Summary,
        interrupt: &Interrupt,
    ) -> Result<tempfile::TempDir, SoakError> {
        let status = self.gateway.terminate(interrupt)?;
        summary.promise(
            status.success(),
            format!("the gateway drains and ends ({status})"),
        );
        let panics = self
            .gateway
            .said()
            .filter(|line| line.contains("panicked"))
            .count();
        summary.promise(
            panics == 0,
            format!("the gateway does not panic ({panics} times)"),
        );
        self.router.terminate(interrupt)?;
        let counts = self
            .router
            .said()
            .next_back()
            .unwrap_or_default()
            .to_owned();
        let received = counts
            .split(' ')
            .find_map(|word| word.strip_prefix("received="));
        let received: u64 = received.and_then(|number| number.parse().ok()).unwrap_or(0);
        let sent = summary.account.sent;
        summary.promise(
            received >= sent && counts.contains("errors=0"),
            format!("the Router has received and answered them ({received} of at least {sent})"),
        );
        Ok(self.directory)
    }
}
