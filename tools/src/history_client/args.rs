//! The command line.

use std::path::PathBuf;

use clap::Parser;

/// Sends decide requests through a gateway and writes a history for check-history.
///
/// It prints `attached`, sends until its standard input ends or it has sent `--count`, waits for
/// what is outstanding and ends. A gateway that ends is waited for, and its successor used.
#[derive(Clone, Debug, Parser)]
#[command(name = "history-client", version)]
pub(crate) struct Args {
    /// The gateway's socket
    #[arg(long, value_name = "PATH")]
    pub(crate) socket: PathBuf,
    /// Where the history goes
    #[arg(long, value_name = "FILE")]
    pub(crate) history: PathBuf,
    /// The client's name: requests have the ids NAME-0, NAME-1, ...
    #[arg(long, default_value = "c0")]
    pub(crate) name: String,
    /// Tenant of the requests
    #[arg(long, default_value = "acme")]
    pub(crate) tenant: String,
    /// The route
    #[arg(long, default_value = "decide")]
    pub(crate) route: String,
    /// Most requests outstanding, 1 to 65536
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=65536))]
    pub(crate) window: u32,
    /// Requests a second, as far as the window allows; without it, as many as the window allows
    #[arg(long, value_name = "PER_SECOND", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rate: Option<u32>,
    /// Bytes of a request
    #[arg(long, value_name = "BYTES", default_value_t = 256)]
    pub(crate) payload: u32,
    /// Time allowed for a request
    #[arg(long, value_name = "DURATION", default_value = "2s")]
    pub(crate) timeout: humantime::Duration,
    /// Requests to send
    #[arg(long, value_name = "N")]
    pub(crate) count: Option<u64>,
    /// How long a submission waits for a gateway that has ended; without it, not at all
    #[arg(long, value_name = "DURATION")]
    pub(crate) reattach: Option<humantime::Duration>,
    /// Give each request an idempotency key
    #[arg(long)]
    pub(crate) idempotent: bool,
}
