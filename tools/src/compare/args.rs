//! The command line.

use core::time::Duration;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::crew::Times;
use crate::figures::Cell;
use crate::job::{Contender, Kind};
use ipc_tools::stage::Failure;

/// Compares ipc-gateway with other ways to do the same, in one run.
#[derive(Debug, Parser)]
#[command(name = "compare")]
pub(crate) struct Command {
    #[command(subcommand)]
    pub(crate) what: What,
}

#[derive(Debug, Subcommand)]
pub(crate) enum What {
    /// Through a real nats-server, which this starts
    Nats(NatsArgs),
    /// Between processes of this machine, without NATS
    Local(LocalArgs),
    /// A client process of a contender
    #[command(hide = true)]
    Client {
        /// The job, as JSON
        job: String,
    },
    /// What answers the requests of `nats`
    #[command(hide = true)]
    Responder {
        #[arg(long)]
        address: String,
        #[arg(long)]
        subject: String,
    },
    /// The gateway of the contender `uds`
    #[command(hide = true)]
    UdsGateway {
        #[arg(long)]
        socket: String,
        #[arg(long)]
        subject: String,
        /// The nats-server; without it requests are echoed
        #[arg(long)]
        address: Option<String>,
    },
    /// The other side of the contender `iceoryx2`
    #[cfg(feature = "iceoryx2")]
    #[command(hide = true)]
    Iceoryx2Server {
        #[arg(long)]
        name: String,
        #[arg(long)]
        kind: Kind,
        #[arg(long)]
        clients: usize,
        #[arg(long)]
        window: usize,
        #[arg(long)]
        payload: usize,
    },
}

/// How to run, whatever is compared.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// Bytes of a request
    #[arg(long, value_delimiter = ',', value_name = "BYTES", value_parser = positive)]
    pub(crate) payload: Vec<usize>,
    /// Client processes
    #[arg(long, value_delimiter = ',', value_name = "N", value_parser = positive)]
    pub(crate) clients: Vec<usize>,
    /// Requests in flight of each client
    #[arg(long, value_delimiter = ',', value_name = "W", value_parser = positive)]
    pub(crate) window: Vec<usize>,
    /// Every cell
    #[arg(long, conflicts_with_all = ["payload", "clients", "window"])]
    pub(crate) all: bool,
    /// Rounds; in each all contenders run in turn
    #[arg(long, default_value_t = 5, value_parser = positive)]
    pub(crate) rounds: usize,
    /// Seconds that count, of each run
    #[arg(long, default_value_t = 2.0)]
    pub(crate) seconds: f64,
    /// Seconds before them
    #[arg(long, default_value_t = 0.5)]
    pub(crate) warmup: f64,
    /// The gateway's program [default: ipc-gateway beside this program]
    #[arg(long, value_name = "PATH")]
    pub(crate) gateway: Option<PathBuf>,
    /// Print one JSON document with every round
    #[arg(long)]
    pub(crate) json: bool,
    /// Leave the document and whether each target was reached in a directory below this one
    #[arg(long, value_name = "DIR")]
    pub(crate) artifacts: Option<PathBuf>,
}

impl RunArgs {
    /// How long to run.
    ///
    /// # Errors
    /// The times are not times.
    pub(crate) fn times(&self) -> Result<Times, Failure> {
        let time = |seconds: f64| {
            Duration::try_from_secs_f64(seconds)
                .map_err(|_| Failure::Failed(format!("{seconds} seconds are no time")))
        };
        let counted = time(self.seconds)?;
        if counted.is_zero() {
            return Err(Failure::new("--seconds must be more than 0"));
        }
        Ok(Times {
            warmup: time(self.warmup)?,
            counted,
        })
    }

