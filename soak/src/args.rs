//! The command line, and where the programs are.

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use clap::Parser;

/// Runs ipc-gateway under checked load and faults.
///
/// Exit codes: 0 every promise held, 1 not, 2 usage, 130 interrupted.
#[derive(Clone, Debug, Parser)]
#[command(name = "ipc-soak", version, max_term_width = 100)]
pub(crate) struct Args {
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
    /// The gateway [default: ipc-gateway beside this program]
    #[arg(long, value_name = "PATH", env = "IPC_SOAK_GATEWAY")]
    gateway: Option<PathBuf>,
    /// The reference Router [default: reference-router beside this program]
    #[arg(long, value_name = "PATH", env = "IPC_SOAK_ROUTER")]
    router: Option<PathBuf>,
    /// The client that writes a history [default: history-client beside this program]
    #[arg(long, value_name = "PATH", env = "IPC_SOAK_HISTORY_CLIENT")]
    history_client: Option<PathBuf>,
    /// The NATS server
    #[arg(
        long,
        value_name = "PATH",
        env = "NATS_SERVER",
        default_value = "nats-server"
    )]
    pub(crate) nats_server: PathBuf,
    /// Be the client process of this name
    #[arg(long, hide = true, requires = "socket")]
    pub(crate) client: Option<String>,
    /// The gateway's socket, for a client process
    #[arg(long, hide = true)]
    pub(crate) socket: Option<PathBuf>,
}

impl Args {
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
}

fn beside(given: Option<&Path>, name: &str) -> std::io::Result<PathBuf> {
    match given {
        Some(path) => Ok(path.to_owned()),
        None => Ok(std::env::current_exe()?.with_file_name(name)),
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
}
