//! The clock that is moved by hand.

use core::time::Duration;
use std::sync::{Arc, Mutex, PoisonError};

use ipc_gateway::clock::{Clock, Nanos};

/// A clock that stands still until it is moved. Clones are the same clock.
#[derive(Clone, Debug)]
pub(crate) struct Hand(Arc<Mutex<Nanos>>);

impl Hand {
    pub(crate) fn at(now: Nanos) -> Self {
        Self(Arc::new(Mutex::new(now)))
    }

    /// Moves the clock forward.
    pub(crate) fn advance(&self, by: Duration) {
        let mut now = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *now = now.after(by);
    }
}

impl Clock for Hand {
    fn now(&self) -> Nanos {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