    /// All combinations of what is asked for; each list that is not given has its default.
    pub(crate) fn product(&self, defaults: [&[usize]; 3]) -> Vec<Cell> {
        let [payloads, clients, windows] = defaults;
        let or = |asked: &[usize], default: &[usize]| {
            if asked.is_empty() { default } else { asked }.to_vec()
        };
        let mut cells = Vec::new();
        for payload in or(&self.payload, payloads) {
            for clients in or(&self.clients, clients) {
                for window in or(&self.window, windows) {
                    cells.push(Cell {
                        payload,
                        clients,
                        window,
                    });
                }
            }
        }
        cells
    }

    /// Whether no cell is asked for.
    pub(crate) const fn is_default(&self) -> bool {
        !self.all && self.payload.is_empty() && self.clients.is_empty() && self.window.is_empty()
    }
}

fn positive(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number @ 1..=1_000_000) => Ok(number),
        _ => Err("a number from 1 to 1000000 is wanted".to_owned()),
    }
}

/// Compare through NATS.
#[derive(Debug, Args)]
#[command(after_help = "\
Without --payload, --clients and --window: 256 bytes with 1, 4, 16 and 64 clients of one request \
each, and 4 clients of 256. --all: 64, 256, 1024 and 16384 bytes, 1, 4, 16 and 64 clients, 1, 16 \
and 256 requests each.

Exit codes: 0 measured, 1 something failed or an answer was wrong or missing, 2 usage.")]
pub(crate) struct NatsArgs {
    #[command(flatten)]
    pub(crate) run: RunArgs,
    /// Who is compared
    #[arg(long, value_delimiter = ',', default_values_t = Contender::ALL, value_enum)]
    pub(crate) contenders: Vec<Contender>,
    /// The program nats-server
    #[arg(long, env = "NATS_SERVER", default_value = "nats-server")]
    pub(crate) nats_server: String,
}

impl NatsArgs {
    /// The cells to measure.
    pub(crate) fn cells(&self) -> Vec<Cell> {
        if self.run.all {
            let payloads = &[64, 256, 1024, 16_384];
            return self.run.product([payloads, &[1, 4, 16, 64], &[1, 16, 256]]);
        }
        let mut cells = self.run.product([&[256], &[1, 4, 16, 64], &[1]]);
        if self.run.is_default() {
            cells.push(Cell {
                payload: 256,
                clients: 4,
                window: 256,
            });
        }
        cells
    }
}

/// Who is compared without NATS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum LocalContender {
    /// ipc-gateway, which answers by itself
    Gateway,
    /// A Unix-domain socket and a process that echoes
    Uds,
    /// Request-response of iceoryx2 with a process that echoes
    #[cfg(feature = "iceoryx2")]
    Iceoryx2,
}

impl LocalContender {
    const ALL: &[Self] = &[
        Self::Gateway,
        Self::Uds,
        #[cfg(feature = "iceoryx2")]
        Self::Iceoryx2,
    ];

    pub(crate) const fn contender(self) -> Contender {
        match self {
            Self::Gateway => Contender::Gateway,
            Self::Uds => Contender::Uds,
            #[cfg(feature = "iceoryx2")]
            Self::Iceoryx2 => Contender::Iceoryx2,
        }
    }
}

/// Compare between processes of this machine.
#[derive(Debug, Args)]
#[command(after_help = "\
Without --payload, --clients and --window: 64 bytes, one client, 1, 16, 64 and 256 requests in \
flight. --all: 64, 256 and 1024 bytes, 1, 4, 16 and 64 clients as well. The kinds spinning and \
asleep have one client with one request, of each payload. iceoryx2 takes part when ipc-tools was \
built with --features iceoryx2, in cells with one client.

Exit codes: 0 measured, 1 something failed or an answer was wrong or missing, 2 usage.")]
pub(crate) struct LocalArgs {
    #[command(flatten)]
    pub(crate) run: RunArgs,
    /// Who is compared
    #[arg(
        long,
        value_delimiter = ',',
        default_values_t = LocalContender::ALL.iter().copied(),
        value_enum
    )]
    pub(crate) contenders: Vec<LocalContender>,
    /// How requests follow each other
    #[arg(long, value_delimiter = ',', default_values_t = Kind::ALL, value_enum)]
    pub(crate) kinds: Vec<Kind>,
}

