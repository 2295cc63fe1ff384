//! `compare nats`: all contenders through a real nats-server, cell by cell, in turn in each round.

use std::path::PathBuf;

use crate::args::NatsArgs;
use crate::crew::{self, Roles, Times};
use crate::figures::{Cell, Comparison, Figures, Summary};
use crate::job::{Contender, Job, Kind};
use crate::machine::Machine;
use crate::report::Document;
use crate::server::{
    NatsServer, ROUTE, SUBJECT, Upstream, gateway_beside, start_gateway, start_responder,
    start_uds_gateway,
};
use crate::{cpu, probe, progress};
use ipc_tools::stage::Process;
use ipc_tools::stage::{Failure, While as _};

/// Runs all cells.
///
/// # Errors
/// Something cannot start, or an answer was wrong or missing.
pub(crate) fn run(args: &NatsArgs) -> Result<Document, Failure> {
    cpu::check()?;
    let machine = Machine::look(Some(&args.nats_server));
    let stage = Stage::set(args)?;
    let mut comparisons = Vec::new();
    for cell in args.cells() {
        comparisons.push(stage.compare(cell)?);
    }
    Ok(Document {
        machine,
        rounds: args.run.rounds,
        seconds: args.run.seconds,
        warmup: args.run.warmup,
        best: Vec::new(),
        cells: comparisons,
    })
}

/// What the contenders share.
struct Stage<'a> {
    args: &'a NatsArgs,
    times: Times,
    gateway: PathBuf,
    // In the order in which they end.
    responder: Process,
    server: NatsServer,
    dir: tempfile::TempDir,
}

impl<'a> Stage<'a> {
    fn set(args: &'a NatsArgs) -> Result<Self, Failure> {
        let dir = tempfile::tempdir().or_say("cannot make a directory")?;
        let server = NatsServer::start(&args.nats_server, dir.path())?;
        let responder = start_responder(&server.address)?;
        let gateway = args.run.gateway.clone();
        Ok(Self {
            args,
            times: args.run.times()?,
            gateway: gateway.map_or_else(gateway_beside, Ok)?,
            responder,
            server,
            dir,
        })
    }

    /// All rounds of one cell.
    fn compare(&self, cell: Cell) -> Result<Comparison, Failure> {
        let contenders = &self.args.contenders;
        let mut rounds: Vec<Vec<Figures>> = vec![Vec::new(); contenders.len()];
        for round in 1..=self.args.run.rounds {
            for (&contender, figures) in contenders.iter().zip(&mut rounds) {
                let what = format!(
                    "{} B, {} x {}, round {round}, {}",
                    cell.payload,
                    cell.clients,
                    cell.window,
                    contender.name()
                );
                progress(&what);
                figures.push(self.measure(cell, contender).or_say(what)?);
            }
        }
        let names = contenders.iter().map(|contender| contender.name());
        let summaries = names
            .zip(rounds)
            .map(|(name, rounds)| Summary::new(name, rounds))
            .collect();
        let subject = Contender::Gateway.name();
        Ok(Comparison::new(cell, Kind::Steady, summaries, subject))
    }

    /// One run of one contender.
    fn measure(&self, cell: Cell, contender: Contender) -> Result<Figures, Failure> {
        let server = self.server.address.as_str();
        let socket = self.dir.path().join(contender.name());
        let gateway = match contender {
            Contender::Gateway | Contender::GatewayUnique => {
                let once = contender == Contender::Gateway;
                let upstream = Upstream::Nats { server, once };
                Some(start_gateway(&self.gateway, &socket, upstream, "")?)
            }
            Contender::Uds => Some(start_uds_gateway(&socket, Some(server))?),
            _ => None,
        };
        let roles = Roles {
            gateway: gateway.as_ref().map(Process::pid),
            server: Some(self.server.process.pid()),
            responder: Some(self.responder.pid()),
        };
        let address = match gateway {
            Some(_) => socket.display().to_string(),
            None => server.to_owned(),
        };
        let subject = match contender {
            Contender::Gateway | Contender::GatewayUnique => ROUTE,
            _ => SUBJECT,
        };
        let (processes, window) = if contender.is_single() {
            (1, cell.clients * cell.window)
        } else {
            (cell.clients, cell.window)
        };
        let jobs: Vec<Job> = (0..processes)
            .map(|number| Job {
                contender,
                kind: Kind::Steady,
                address: address.clone(),
                subject: subject.to_owned(),
                number,
                window,
                payload: cell.payload,
            })
            .collect();
        let times = self.times.for_bytes(cell.bytes());
        let figures = crew::measure(&jobs, roles, times, probe::cache_line_ns);
        drop(gateway);
        std::fs::remove_file(&socket).ok();
        figures
    }
}
