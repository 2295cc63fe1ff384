//! `compare local`: what a request costs between processes of this machine, without NATS. The
//! gateway answers by itself, the Unix-socket baseline and iceoryx2's server echo.

use std::path::PathBuf;

use crate::args::{LocalArgs, LocalContender};
use crate::crew::{self, Roles, Times};
use crate::figures::{Best, Cell, Comparison, Figures, Summary};
use crate::job::{Contender, Job, Kind};
use crate::machine::Machine;
use crate::report::Document;
use crate::server::{ROUTE, Upstream, gateway_beside, start_gateway, start_uds_gateway};
use crate::{cpu, probe, progress};
use ipc_tools::stage::Process;
use ipc_tools::stage::{Failure, While as _};

/// Lines of the gateway's configuration that make its worker look without pause, on the last core, which
/// is its own by that.
const SPINNING: &str = "count = 1\nthreads = \"split\"\npin = true\nspin = \"10ms\"";

/// Runs all cells.
///
/// # Errors
/// Something cannot start, or an answer was wrong or missing.
pub(crate) fn run(args: &LocalArgs) -> Result<Document, Failure> {
    cpu::check()?;
    let stage = Stage {
        args,
        times: args.run.times()?,
        gateway: args.run.gateway.clone().map_or_else(gateway_beside, Ok)?,
        dir: tempfile::tempdir().or_say("cannot make a directory")?,
    };
    let mut cells = Vec::new();
    for (kind, cell) in args.cells() {
        let contenders = args.contenders_of(kind, cell);
        if !contenders.is_empty() {
            cells.push(stage.compare(kind, cell, &contenders)?);
        }
    }
    let (own, other) = (Contender::Gateway.name(), Contender::Iceoryx2.name());
    Ok(Document {
        machine: Machine::look(None),
        rounds: args.run.rounds,
        seconds: args.run.seconds,
        warmup: args.run.warmup,
        best: Best::of(&cells, own, other),
        cells,
    })
}

/// What the contenders share.
struct Stage<'a> {
    args: &'a LocalArgs,
    times: Times,
    gateway: PathBuf,
    dir: tempfile::TempDir,
}

impl Stage<'_> {
    /// All rounds of one cell.
    fn compare(
        &self,
        kind: Kind,
        cell: Cell,
        contenders: &[LocalContender],
    ) -> Result<Comparison, Failure> {
        let mut rounds: Vec<Vec<Figures>> = vec![Vec::new(); contenders.len()];
        for round in 1..=self.args.run.rounds {
            for (contender, figures) in contenders.iter().zip(&mut rounds) {
                let contender = contender.contender();
                let what = format!(
                    "{kind:?}, {} B, {} x {}, round {round}, {}",
                    cell.payload,
                    cell.clients,
                    cell.window,
                    contender.name()
                );
                progress(&what);
                figures.push(self.measure(kind, cell, contender).or_say(what)?);
            }
        }
        let names = contenders
            .iter()
            .map(|contender| contender.contender().name());
        let summaries = names
            .zip(rounds)
            .map(|(name, rounds)| Summary::new(name, rounds))
            .collect();
        let subject = Contender::Gateway.name();
        Ok(Comparison::new(cell, kind, summaries, subject))
    }

    /// One run of one contender.
    fn measure(&self, kind: Kind, cell: Cell, contender: Contender) -> Result<Figures, Failure> {
        let socket = self.dir.path().join(contender.name());
        let gateway = match contender {
            Contender::Uds => start_uds_gateway(&socket, None)?,
            #[cfg(feature = "iceoryx2")]
            Contender::Iceoryx2 => crate::server::start_iceoryx2(&service_name(), kind, cell)?,
            _ => {
                let workers = match kind {
                    Kind::Spinning => SPINNING,
                    Kind::Steady | Kind::Asleep => "",
                };
                start_gateway(&self.gateway, &socket, Upstream::Loopback, workers)?
            }
        };
        let roles = Roles {
            gateway: Some(gateway.pid()),
            ..Roles::default()
        };
        let address = if contender == Contender::Iceoryx2 {
            service_name()
        } else {
            socket.display().to_string()
        };
        let jobs: Vec<Job> = (0..cell.clients)
            .map(|number| Job {
                contender,
                kind,
                address: address.clone(),
                subject: ROUTE.to_owned(),
                number,
                window: cell.window,
                payload: cell.payload,
            })
            .collect();
        let times = self.times.for_bytes(cell.bytes());
        let figures = match kind {
            Kind::Steady | Kind::Spinning => {
                crew::measure(&jobs, roles, times, probe::cache_line_ns)
            }
            Kind::Asleep => crew::measure(&jobs, roles, times, probe::wake_up_ns),
        };
        drop::<Process>(gateway);
        std::fs::remove_file(&socket).ok();
        figures
    }
}

/// The name of iceoryx2's service: this process's own.
fn service_name() -> String {
    format!("ipc-gateway/compare/{}", std::process::id())
}
