//! Log lines: to standard error, by a thread of their own, so that a reader that has stopped
//! cannot stop the gateway. Lines that it does not take in time are dropped.

use std::io::{self, IsTerminal as _, Write};
use std::mem::ManuallyDrop;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use tracing_appender::non_blocking::{NonBlocking, NonBlockingBuilder, WorkerGuard};
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
/// A line that is not written: when its turn comes, every line before it has been.
const MARK: &[u8] = b"";
/// How often a mark is put among the lines that are to be written at the end, and how long each is
/// waited for.
const MARKS: usize = 12;
const MARK_PATIENCE: Duration = Duration::from_millis(100);

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

/// Where lines go, but for marks.
struct Marked<W> {
    to: W,
    /// Told of each mark.
    marked: Sender<()>,
}

impl<W: Write> Write for Marked<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.write_all(line)?;
        Ok(line.len())
    }

    fn write_all(&mut self, line: &[u8]) -> io::Result<()> {
        if line != MARK {
            return self.to.write_all(line);
        }
        // Nobody waits for it any more when that took too long.
        self.marked.send(()).ok();
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// The log, once it has begun.
pub(super) struct Log {
    /// The lines that wait to be written.
    pub(super) waiting: Lines,
    /// Counts the lines that were not written.
    pub(super) metrics: Arc<LogMetrics>,
    /// Changes what is logged.
    pub(super) level: LogLevel,
}

/// Lines that wait to be written.
pub(super) struct Lines {
    writer: NonBlocking,
    marked: Receiver<()>,
    /// Never dropped: when the lines are not taken, that writes to standard output, where the reader
    /// may have stopped too, or gone.
    _guard: ManuallyDrop<WorkerGuard>,
}

impl Lines {
    /// None yet. At most `limit` wait until they are written there, on a thread of their own.
    fn to(to: impl Write + Send + 'static, limit: usize) -> Self {
        let (sender, marked) = channel();
        let (writer, guard) = NonBlockingBuilder::default()
            .lossy(true)
            .buffered_lines_limit(limit)
            .thread_name("ipcgw-log")
            .finish(Marked { to, marked: sender });
        Self {
            writer,
            marked,
            _guard: ManuallyDrop::new(guard),
        }
    }

    /// Waits until they are written, but not long: their reader may have stopped.
    pub(super) fn flush(&mut self) {
        for _ in 0..MARKS {
            // One for which there is no room is dropped, as a line would be.
            self.writer.write_all(MARK).ok();
            if self.marked.recv_timeout(MARK_PATIENCE).is_ok() {
                return;
            }
        }
    }
}

/// Begins to write log lines.
///
/// # Errors
/// When the filter is not one, or something else in this process has begun to log.
pub(super) fn start(settings: &LogSettings) -> io::Result<Log> {
    let failed = Arc::new(Counter::default());
    let counted = Counted {
        failed: Arc::clone(&failed),
    };
    let waiting = Lines::to(counted, WAITING);
    let writer = waiting.writer.clone();
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
        waiting,
        metrics: Arc::new(LogMetrics::new(failed, suppressed, dropped)),
        level: LogLevel::new(handle),
    })
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, pipe};
    use std::time::Instant;

    use super::*;

    #[test]
    fn what_waits_is_written_when_the_wait_for_it_is_over() {
        let (mut reader, writer) = pipe().unwrap();
        let mut lines = Lines::to(writer, WAITING);
        for _ in 0..1000 {
            lines.writer.write_all(b"line\n").unwrap();
        }
        lines.flush();
        let mut text = [0; 5000];
        assert_eq!(reader.read(&mut text).unwrap(), 5000);
    }

    #[test]
    fn a_reader_that_has_stopped_is_not_waited_for_with_a_full_queue_either() {
        let (_reader, writer) = pipe().unwrap();
        // More than a pipe holds.
        let more = vec![b'x'; 2 << 20];
        for limit in [WAITING, 1] {
            let mut lines = Lines::to(writer.try_clone().unwrap(), limit);
            for _ in 0..3 {
                lines.writer.write_all(&more).unwrap();
            }
            let begun = Instant::now();
            lines.flush();
            drop(lines);
            assert!(begun.elapsed() < Duration::from_secs(5));
        }
    }
}
