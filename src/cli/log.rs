//! Log lines: to standard error, by a thread of their own, so that a reader that has stopped
//! cannot stop the gateway. Lines that it does not take in time are dropped.

use std::io::{self, IsTerminal as _};

use tracing::{Level, Metadata};
use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::fmt;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::settings::{LogFormat, LogSettings};

/// Lines that may wait to be written; more are dropped.
const WAITING: usize = 4096;

/// Whether lines from here hold no payloads and no header values, whatever the filter says: at its
/// most talkative the client library of NATS writes out what it sends and receives.
fn shows_no_contents(line: &Metadata<'_>) -> bool {
    *line.level() != Level::TRACE || !line.target().starts_with("async_nats")
}

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
    let registry = tracing_subscriber::registry()
        .with(filter)
        .with(filter_fn(shows_no_contents));
    let begun = match settings.format {
        LogFormat::Text => registry.with(lines).try_init(),
        LogFormat::Json => registry.with(lines.json()).try_init(),
    };
    begun.map_err(io::Error::other)?;
    Ok(guard)
}
