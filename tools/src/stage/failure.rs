//! Why a stage cannot be set, and waiting for what must come.

use core::fmt::Display;
use core::time::Duration;
use std::time::Instant;

/// Why a run or a check cannot go on, in one line for people.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// A program or a server is missing; the text says what to do.
    #[error("{0}")]
    Missing(String),
    /// Something did not do what it must.
    #[error("{0}")]
    Failed(String),
}

impl Failure {
    /// Something did not do what it must.
    pub fn new(what: impl Display) -> Self {
        Self::Failed(what.to_string())
    }
}

/// Says what was being done when an error came.
pub trait While<T> {
    /// The error with `what` before it: "cannot start nats-server: No such file".
    ///
    /// # Errors
    /// The error of `self`.
    fn or_say(self, what: impl Display) -> Result<T, Failure>;
}

impl<T, E: Display> While<T> for Result<T, E> {
    fn or_say(self, what: impl Display) -> Result<T, Failure> {
        self.map_err(|error| Failure::Failed(format!("{what}: {error}")))
    }
}

/// Looks until it is so; returns how long that took.
///
/// # Errors
/// It is not so within `bound`, or looking fails.
pub fn eventually(
    bound: Duration,
    what: impl Display,
    mut is_so: impl FnMut() -> Result<bool, Failure>,
) -> Result<Duration, Failure> {
    let start = Instant::now();
    loop {
        if is_so()? {
            return Ok(start.elapsed());
        }
        if start.elapsed() >= bound {
            return Err(Failure::Failed(format!("not within {bound:?}: {what}")));
        }
        pause(Duration::from_millis(2));
    }
}

/// Lets what runs beside go on for a while.
pub fn pause(time: Duration) {
    let end = Instant::now() + time;
    while let Some(left) = end.checked_duration_since(Instant::now()) {
        std::thread::park_timeout(left);
    }
}
