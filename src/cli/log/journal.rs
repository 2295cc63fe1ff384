//! Lines for the journal: each begins with its priority, as `sd-daemon(3)` has it, so that
//! `journalctl -p warning` finds it. The journal notes the time itself.

use std::env;
use std::fs::File;
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt as _;

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// Where systemd says which file is the journal: `DEVICE:INODE`.
const VARIABLE: &str = "JOURNAL_STREAM";

/// Whether standard error is the journal, and not something that it was redirected to.
pub(super) fn reads_stderr() -> bool {
    let Ok(named) = env::var(VARIABLE) else {
        return false;
    };
    let stderr = io::stderr();
    let file = stderr.as_fd().try_clone_to_owned().map(File::from);
    let metadata = file.and_then(|file| file.metadata());
    metadata.is_ok_and(|is| named == format!("{}:{}", is.dev(), is.ino()))
}

/// A format whose lines begin with their priority.
pub(super) struct Prioritized<F>(pub(super) F);

impl<S, N, F> FormatEvent<S, N> for Prioritized<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> core::fmt::Result {
        write!(writer, "<{}>", priority(*event.metadata().level()))?;
        self.0.format_event(context, writer, event)
    }
}

/// The priority of syslog that a level has.
fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        _ => 7,
    }
}
