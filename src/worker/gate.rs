//! The gate of each route: what one worker lets through to an upstream that cannot take everything.
//!
//! Three things hold a request back, in this order:
//!
//! | what | whose word it is | a request that is held back |
//! |---|---|---|
//! | [`Admission`] | the Router's, by backpressure | is rejected |
//! | [`Breaker`] | what became of earlier requests | is rejected |
//! | [`Limit`] | how long answers take | waits in its ring, for a short time |
//!
//! When a closure that the Router asked for has run out, the breaker is made half open: a few
//! probes tell whether it answers again, before everything is let in.

use std::sync::Arc;
use std::time::Duration;

use super::breaker::{Breaker, Pass, Refused, State};
use super::in_flight::Entry;
use super::limit::Limit;
use super::validate::Verdict;
use crate::bridge::{Admission, Admissions, Code};
use crate::clock::Nanos;
use crate::metrics::worker::{RouteMetrics, WorkerMetrics};
use crate::route::Route;

/// Least time between two log lines about breakers; all changes are counted.
const LOG: Duration = Duration::from_secs(1);

/// The gate of one route.
#[derive(Debug)]
struct Gate {
    breaker: Breaker,
    limit: Limit,
    /// Requests on their way.
    in_flight: u32,
    /// Requests let through so far.
    admitted: u64,
    /// The Router's closure after which the breaker was made half open last.
    probed: u32,
    /// Counts requests while half are let in.
    toggle: u32,
    /// The state that was told last.
    told: State,
    /// The limit that was shown last.
    shown: u32,
}

/// The gates of all routes, by number.
#[derive(Debug)]
pub struct Gates {
    gates: Vec<Gate>,
    routes: Arc<[Route]>,
    admissions: Arc<Admissions>,
    metrics: Arc<WorkerMetrics>,
    worker: u8,
    /// What [`Limit`] allows, and the most requests in flight.
    limits: (Duration, u32),
    seed: u32,
    /// When a change may be logged again, and changes that were not.
    log_again: Nanos,
    unlogged: u64,
}

impl Gates {
    /// Open gates. `delay` is what [`Limit`] allows, `most` the most requests in flight, `seed` is
    /// for the jitter.
    #[must_use]
    pub fn new(
        routes: &Arc<[Route]>,
        admissions: Arc<Admissions>,
        metrics: Arc<WorkerMetrics>,
        worker: u8,
        (delay, most, seed): (Duration, u32, u32),
        now: Nanos,
    ) -> Self {
        let mut gates = Self {
            gates: Vec::new(),
            routes: [].into(),
            admissions,
            metrics,
            worker,
            limits: (delay, most),
            seed,
            log_again: Nanos(0),
            unlogged: 0,
        };
        gates.renew(routes, now);
        gates
    }

    /// Takes the routes of a configuration that was read again. The gate of a route that leads
    /// elsewhere now, or was away, begins anew but for those on their way.
    pub fn renew(&mut self, routes: &Arc<[Route]>, now: Nanos) {
        let old = core::mem::replace(&mut self.routes, Arc::clone(routes));
        let (delay, most) = self.limits;
        let limit = |route: &Route| {
            // Nothing waits for a route that is no more: it is rejected at once.
            let delay = if route.is_live() {
                delay
            } else {
                Duration::ZERO
            };
            Limit::new(delay, most, now)
        };
        for (number, route) in (0_u16..).zip(routes.iter()) {
            let at = usize::from(number);
            let (Some(gate), Some(old)) = (self.gates.get_mut(at), old.get(at)) else {
                let seed = (u64::from(self.seed) << 32)
                    ^ (u64::from(number) << 8)
                    ^ u64::from(self.worker);
                self.gates.push(Gate {
                    breaker: Breaker::new(route.breaker, seed),
                    limit: limit(route),
                    in_flight: 0,
                    admitted: 0,
                    probed: 0,
                    toggle: 0,
                    told: State::Closed,
                    shown: 0,
                });
                continue;
            };
            let is_same = old.subject == route.subject && old.standing == route.standing;
            if !is_same {
                gate.limit = limit(route);
            }
            if !is_same || old.breaker != route.breaker {
                gate.breaker.renew(route.breaker);
                self.tell(number, now);
            }
        }
    }

    /// Whether a request of a session that has `held` requests on their way may join those of this
    /// route. One that has less than its share, an equal part of the limit for each of the `active`
    /// sessions, always may.
    #[inline]
    pub fn has_room(&mut self, route: u16, held: u32, active: u32, now: Nanos) -> bool {
        let Some(gate) = self.gates.get_mut(usize::from(route)) else {
            return true;
        };
        let limit = gate.limit.at(now);
        if gate.in_flight < limit {
            return true;
        }
        gate.limit.reached();
        held < limit / active.max(1)
    }

    /// Whether the limit of this route is cut for a moment, to measure its upstream.
    #[cold]
    pub fn is_measuring(&self, route: u16, now: Nanos) -> bool {
        self.gates
            .get(usize::from(route))
            .is_some_and(|gate| gate.limit.is_cut(now))
    }

