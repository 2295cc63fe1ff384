//! Log lines: to standard error, by a thread of their own, so that a reader that has stopped
//! cannot stop the gateway. Lines that it does not take in time are dropped.

use std::io::{self, IsTerminal as _, Write};
use std::sync::Arc;

use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::FilterExt as _;
use tracing_subscriber::fmt;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt as _;

mod journal;
mod sites;

use self::journal::Prioritized;
use self::sites::Sites;
use crate::log_level::LogLevel;
use crate::metrics::Counter;
use crate::metrics::log::LogMetrics;
use crate::settings::{LogFormat, LogSettings};

/// Lines that may wait to be written; more are dropped.
const WAITING: usize = 4096;

/// Standard error, whose failures are counted and nothing else: a full disk is no reason to stop.
struct Counted {
    failed: Arc<Counter>,
}

impl Write for Counted {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if io::stderr().write_all(line).is_err() {
            self.failed.increment();
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The log, once it has begun.
pub(super) struct Log {
    /// Lines are written until this is dropped.
    pub(super) guard: WorkerGuard,
    /// Counts the lines that were not written.
    pub(super) metrics: Arc<LogMetrics>,
    /// Changes what is logged.
    pub(super) level: LogLevel,
}

/// Begins to write log lines.
///
/// # Errors
/// When the filter is not one, or something else in this process has begun to log.
pub(super) fn start(settings: &LogSettings) -> io::Result<Log> {
    let failed = Arc::new(Counter::default());
    let (writer, guard) = NonBlockingBuilder::default()
        .lossy(true)
        .buffered_lines_limit(WAITING)
        .thread_name("ipcgw-log")
        .finish(Counted {
            failed: Arc::clone(&failed),
        });
    let dropped = writer.error_counter();
    let dropped = move || u64::try_from(dropped.dropped_lines()).unwrap_or(u64::MAX);
    let filter = EnvFilter::try_new(&settings.filter).map_err(io::Error::other)?;
    let (filter, handle) = reload::Layer::new(filter);
    let suppressed = Arc::new(Counter::default());
    let filter = filter.and(Sites::new(Arc::clone(&suppressed)));
    let lines = fmt::layer()
        .with_writer(writer)
        .with_ansi(io::stderr().is_terminal())
        .log_internal_errors(false);
    let registry = tracing_subscriber::registry();
    let begun = match (settings.format, journal::reads_stderr()) {
        (LogFormat::Text, false) => registry.with(lines.with_filter(filter)).try_init(),
        (LogFormat::Json, false) => registry.with(lines.json().with_filter(filter)).try_init(),
        (LogFormat::Text, true) => {
            let lines = lines.without_time().map_event_format(Prioritized);
            registry.with(lines.with_filter(filter)).try_init()
        }
        (LogFormat::Json, true) => {
            let lines = lines.json().map_event_format(Prioritized);
            registry.with(lines.with_filter(filter)).try_init()
        }
    };
    begun.map_err(io::Error::other)?;
    Ok(Log {
        guard,
        metrics: Arc::new(LogMetrics::new(failed, suppressed, dropped)),
        level: LogLevel::new(handle),
    })
}
