//! The command line, and where the programs are.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};

/// Bytes that an event may leave behind, unless another limit is given.
pub(crate) const LIMIT: f64 = 0.5;

/// Runs ipc-gateway under checked load and faults, and judges what it did.
///
/// Without a subcommand: clients, gateway, nats-server and the reference Router as processes of
/// their own, for as long as asked. Everything measured goes to a directory of its own.
///
/// Exit codes: 0 passed, 1 failed, 2 usage, 3 inconclusive, 69 a program is missing.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "ipc-soak",
    version,
    max_term_width = 100,
    args_conflicts_with_subcommands = true
)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    pub(crate) soak: SoakArgs,
}

#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Command {
    /// A short run: one client is killed in the middle, and the others do not notice
    Scenario(ScenarioArgs),
    /// Counts what each kind of event leaves behind, in bytes
    Events(EventsArgs),
    #[command(hide = true)]
    Client(ClientArgs),
}

/// What a soak is.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct SoakArgs {
    /// How long to put load on it, such as 30m or 2h
    #[arg(long, value_name = "DURATION", default_value = "2h")]
    pub(crate) duration: Period,
    /// Client processes; the witness comes besides
    #[arg(long, value_name = "N", default_value = "8", value_parser = clap::value_parser!(u32).range(1..=256))]
    pub(crate) clients: u32,
    /// Requests a second of all clients; `max` keeps their windows full, `50%` measures the
    /// capacity first and offers that part of it
    #[arg(long, value_name = "N|max|P%", default_value = "50%")]
    pub(crate) rate: Rate,
    /// What is broken meanwhile
    #[arg(long, value_enum, default_value = "none")]
    pub(crate) faults: Level,
    /// Seed of the faults [default: chosen, and printed]
    #[arg(long, value_name = "NUMBER")]
    pub(crate) seed: Option<u64>,
    /// Time from one fault to the next [default: 30s, less in a short run]
    #[arg(long, value_name = "DURATION")]
    pub(crate) fault_every: Option<Period>,
    /// Time from one quiescent point to the next [default: 5m, less in a short run]
    #[arg(long, value_name = "DURATION")]
    pub(crate) quiesce: Option<Period>,
    /// Time to measure the capacity for, where a part of it is offered [default: 10s, less in a
    /// short run]
    #[arg(long, value_name = "DURATION")]
    pub(crate) measure: Option<Period>,
    /// Most requests in flight of each client
    #[arg(long, value_name = "W", default_value = "256", value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub(crate) window: u32,
    /// Bytes of each request
    #[arg(long, value_name = "BYTES", default_value = "256", value_parser = clap::value_parser!(u32).range(160..=65_536))]
    pub(crate) payload: u32,
    /// Time allowed for each request
    #[arg(long, value_name = "DURATION", default_value = "2s")]
    pub(crate) timeout: Period,
    /// Where the directory of the run is made
    #[arg(long, value_name = "DIR", default_value = "artifacts")]
    pub(crate) artifacts: PathBuf,
    /// Configuration file of the gateway
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) programs: Programs,
}

/// The short run.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ScenarioArgs {
    /// How long to put load on it, such as 10s or 5m
    #[arg(long, value_name = "DURATION", default_value = "10s")]
    pub(crate) duration: Period,
    /// Client processes; the first is killed in the middle
    #[arg(long, value_name = "N", default_value = "4", value_parser = clap::value_parser!(u32).range(2..=256))]
    pub(crate) clients: u32,
    /// Most requests in flight of each client
    #[arg(long, value_name = "W", default_value = "64", value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub(crate) window: u32,
    /// Bytes of each request
    #[arg(long, value_name = "BYTES", default_value = "256", value_parser = clap::value_parser!(u32).range(160..=65_536))]
    pub(crate) payload: u32,
    #[command(flatten)]
    pub(crate) programs: Programs,
}

/// The events.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct EventsArgs {
    /// Part of the counts to make, such as 0.01
    #[arg(long, value_name = "PART", default_value = "1", value_parser = part)]
    pub(crate) scale: f64,
    /// Requests that time out. These counts are for a gateway that counts what it allocates (feature
    /// counted); by resident memory, which swings by 2 MiB, ten times as many are needed
    #[arg(long, value_name = "N", default_value = "1000000")]
    pub(crate) timeouts: u64,
    /// Clients that attach and go
    #[arg(long, value_name = "N", default_value = "100000")]
    pub(crate) attaches: u64,
    /// Replies after their request has timed out
    #[arg(long, value_name = "N", default_value = "1000000")]
    pub(crate) late_replies: u64,
    /// Ends of the connections to NATS
    #[arg(long, value_name = "N", default_value = "200")]
    pub(crate) reconnects: u64,
    /// Sessions ended because their rings hold impossible values
    #[arg(long, value_name = "N", default_value = "100000")]
    pub(crate) violations: u64,
    /// Bytes that an event may leave behind
    #[arg(long, value_name = "BYTES", default_value_t = LIMIT)]
    pub(crate) limit: f64,
    /// Where the directory of the run is made
    #[arg(long, value_name = "DIR", default_value = "artifacts")]
    pub(crate) artifacts: PathBuf,
    #[command(flatten)]
    pub(crate) programs: Programs,
}

/// A client process.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ClientArgs {
    #[arg(long)]
    pub(crate) name: String,
    #[arg(long)]
    pub(crate) socket: PathBuf,
    #[arg(long)]
    pub(crate) window: u32,
    #[arg(long)]
    pub(crate) payload: u32,
    #[arg(long)]
    pub(crate) timeout: Period,
    #[arg(long)]
    pub(crate) history: Option<PathBuf>,
}

