//! What can be typed after `bench`.
#![expect(
    clippy::doc_markdown,
    reason = "the doc comments are the program's help and are printed as they stand"
)]

use core::time::Duration;

use clap::{Args, ValueEnum};
use ipc_ringbuf::WaitStrategy;
use serde::{Deserialize, Serialize};

use crate::cli::args::{payload_size, timeout};

/// How clients wait for completions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wait {
    /// Yielding while that is worth its time, then asleep.
    #[default]
    Adaptive,
    /// Asleep at once.
    Park,
    /// Looking without a pause.
    Spin,
}

impl From<Wait> for WaitStrategy {
    fn from(wait: Wait) -> Self {
        match wait {
            Wait::Adaptive => Self::Adaptive,
            Wait::Park => Self::Park,
            Wait::Spin => Self::Spin,
        }
    }
}

/// `bench`
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  ipc-gateway bench --clients 4 --window 256 --duration 30s
  ipc-gateway bench --rate 20000/s --json

Without --rate each client keeps its window full. With --rate the latency counts from the moment
when a request should have been sent, so that a stall is not hidden.
Exit codes: 0 all ANSWERED/OK, 1 otherwise, 2 usage, 69 gateway not reachable, 70 a fault of the
program, 71 system error, 77 not permitted.")]
pub struct BenchArgs {
    /// Socket of the gateway [env: IPC_GATEWAY_SOCKET] [default: as for serve].
    #[arg(long, value_name = "PATH")]
    pub socket: Option<String>,

    /// Route to call.
    #[arg(long, value_name = "ROUTE", default_value = "decide")]
    pub route: String,

    /// Number of client processes.
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub clients: u32,

    /// Run the clients as threads of one process.
    #[arg(long)]
    pub threads: bool,

    /// Most requests in flight in each client.
    #[arg(long, value_name = "W", default_value = "64", value_parser = clap::value_parser!(u32).range(1..=32_768))]
    pub window: u32,

    /// Bytes of each payload, such as 256 or 4KiB.
    #[arg(long, value_name = "SIZE", default_value = "256", value_parser = payload_size)]
    pub payload: u32,

    /// Requests per second of all clients together [default: as fast as answers come].
    #[arg(long, value_name = "RATE", value_parser = rate)]
    pub rate: Option<u64>,

    /// With --rate: so many requests at a time, all due at the same moment.
    #[arg(long, value_name = "N", default_value = "1", requires = "rate", value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub burst: u32,

    /// How clients wait for completions: yielding the processor while that is worth its time, asleep at
    /// once, or looking without a pause.
    #[arg(long, value_name = "HOW", default_value = "adaptive")]
    pub wait: Wait,

    /// Time allowed for each request [default: the route's]. The report then counts what was
    /// answered OK within it, and says how soon the others were rejected.
    #[arg(long, value_name = "DURATION", value_parser = timeout)]
    pub timeout: Option<Duration>,

    /// With --rate: give a request up that is due while the window is full, in place of sending it
    /// late.
    #[arg(long, requires = "rate")]
    pub no_wait: bool,

    /// How long to measure.
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = timeout)]
    pub duration: Duration,

    /// Print one JSON object in place of text.
    #[arg(long)]
    pub json: bool,
}

fn rate(text: &str) -> Result<u64, String> {
    let number = text.strip_suffix("/s").unwrap_or(text).parse().ok();
    number
        .filter(|rate| *rate > 0)
        .ok_or_else(|| "expected requests per second, such as 20000 or 20000/s".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::args::{Cli, Command};
    use crate::cli::exit::Exit;

    #[test]
    fn the_help_names_the_exit_codes() {
        let words = ["ipc-gateway", "bench", "--help"];
        let help = Cli::try_parse_from(words).unwrap_err().to_string();
        let (_, codes) = help.split_once("Exit codes:").unwrap();
        for exit in [
            Exit::Ok,
            Exit::Failure,
            Exit::Usage,
            Exit::Unavailable,
            Exit::Software,
            Exit::OsError,
            Exit::NoPermission,
        ] {
            let code = (exit as u8).to_string();
            let mut words = codes.split_whitespace();
            assert!(words.any(|word| word == code), "{code} in {codes}");
        }
    }

    #[test]
    fn bench_reads_rates_sizes_and_durations() {
        let line = "bench --rate 20000/s --burst 100 --wait park --payload 4KiB --duration 1m --threads --json";
        let words = ["ipc-gateway"].into_iter().chain(line.split(' '));
        let Command::Bench(args) = Cli::try_parse_from(words).unwrap().command else {
            panic!("not a bench");
        };
        assert_eq!(args.rate, Some(20_000));
        assert_eq!((args.burst, args.wait), (100, Wait::Park));
        assert_eq!(args.payload, 4096);
        assert_eq!(args.duration, Duration::from_secs(60));
        assert!(args.threads && args.json);
    }
}
