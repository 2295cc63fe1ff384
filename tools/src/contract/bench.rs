//! The processes of a run, and one request at a time.

use core::time::Duration;
use std::path::{Path, PathBuf};

use ipc_tools::artifact::{Artifact, Programs, Verdict};
use ipc_tools::stage::{
    Ask, Client, Failure, Gateway, GatewayOptions, Got, Message, NatsServer, Report, Router,
    While as _, Wire, eventually, scratch,
};

use crate::progress;

/// What the gateway is started with; the rest is as built in.
pub(crate) const CONFIGURATION: &str = "[nats]\nconnections = 1\n";
/// Longest time for anything that must happen.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// Everything that runs.
pub(crate) struct Bench {
    pub(crate) wire: Wire,
    client: Client,
    gateway: Gateway,
    router: Option<(Vec<String>, Router)>,
    server: NatsServer,
    dir: tempfile::TempDir,
    programs: (PathBuf, PathBuf),
    logs: PathBuf,
    number: u64,
    artifact: Artifact,
}

impl Bench {
    pub(crate) fn set(
        programs: &Programs,
        bin_dir: &Path,
        artifact: Artifact,
    ) -> Result<Self, Failure> {
        let missing =
            |what: &str, todo: &str| Failure::Missing(format!("{what} is missing: {todo}"));
        let build = "run `cargo build -p ipc-gateway -p ipc-tools`, or name its directory with \
                     --bin-dir";
        let gateway = programs.gateway.clone();
        let gateway = gateway.ok_or_else(|| missing("ipc-gateway", build))?;
        let router = bin_dir.join("reference-router");
        if !router.is_file() {
            return Err(missing("reference-router", build));
        }
        let nats = programs.nats_server.as_deref().ok_or_else(|| {
            missing(
                "nats-server",
                "set NATS_SERVER, or run tools/setup.sh, which installs one",
            )
        })?;
        let logs = artifact.path().join("logs");
        let dir = scratch()?;
        let server = NatsServer::start(nats, &logs)?;
        let file = artifact.file("wire.jsonl").or_say("the evidence")?;
        let wire = Wire::start(&server.url(), &[">"], file)?;
        let started = Gateway::start(&GatewayOptions {
            program: &gateway,
            name: "gateway",
            url: &server.url(),
            configuration: CONFIGURATION,
            dir: &dir.path().join("gateway"),
            logs: &logs,
            connections: 1,
        })?;
        let client = Client::start("client", started.socket(), &logs)?;
        Ok(Self {
            wire,
            client,
            gateway: started,
            router: None,
            server,
            dir,
            programs: (gateway, router),
            logs,
            number: 0,
            artifact,
        })
    }

    /// Makes a check, writes what came out and says so.
    pub(crate) fn check(
        &mut self,
        id: &str,
        name: &str,
        make: impl FnOnce(&mut Self, &mut Report) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        self.wire.begin(id);
        let mut report = Report::default();
        let ended = make(self, &mut report);
        let category = id.split('.').next().unwrap_or_default();
        let check = report.check((id, category, name), ended);
        self.artifact.check(&check).or_say("the evidence")?;
        if check.verdict == Verdict::Pass {
            progress(&format!("ok   {id}"));
        } else {
            progress(&format!("FAIL {id}: {}", check.seen()));
        }
        Ok(())
    }

    /// Starts the Router with these flags, unless it runs so.
    pub(crate) fn router(&mut self, flags: &[&str]) -> Result<(), Failure> {
        let flags: Vec<String> = flags.iter().map(|&flag| flag.to_owned()).collect();
        if self.router.as_ref().is_some_and(|(now, _)| *now == flags) {
            return Ok(());
        }
        if let Some((_, router)) = self.router.take() {
            router.end()?;
        }
        self.number += 1;
        let name = format!("router-{}", self.number);
        let url = self.server.url();
        let router = Router::start(&self.programs.1, &name, &url, &flags, &self.logs)?;
        self.router = Some((flags, router));
        Ok(())
    }

    /// Asks, and keeps both for the evidence.
    pub(crate) fn call(&mut self, report: &mut Report, ask: Ask) -> Result<Got, Failure> {
        report.call(&mut self.client, ask)
    }

    /// The newest request on this subject, as the gateway published it.
    pub(crate) fn published(
        &mut self,
        report: &mut Report,
        subject: &str,
    ) -> Result<Message, Failure> {
        self.wire.settle()?;
        let is_it = |m: &Message| m.subject == subject && m.reply.is_some();
        let found = self.wire.all(is_it).pop();
        let found = found.ok_or_else(|| Failure::new("no request is on the wire"))?;
        report.captured(&found);
        Ok(found)
    }

    pub(crate) fn metric(&self, name: &str, labels: &str) -> Result<u64, Failure> {
        self.gateway.metric(name, labels)
    }

    /// Publishes a status; returns when the gateway has read it.
    pub(crate) fn push(&mut self, subject: &str, body: &[u8]) -> Result<(), Failure> {
        let statuses = |bench: &Self| bench.metric("ipcgw_backpressure_statuses_total", "");
        let before = statuses(self)?;
        self.wire.publish(subject, body)?;
        eventually(SOON, "the gateway reads the status", || {
            Ok(statuses(self)? > before)
        })?;
        Ok(())
    }

    /// One more gateway, with this configuration.
    pub(crate) fn another_gateway(&mut self, configuration: &str) -> Result<Gateway, Failure> {
        self.number += 1;
        Gateway::start(&GatewayOptions {
            program: &self.programs.0,
            name: "gateway-more",
            url: &self.server.url(),
            configuration,
            dir: &self.dir.path().join(format!("gateway-{}", self.number)),
            logs: &self.logs,
            connections: 0,
        })
    }

    /// Ends everything and writes the verdict.
    pub(crate) fn finish(self, contract: &Path) -> Result<Verdict, Failure> {
        let (not_kept, error) = self.wire.losses();
        if let Some(error) = error {
            return Err(Failure::new(format_args!(
                "wire.jsonl is not whole: {error}"
            )));
        }
        let Self {
            artifact,
            client,
            gateway,
            router,
            ..
        } = self;
        drop((client, gateway, router));
        let text = format!(
            "`{}` against ipc-gateway with the reference Router. `wire.jsonl` has what crossed the \
             server ({not_kept} messages more were only counted), `logs/` what each process said.",
            contract.display()
        );
        let path = artifact.path().to_owned();
        let verdict = artifact.finish(&text).or_say("the evidence")?;
        let summary = path.join("SUMMARY.md");
        progress(&format!("{verdict}; see {}", summary.display()));
        Ok(verdict)
    }
}
