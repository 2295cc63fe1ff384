//! What can be typed after `top`.
#![expect(
    clippy::doc_markdown,
    reason = "the doc comments are the program's help and are printed as they stand"
)]

use core::time::Duration;

use clap::Args;

use super::sessions::Column;
use crate::config::parse_duration;

/// `top`
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  ipc-gateway top
  ipc-gateway top --sort p99 --interval 500ms
  ipc-gateway top --once | head -20
  ipc-gateway top --json --once | jq .totals.completed_per_second

Keys: q quits, / filters, space pauses, < and > choose the column to sort by, r reverses,
+ and - change the interval, arrows, page up, page down, home and end scroll.
Exit codes: 0 ok, 1 cannot write, 2 usage, 69 not reachable, 71 no threads or signals, 77 not
permitted.")]
pub struct TopArgs {
    /// Admin address of the gateway: a path, or ADDRESS:PORT [env: IPC_GATEWAY_ADMIN] [default:
    /// admin.sock beside the socket].
    #[arg(long, value_name = "PATH|ADDR", conflicts_with = "socket")]
    pub admin: Option<String>,

    /// Socket of the gateway, whose admin.sock lies beside it [env: IPC_GATEWAY_SOCKET].
    #[arg(long, value_name = "PATH")]
    pub socket: Option<String>,

    /// Time between two looks, 100ms to 10s.
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = interval)]
    pub interval: Duration,

    /// Column to sort the sessions by.
    #[arg(long, value_name = "COLUMN", default_value = "rate")]
    pub sort: Column,

    /// Print one view as text, with rates over one interval, and end.
    #[arg(long)]
    pub once: bool,

    /// Print one JSON object for each interval in place of the view.
    #[arg(long)]
    pub json: bool,
}

/// Shortest and longest time between two looks. A gateway that is not looked at for 15 s stops
/// counting what only those who look want to know.
pub(super) const INTERVALS: (Duration, Duration) =
    (Duration::from_millis(100), Duration::from_secs(10));

fn interval(text: &str) -> Result<Duration, String> {
    let interval = parse_duration(text)?;
    if interval < INTERVALS.0 || interval > INTERVALS.1 {
        return Err("must be 100ms to 10s".to_owned());
    }
    Ok(interval)
}
