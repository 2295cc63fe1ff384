//! What a contender's process is told and what it says.
//!
//! ```text
//!  compare                                   client process
//!     -- argument: the job, as JSON -->
//!     <-- "ready" --                         connected
//!     -- "go BEGIN END STOP" -->             runs from now on
//!     <-- the report, one line of JSON --    after STOP, when nothing is outstanding
//! ```
//!
//! The three moments are nanoseconds of `CLOCK_MONOTONIC`, which all processes share. What is
//! completed from BEGIN and before END is counted; the load goes on until STOP, so that whoever
//! samples processor time at END a little late still sees the same load.

use std::io::{self, BufRead as _, Write as _};

use serde::{Deserialize, Serialize};

use ipc_tools::stage::{Failure, While as _};

/// What a client process says once it is connected.
pub(crate) const READY: &str = "ready";

/// When to count, in nanoseconds of the monotonic clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Interval {
    pub(crate) begin: u64,
    pub(crate) end: u64,
    /// When the last request is sent.
    pub(crate) stop: u64,
}

impl Interval {
    pub(crate) fn line(self) -> String {
        format!("go {} {} {}", self.begin, self.end, self.stop)
    }

    pub(crate) fn parse(line: &str) -> Option<Self> {
        let mut words = line.strip_prefix("go ")?.split_whitespace();
        let mut number = || words.next()?.parse().ok();
        Some(Self {
            begin: number()?,
            end: number()?,
            stop: number()?,
        })
    }
}

/// What a client process reports.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Report {
    /// Latencies in nanoseconds, each with how often it occurred.
    Done(Vec<(u64, u64)>),
    Failed(String),
}

/// Says that everything is connected.
///
/// # Errors
/// Nobody listens.
pub(crate) fn say_ready() -> Result<(), Failure> {
    say(READY)
}

/// Waits for the order to run.
///
/// # Errors
/// There will be none.
pub(crate) fn wait_for_go() -> Result<Interval, Failure> {
    let mut line = String::new();
    io::stdin()
        .lock()
        .read_line(&mut line)
        .or_say("cannot read orders")?;
    Interval::parse(&line).ok_or_else(|| Failure::new("there is no order to go"))
}

pub(crate) fn say(line: &str) -> Result<(), Failure> {
    writeln!(io::stdout(), "{line}").or_say("nobody listens")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_is_read_as_it_is_written() {
        let interval = Interval {
            begin: 1,
            end: 2_000_000_000,
            stop: u64::MAX,
        };
        assert_eq!(Interval::parse(&interval.line()), Some(interval));
        for line in ["", "go", "go 1 2", "stop 1 2 3", "go 1 2 x"] {
            assert_eq!(Interval::parse(line), None, "{line}");
        }
    }
}
