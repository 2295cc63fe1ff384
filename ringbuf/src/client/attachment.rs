//! [`Attachment`]: how a handle attaches, and how it attaches again.
//!
//! A try has two parts: the gateway is greeted, and it answers. Where the service manager keeps the
//! socket the first succeeds while no gateway runs. So a submission that may not wait begins a try, and
//! those after it look whether it was answered.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::greeting::{Greeting, TrustedServer, Unanswered};
use super::reattach::{Patience, Reattach, backoff, nanos};
use super::session::Session;
use crate::error::AttachError;
use crate::handshake::Hello;
use crate::sys;

/// Least time for the gateway's answer; none at all would mean for ever.
const LEAST_BOUND: Duration = Duration::from_millis(1);
/// How long a submission that begins a try waits to be connected, and as long again for the answer of a
/// gateway that runs. [`Reattach::Try`] says twice this.
const STEP: Duration = Duration::from_millis(5);

/// Where to attach, and with what.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) path: PathBuf,
    pub(super) hello: Hello,
    pub(super) timeout: Duration,
    pub(super) trusted: TrustedServer,
}

impl Place {
    fn greet(&self, bound: Duration) -> Result<Greeting, AttachError> {
        let bound = bound.max(LEAST_BOUND);
        Greeting::begin(&self.path, &self.hello, self.trusted, bound)
    }
}

/// What is needed to attach, and to attach again.
#[derive(Debug)]
pub(super) struct Attachment {
    place: Place,
    pub(super) timestamps: bool,
    pub(super) reattach: Reattach,
    /// Tries that failed since the last session.
    failures: u32,
    /// When the next try is allowed, on the monotonic clock.
    retry_at: u64,
    /// The try that is under way.
    begun: Option<Begun>,
    /// Shared with whoever asks a handle of many threads.
    last_error: Option<Arc<AttachError>>,
}

/// A try that waits for its answer.
#[derive(Debug)]
struct Begun {
    greeting: Greeting,
    /// When it is given up, on the monotonic clock.
    until: u64,
}

impl Attachment {
    pub(super) const fn new(place: Place, reattach: Reattach, timestamps: bool) -> Self {
        Self {
            place,
            timestamps,
            reattach,
            failures: 0,
            retry_at: 0,
            begun: None,
            last_error: None,
        }
    }

    /// Attaches now. A gateway that is just ending is waited out, for as long as is allowed.
    pub(super) fn attach(&self) -> Result<Session, AttachError> {
        let end = sys::monotonic_ns().saturating_add(nanos(self.place.timeout));
        let mut tries = 0;
        let mut ending = None;
        loop {
            let left = end.saturating_sub(sys::monotonic_ns());
            let greeting = self.place.greet(Duration::from_nanos(left));
            match greeting.and_then(|greeting| Ok(greeting.finish()?)) {
                Ok(session) => return Ok(session),
                Err(error) if error.is_ending() => {
                    ending.get_or_insert(error);
                }
                // That the first one has ended meanwhile is no news.
                Err(error) => return Err(ending.unwrap_or(error)),
            }
            let pause = backoff(tries);
            if sys::monotonic_ns().saturating_add(pause) >= end {
                return Err(ending.unwrap_or(AttachError::Timeout));
            }
            tries += 1;
            sys::pause(Duration::from_nanos(pause));
        }
    }

    /// Attaches over a socket that is connected already.
    pub(super) fn attach_over(&self, socket: OwnedFd) -> Result<Session, AttachError> {
        let greeting = Greeting::over(socket, &self.place.hello, self.place.trusted)?;
        Ok(greeting.finish()?)
    }

    /// What a thread or task of its own needs to attach.
    pub(super) fn fresh(&self) -> Self {
        Self::new(self.place.clone(), self.reattach, self.timestamps)
    }

    /// A session was lost: the first try is soon, but not at the same moment as everybody's.
    pub(super) fn lost(&mut self) {
        self.failures = 0;
        self.retry_at = sys::monotonic_ns().saturating_add(backoff(0));
    }

    /// Whether it is time for a try.
    pub(super) fn is_due(&self) -> bool {
        self.reattach != Reattach::Never && sys::monotonic_ns() >= self.retry_at
    }

    /// Tries whenever it is time, until the moment `end` of the monotonic clock; without an `end` that is
    /// to come it takes one step. A try that is under way then goes on at the next call.
    pub(super) fn retry_until(&mut self, end: u64) -> Option<Session> {
        loop {
            let is_patient = sys::monotonic_ns() < end;
            if let Some(session) = self.step(is_patient) {
                return Some(session);
            }
            let now = sys::monotonic_ns();
            if self.reattach == Reattach::Never || now >= end {
                return None;
            }
            // One that is under way was waited for.
            if self.begun.is_none() {
                let next = self.retry_at.min(end).saturating_sub(now);
                sys::pause(Duration::from_nanos(next));
            }
        }
    }

    /// Begins a try if it is time for one, and looks for the answer: waits for it if the try is new or
    /// the caller is patient.
    fn step(&mut self, is_patient: bool) -> Option<Session> {
        let begun = match self.begun.take() {
            None if !self.is_due() => return None,
            None => match self.place.greet(STEP.min(self.place.timeout)) {
                Ok(greeting) => Begun {
                    greeting,
                    until: sys::monotonic_ns().saturating_add(nanos(self.place.timeout)),
                },
                Err(error) => return self.tried(Err(error)),
            },
            Some(begun) if is_patient || begun.greeting.is_answered() => begun,
            Some(begun) => return self.not_yet(begun),
        };
        let Begun { greeting, until } = begun;
        match greeting.finish() {
            Ok(session) => self.tried(Ok(session)),
            Err(Unanswered::NotYet(greeting)) => self.not_yet(Begun { greeting, until }),
            Err(Unanswered::Failed(error)) => self.tried(Err(error)),
        }
    }

    /// A try has not been answered: it goes on, unless its time is over.
    fn not_yet(&mut self, begun: Begun) -> Option<Session> {
        if sys::monotonic_ns() >= begun.until {
            return self.tried(Err(AttachError::Timeout));
        }
        self.begun = Some(begun);
        None
    }

    /// Notes how a try has ended.
    pub(super) fn tried(&mut self, result: Result<Session, AttachError>) -> Option<Session> {
        match result {
            Ok(session) => {
                self.failures = 0;
                self.last_error = None;
                Some(session)
            }
            Err(error) => {
                self.failures = self.failures.saturating_add(1);
                self.last_error = Some(Arc::new(error));
                let pause = backoff(self.failures);
                self.retry_at = sys::monotonic_ns().saturating_add(pause);
                None
            }
        }
    }

    /// How long a call that begins now may wait for a gateway.
    pub(super) fn patience(&self) -> Patience {
        self.reattach.patience()
    }

    pub(super) const fn last_error(&self) -> Option<&Arc<AttachError>> {
        self.last_error.as_ref()
    }
}
