//! Log lines: to standard error, by a thread of their own, so that a reader that has stopped
//! cannot stop the gateway. Lines that it does not take in time are dropped.

use std::io::{self, IsTerminal as _};

use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::Layer as _;
use tracing_subscriber::fmt;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::nats::witness;
use crate::settings::{LogFormat, LogSettings};

/// Lines that may wait to be written; more are dropped.
const WAITING: usize = 4096;

/// Begins to write log lines. They are written until the guard is dropped.
///
/// # Errors
/// When the filter is not one, or something else in this process has begun to log.
pub(super) fn start(settings: &LogSettings) -> io::Result<WorkerGuard> {
    let (writer, guard) = NonBlockingBuilder::default()
        .lossy(true)
        .buffered_lines_limit(WAITING)
        .thread_name("ipcgw-log")
        .finish(io::stderr());
    let filter = EnvFilter::try_new(&settings.filter).map_err(io::Error::other)?;
    let lines = fmt::layer()
        .with_writer(writer)
        .with_ansi(io::stderr().is_terminal())
        .log_internal_errors(false);
    // The witness hears what the filter leaves out of the log.
    let registry = tracing_subscriber::registry().with(witness());
    let begun = match settings.format {
        LogFormat::Text => registry.with(lines.with_filter(filter)).try_init(),
        LogFormat::Json => registry.with(lines.json().with_filter(filter)).try_init(),
    };
    begun.map_err(io::Error::other)?;
    Ok(guard)
}