/// Where the programs are.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Programs")]
pub(crate) struct Programs {
    /// The gateway [default: ipc-gateway beside this program]
    #[arg(long, value_name = "PATH", env = "IPC_SOAK_GATEWAY")]
    gateway: Option<PathBuf>,
    /// The reference Router [default: reference-router beside this program]
    #[arg(long, value_name = "PATH", env = "IPC_SOAK_ROUTER")]
    router: Option<PathBuf>,
    /// The client that writes a history [default: history-client beside this program]
    #[arg(long, value_name = "PATH", env = "IPC_SOAK_HISTORY_CLIENT")]
    history_client: Option<PathBuf>,
    /// The proxy that breaks connections [default: fault-proxy beside this program]
    #[arg(long, value_name = "PATH", env = "IPC_SOAK_FAULT_PROXY")]
    fault_proxy: Option<PathBuf>,
    /// The client that breaks the rules [default: hostile-client beside this program]
    #[arg(long, value_name = "PATH", env = "IPC_SOAK_HOSTILE_CLIENT")]
    hostile_client: Option<PathBuf>,
    /// The NATS server
    #[arg(
        long,
        value_name = "PATH",
        env = "NATS_SERVER",
        default_value = "nats-server"
    )]
    pub(crate) nats_server: PathBuf,
}

impl Programs {
    /// The gateway's program.
    pub(crate) fn gateway(&self) -> std::io::Result<PathBuf> {
        beside(self.gateway.as_deref(), "ipc-gateway")
    }

    /// The program of the client that writes a history.
    pub(crate) fn history_client(&self) -> std::io::Result<PathBuf> {
        beside(self.history_client.as_deref(), "history-client")
    }

    /// The reference Router's program.
    pub(crate) fn router(&self) -> std::io::Result<PathBuf> {
        beside(self.router.as_deref(), "reference-router")
    }

    /// The program of the client that breaks the rules.
    pub(crate) fn hostile_client(&self) -> std::io::Result<PathBuf> {
        beside(self.hostile_client.as_deref(), "hostile-client")
    }

    /// The proxy's program.
    pub(crate) fn fault_proxy(&self) -> std::io::Result<PathBuf> {
        beside(self.fault_proxy.as_deref(), "fault-proxy")
    }
}

fn beside(given: Option<&Path>, name: &str) -> std::io::Result<PathBuf> {
    match given {
        Some(path) => Ok(path.to_owned()),
        None => Ok(std::env::current_exe()?.with_file_name(name)),
    }
}

/// How much is broken during a soak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Level {
    /// Nothing
    None,
    /// Clients are killed and stopped; some replies come late, twice or never
    Light,
    /// nats-server, the connections to it, the Router's load and the gateway besides
    Storm,
}

impl Level {
    /// The name on the command line.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Light => "light",
            Self::Storm => "storm",
        }
    }
}

/// How many requests are offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rate {
    /// So many a second.
    PerSecond(u64),
    /// As many as the windows allow.
    Max,
    /// A part of the capacity, in percent.
    Percent(u64),
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PerSecond(rate) => rate.fmt(f),
            Self::Max => f.write_str("max"),
            Self::Percent(percent) => write!(f, "{percent}%"),
        }
    }
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad =
            || "expected a number of requests a second, max, or a part such as 50%".to_owned();
        let positive = |text: &str| text.parse().ok().filter(|number: &u64| *number > 0);
        match (text, text.strip_suffix('%')) {
            ("max", _) => Ok(Self::Max),
            (_, Some(percent)) => positive(percent)
                .filter(|percent| *percent <= 100)
                .map(Self::Percent)
                .ok_or_else(bad),
            (number, None) => positive(number).map(Self::PerSecond).ok_or_else(bad),
        }
    }
}

fn part(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(part) if part > 0.0 && part <= 1000.0 => Ok(part),
        _ => Err("expected a number of more than 0, at most 1000".to_owned()),
    }
}

/// A time of more than zero: a whole number and `ms`, `s`, `m` or `h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Period(pub(crate) Duration);

impl FromStr for Period {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let factor = match unit {
            "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            _ => 0,
        };
        let millis = number.parse::<u64>().ok();
        millis
            .and_then(|count| count.checked_mul(factor))
            .filter(|millis| *millis > 0)
            .map(|millis| Self(Duration::from_millis(millis)))
            .ok_or_else(|| "expected a duration such as 500ms, 10s or 5m".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn a_period_needs_a_unit_and_is_not_zero() {
        let period: Period = "2m".parse().unwrap();
        assert_eq!(period.0, Duration::from_secs(120));
        for bad in ["", "5", "0s", "s", "1d", "99999999999999999999s"] {
            assert!(bad.parse::<Period>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_rate_is_a_number_or_a_part_or_the_most() {
        assert_eq!("max".parse(), Ok(Rate::Max));
        assert_eq!("50%".parse(), Ok(Rate::Percent(50)));
        assert_eq!("20000".parse(), Ok(Rate::PerSecond(20_000)));
        for text in ["max", "50%", "20000"] {
            assert_eq!(text.parse::<Rate>().unwrap().to_string(), text);
        }
        for bad in ["", "0", "0%", "101%", "%", "-1", "1.5"] {
            assert!(bad.parse::<Rate>().is_err(), "{bad}");
        }
    }
}