    /// Asks Router and breaker for a request to pass. One that passes has joined those on their way
    /// and must come back to [`left`](Self::left) or [`abandoned`](Self::abandoned).
    ///
    /// # Errors
    /// `OVERLOADED`, with the time after which to try again.
    #[inline]
    pub fn admit(&mut self, route: u16, now: Nanos) -> Result<Pass, Verdict> {
        let Some(gate) = self.gates.get_mut(usize::from(route)) else {
            return Ok(Pass::default());
        };
        let admission = self.admissions.of(route);
        if admission != Admission::Open || gate.breaker.state() != State::Closed {
            return self.admit_some(route, admission, now);
        }
        gate.in_flight += 1;
        gate.admitted += 1;
        gate.breaker.admit(now).map_err(Verdict::from)
    }

    #[cold]
    fn admit_some(
        &mut self,
        route: u16,
        admission: Admission,
        now: Nanos,
    ) -> Result<Pass, Verdict> {
        let metrics = self.metrics.route(route);
        let Some(gate) = self.gates.get_mut(usize::from(route)) else {
            return Ok(Pass::default());
        };
        let rejected_by_router = match admission {
            Admission::Open => None,
            Admission::Half { retry_after_ms } => {
                gate.toggle = gate.toggle.wrapping_add(1);
                gate.toggle.is_multiple_of(2).then_some(retry_after_ms)
            }
            Admission::Closed { retry_after_ms } => Some(retry_after_ms),
            Admission::Probing { closure } => {
                if gate.probed != closure {
                    gate.probed = closure;
                    gate.breaker.probe();
                }
                None
            }
        };
        if let Some(retry_after_ms) = rejected_by_router {
            if let Some(metrics) = metrics {
                metrics.rejected_backpressure.increment();
            }
            return Err(Verdict::overloaded(retry_after_ms));
        }
        let passed = gate.breaker.admit(now);
        match passed {
            Ok(_) => {
                gate.in_flight += 1;
                gate.admitted += 1;
            }
            Err(_) => {
                if let Some(metrics) = metrics {
                    metrics.rejected_breaker.increment();
                }
            }
        }
        self.tell(route, now);
        passed.map_err(Verdict::from)
    }

    /// A request that waited too long in its ring for room is rejected.
    #[cold]
    pub fn shed(&self, route: u16) -> Verdict {
        if let Some(metrics) = self.metrics.route(route) {
            metrics.rejected_queue.increment();
        }
        let gate = self.gates.get(usize::from(route));
        Verdict::overloaded(gate.map_or(1, |gate| gate.limit.retry_after_ms()))
    }

    /// A request has been completed with this code, by the upstream or by its deadline.
    #[inline]
    pub fn left(&mut self, entry: &Entry, code: Code, now: Nanos) {
        let Some(gate) = self.gates.get_mut(usize::from(entry.route)) else {
            return;
        };
        gate.in_flight = gate.in_flight.saturating_sub(1);
        if code.outcome() == ipc_ringbuf::Outcome::Answered && code != Code::NoResponders {
            let latency = now.since(entry.accepted);
            gate.limit.answered(latency, gate.in_flight, now);
        } else if code == Code::Timeout {
            let waited = now.since(entry.accepted);
            gate.limit.timed_out(waited, gate.in_flight, now);
        }
        let limit = gate.limit.at(now);
        if limit != gate.shown {
            gate.shown = limit;
            if let Some(metrics) = self.metrics.route(entry.route) {
                metrics.limit.set(gate.shown.into());
            }
        }
        let allowed = entry.deadline.until(entry.accepted);
        gate.breaker
            .ended(entry.pass, code, entry.accepted, allowed, now);
        if gate.breaker.state() != gate.told {
            self.tell(entry.route, now);
        }
    }

    /// The session of a request has gone.
    pub fn abandoned(&mut self, entry: &Entry) {
        if let Some(gate) = self.gates.get_mut(usize::from(entry.route)) {
            gate.in_flight = gate.in_flight.saturating_sub(1);
            gate.breaker.forget(entry.pass);
        }
    }

    /// Brings up to date what is shown only to those who ask.
    pub fn show(&self) {
        for (gate, metrics) in self.gates.iter().zip(self.metrics.routes()) {
            metrics.admitted.set(gate.admitted);
            metrics.in_flight.set(gate.in_flight.into());
        }
    }

    /// Shows a change of a breaker.
    #[cold]
    fn tell(&mut self, route: u16, now: Nanos) {
        let Some(gate) = self.gates.get_mut(usize::from(route)) else {
            return;
        };
        let state = gate.breaker.state();
        if state == gate.told {
            return;
        }
        gate.told = state;
        if let Some(metrics) = self.metrics.route(route) {
            show(metrics, state);
        }
        if now < self.log_again {
            self.unlogged += 1;
            return;
        }
        self.log_again = now.after(LOG);
        let name = self.routes.get(usize::from(route)).map(|r| r.name.as_str());
        tracing::warn!(
            route = name.unwrap_or_default(),
            worker = self.worker,
            state = state.name(),
            unlogged = core::mem::take(&mut self.unlogged),
            "a circuit breaker has changed"
        );
    }
}

fn show(metrics: &RouteMetrics, state: State) {
    metrics.breaker_state.set(state.number());
    if state == State::Open {
        metrics.breaker_opens.increment();
    }
}

impl From<Refused> for Verdict {
    fn from(refused: Refused) -> Self {
        Self::overloaded(refused.retry_after_ms)
    }
}
