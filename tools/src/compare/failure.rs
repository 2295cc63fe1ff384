//! Why a comparison ends early.

use core::fmt::Display;

/// What went wrong, in one line for people: what was being done, and what the system said.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Failure(pub(crate) String);

impl Failure {
    pub(crate) fn new(what: impl Display) -> Self {
        Self(what.to_string())
    }
}

/// Says what was being done when an error came.
pub(crate) trait While<T> {
    /// The error with `what` before it: "cannot start nats-server: No such file".
    ///
    /// # Errors
    /// The error of `self`.
    fn or_say(self, what: impl Display) -> Result<T, Failure>;
}

impl<T, E: Display> While<T> for Result<T, E> {
    fn or_say(self, what: impl Display) -> Result<T, Failure> {
        self.map_err(|error| Failure(format!("{what}: {error}")))
    }
}
