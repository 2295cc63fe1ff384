//! What a worker must decide about an honest client's submission: the rules once more, written
//! from the documentation.

use core::time::Duration;

use ipc_gateway::bridge::{Admission, Admissions};
use ipc_gateway::clock::Nanos;
use ipc_gateway::route::Route;
use ipc_ringbuf::Code;

use super::ledger::Asked;

/// Bytes that a header block needs besides its own on the wire, at most.
const WIRE_BYTES: usize = 256;

/// What must become of a submission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Accept,
    Reject(Code),
    /// The route lets through a part.
    Perhaps(Code),
}

/// What the gateway knows at the moment of the decision.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Situation<'a> {
    pub(crate) is_draining: bool,
    pub(crate) routes: &'a [Route],
    /// Which of them the session may use.
    pub(crate) rights: &'a [bool],
    pub(crate) admissions: &'a Admissions,
    pub(crate) max_payload: u32,
}

impl Situation<'_> {
    pub(crate) fn judge(&self, asked: &Asked) -> Verdict {
        if self.is_draining {
            return Verdict::Reject(Code::Draining);
        }
        let place = usize::from(asked.route);
        if place >= self.routes.len() {
            return Verdict::Reject(Code::BadRoute);
        }
        if self.rights.get(place) != Some(&true) {
            return Verdict::Reject(Code::Forbidden);
        }
        let extra = if asked.headers.is_empty() {
            0
        } else {
            WIRE_BYTES
        };
        let wire = asked.headers.len() + extra + asked.payload.len();
        if wire as u64 > u64::from(self.max_payload) {
            return Verdict::Reject(Code::TooLarge);
        }
        if let Some(fault) = asked.header_fault {
            return Verdict::Reject(fault);
        }
        let has_breaker = self
            .routes
            .get(place)
            .is_some_and(|route| route.breaker.enabled);
        match self.admissions.of(asked.route) {
            Admission::Closed { .. } => Verdict::Reject(Code::Overloaded),
            Admission::Open if !has_breaker => Verdict::Accept,
            // Half of them, or what the breaker lets through.
            _ => Verdict::Perhaps(Code::Overloaded),
        }
    }

    /// The deadline of a request that is taken at `now`.
    pub(crate) fn deadline(&self, asked: &Asked, now: Nanos) -> Option<Nanos> {
        let route = self.routes.get(usize::from(asked.route))?;
        let least = Duration::from_millis(1);
        let given = match asked.timeout_ns {
            0 => route.timeout,
            ns => Duration::from_nanos(ns).clamp(least, route.max_timeout.max(least)),
        };
        Some(now.after(given))
    }
}

impl Verdict {
    /// Whether a request that was handed over is in accord with this.
    pub(crate) fn accepts(self) -> bool {
        matches!(self, Self::Accept | Self::Perhaps(_))
    }

    /// Whether a rejection with this code is in accord with this.
    pub(crate) fn rejects(self, code: Code) -> bool {
        match self {
            Self::Accept => false,
            Self::Reject(expected) | Self::Perhaps(expected) => code == expected,
        }
    }
}