impl LocalArgs {
    /// The cells to measure.
    pub(crate) fn cells(&self) -> Vec<(Kind, Cell)> {
        let windows = &[1, 16, 64, 256];
        let mut cells = Vec::new();
        for &kind in &self.kinds {
            let of_kind = match kind {
                Kind::Steady if self.run.all => {
                    let payloads = &[64, 256, 1024];
                    self.run.product([payloads, &[1, 4, 16, 64], windows])
                }
                Kind::Steady => self.run.product([&[64], &[1], windows]),
                Kind::Spinning | Kind::Asleep => {
                    let asked = self.run.product([&[64], &[1], &[1]]);
                    let mut payloads: Vec<usize> = asked.iter().map(|cell| cell.payload).collect();
                    payloads.dedup();
                    let cell = |payload| Cell {
                        payload,
                        clients: 1,
                        window: 1,
                    };
                    payloads.into_iter().map(cell).collect()
                }
            };
            cells.extend(of_kind.into_iter().map(|cell| (kind, cell)));
        }
        cells
    }

    /// Who can take part in such a cell: a socket cannot be made to spin, and iceoryx2 is compared
    /// between two processes.
    pub(crate) fn contenders_of(&self, kind: Kind, cell: Cell) -> Vec<LocalContender> {
        let takes_part = |contender: &LocalContender| match contender.contender() {
            Contender::Uds => kind != Kind::Spinning,
            Contender::Iceoryx2 => cell.clients == 1,
            _ => true,
        };
        let mut contenders = self.contenders.clone();
        contenders.retain(takes_part);
        contenders
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cells(line: &str) -> Vec<[usize; 3]> {
        let words = ["compare", "nats"]
            .into_iter()
            .chain(line.split_whitespace());
        let What::Nats(args) = Command::try_parse_from(words).unwrap().what else {
            panic!("not nats");
        };
        let cells = args.cells().into_iter();
        cells
            .map(|cell| [cell.payload, cell.clients, cell.window])
            .collect()
    }

    #[test]
    fn cells_are_all_combinations_or_a_sensible_few() {
        assert_eq!(cells("--payload 64 --clients 2 --window 4"), [[64, 2, 4]]);
        let two = [[64, 4, 1], [64, 4, 16]];
        assert_eq!(cells("--payload 64 --clients 4 --window 1,16"), two);
        assert_eq!(cells("").len(), 5);
        assert_eq!(cells("--all").len(), 48);
        assert_eq!(cells("--clients 16"), [[256, 16, 1]]);
    }

    #[test]
    fn round_trips_are_of_one_request_and_who_cannot_take_part_does_not() {
        let words = ["compare", "local", "--payload", "64,256", "--clients", "2"];
        let What::Local(args) = Command::try_parse_from(words).unwrap().what else {
            panic!("not local");
        };
        let cells = args.cells();
        assert_eq!(cells.len(), 8 + 2 + 2);
        for (kind, cell) in cells {
            let one = kind != Kind::Steady;
            assert!(!one || (cell.clients, cell.window) == (1, 1));
            let contenders = args.contenders_of(kind, cell);
            let has = |contender| contenders.iter().any(|one| one.contender() == contender);
            assert!(has(Contender::Gateway));
            assert_eq!(has(Contender::Uds), kind != Kind::Spinning);
            assert_eq!(has(Contender::Iceoryx2), one && cfg!(feature = "iceoryx2"));
        }
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for line in [
            "--payload 0",
            "--clients x",
            "--all --window 1",
            "--contenders me",
        ] {
            let words = ["compare", "nats"]
                .into_iter()
                .chain(line.split_whitespace());
            assert!(Command::try_parse_from(words).is_err(), "{line}");
        }
    }
}
