//! What is shown while a run goes on: on a terminal a line that stays, elsewhere one now and then.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use crate::series::Series;

/// Time between two lines where each one stays.
const EVERY: Duration = Duration::from_secs(10);

/// The line.
#[derive(Debug)]
pub(crate) struct Progress {
    duration: Duration,
    is_terminal: bool,
    said: Option<Instant>,
    note: &'static str,
}

impl Progress {
    /// Of a run of this length.
    pub(crate) fn new(duration: Duration) -> Self {
        Self {
            duration,
            is_terminal: io::stderr().is_terminal(),
            said: None,
            note: "",
        }
    }

    /// Names what has happened last.
    pub(crate) const fn note(&mut self, what: &'static str) {
        self.note = what;
    }

    /// Shows how far it is.
    pub(crate) fn show(&mut self, elapsed: Duration, series: &Series) {
        if !self.is_terminal && self.said.is_some_and(|said| said.elapsed() < EVERY) {
            return;
        }
        self.said = Some(Instant::now());
        let Some(row) = series.rows.last() else {
            return;
        };
        let left = self.duration.saturating_sub(elapsed);
        let memory = row.usage.map_or(0, |usage| usage.resident) >> 10;
        let line = format!(
            "{} of {}, {} left  {}/s  p99 {} us  resident {memory} KiB  {} requests  {}",
            clock(elapsed),
            clock(self.duration),
            clock(left),
            row.done,
            row.latency.get(1).copied().unwrap_or(0),
            series.total.sent,
            core::mem::take(&mut self.note),
        );
        if self.is_terminal {
            // Clears what was there.
            write!(io::stderr(), "\r\x1b[K{line}").ok();
        } else {
            writeln!(io::stderr(), "{line}").ok();
        }
    }

    /// Says something that stays.
    pub(crate) fn say(&self, text: &str) {
        let start = if self.is_terminal { "\r\x1b[K" } else { "" };
        writeln!(io::stderr(), "{start}{text}").ok();
    }

    /// The last line stays.
    pub(crate) fn end(&self) {
        if self.is_terminal {
            writeln!(io::stderr()).ok();
        }
    }
}

/// A time as people write it: `1:02:03` or `2:03`.
pub(crate) fn clock(time: Duration) -> String {
    let seconds = time.as_secs();
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match hours {
        0 => format!("{minutes}:{seconds:02}"),
        _ => format!("{hours}:{minutes:02}:{seconds:02}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_short() {
        assert_eq!(clock(Duration::from_secs(65)), "1:05");
        assert_eq!(clock(Duration::from_secs(3723)), "1:02:03");
    }
}
