//! What is logged, while the gateway runs: a handle to the filter of the log lines.

use core::fmt;
use std::sync::Arc;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::reload::Handle;

/// Changes the filter of the log lines of a running gateway. Cheap to clone.
#[derive(Clone)]
pub struct LogLevel(Arc<dyn Fn(EnvFilter) -> Result<(), LogLevelError> + Send + Sync>);

/// Why the filter was not changed. The one before it still holds.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LogLevelError {
    /// The text is not a filter: whoever wrote it has to correct it.
    #[error("log.filter {filter:?} is not one: {reason}")]
    NotAFilter {
        /// The text.
        filter: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Nothing is logged any more: the process is about to end.
    #[error("the log has ended: {0}")]
    Ended(String),
}

impl LogLevel {
    /// A handle to the filter behind `handle`.
    #[must_use]
    pub fn new<S: 'static>(handle: Handle<EnvFilter, S>) -> Self {
        Self(Arc::new(move |filter| {
            let changed = handle.reload(filter);
            changed.map_err(|error| LogLevelError::Ended(error.to_string()))
        }))
    }

    /// A handle to nothing, for tests and tools that do not log: it checks the text only.
    #[must_use]
    pub fn detached() -> Self {
        Self(Arc::new(|_| Ok(())))
    }

    /// Whether a text is a filter, as [`set`](Self::set) would find it.
    ///
    /// # Errors
    /// [`LogLevelError::NotAFilter`].
    pub fn check(filter: &str) -> Result<(), LogLevelError> {
        parse(filter).map(drop)
    }

    /// Makes `filter` (as in `RUST_LOG`, such as `info,ipc_gateway=debug`) the one that holds, for
    /// every thread, before this returns.
    ///
    /// # Errors
    /// [`LogLevelError`]; nothing has changed then.
    pub fn set(&self, filter: &str) -> Result<(), LogLevelError> {
        (self.0)(parse(filter)?)
    }
}

impl fmt::Debug for LogLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogLevel").finish_non_exhaustive()
    }
}

fn parse(filter: &str) -> Result<EnvFilter, LogLevelError> {
    EnvFilter::try_new(filter).map_err(|error| LogLevelError::NotAFilter {
        filter: filter.to_owned(),
        reason: error.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::Mutex;

    use tracing_subscriber::layer::SubscriberExt as _;
    use tracing_subscriber::{Layer as _, fmt, registry, reload};

    use super::*;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn the_filter_changes_at_once_and_a_wrong_one_changes_nothing() {
        let written = Written::default();
        let (filter, handle) = reload::Layer::new(EnvFilter::new("warn"));
        let level = LogLevel::new(handle);
        let writer = written.clone();
        let lines = fmt::layer().with_writer(move || writer.clone());
        let subscriber = registry().with(lines.with_filter(filter));
        tracing::subscriber::with_default(subscriber, || {
            let say = |text: &str| tracing::debug!("{text}");
            say("first");
            level.set("debug").unwrap();
            say("second");
            let refused = level.set("debug,=nonsense=").unwrap_err();
            assert!(refused.to_string().contains("nonsense"), "{refused}");
            say("third");
            level.set("error").unwrap();
            say("fourth");
        });
        let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        let said = |word| text.contains(word);
        assert_eq!(
            ["first", "second", "third", "fourth"].map(said),
            [false, true, true, false],
            "{text}"
        );
        assert!(matches!(level.set("info"), Err(LogLevelError::Ended(_))));
    }

    #[test]
    fn a_text_is_checked_without_a_log() {
        LogLevel::check("info,ipc_gateway=warn").unwrap();
        LogLevel::detached().set("trace").unwrap();
        LogLevel::check("info,a=b=c").unwrap_err();
    }
}
