//! What a worker counts.

use ipc_ringbuf::code::Code;
use ipc_ringbuf::error::PeerMisbehaved;

use super::{Counter, latency::Histogram};

/// What the gate of one route did in one worker.
#[derive(Debug, Default)]
pub struct RouteMetrics {
    /// Where the breaker stands: 0 closed, 1 half open, 2 open (gauge).
    pub breaker_state: Counter,
    /// Times that the breaker opened.
    pub breaker_opens: Counter,
    /// Requests rejected by the breaker.
    pub rejected_breaker: Counter,
    /// Requests rejected because the Router asked for it.
    pub rejected_backpressure: Counter,
    /// Requests rejected because they had waited too long for room.
    pub rejected_queue: Counter,
    /// Requests that may be on their way (gauge).
    pub limit: Counter,
    /// Requests let through; shown when the worker is asked to.
    pub admitted: Counter,
    /// Requests on their way (gauge); shown when the worker is asked to.
    pub in_flight: Counter,
}

/// Counters of one worker; it alone writes them.
#[derive(Debug)]
pub struct WorkerMetrics {
    /// Requests accepted: taken from a ring.
    pub accepted: Counter,
    /// Completions by code, in the order of [`Code::ALL`].
    completions: Vec<Counter>,
    /// Requests whose session ended before their completion.
    pub abandoned: Counter,
    /// Requests in flight (gauge).
    pub in_flight: Counter,
    /// Deadlines that are watched (gauge).
    pub timers: Counter,
    /// Sessions served (gauge).
    pub sessions: Counter,
    /// Answers that found no request: it had timed out, or its session had ended.
    pub late_replies: Counter,
    /// Sessions ended because their rings held impossible values, by kind, in the order of
    /// [`PeerMisbehaved::KINDS`].
    violations: [Counter; PeerMisbehaved::KINDS.len()],
    /// Rings of sessions that had submitted nothing.
    pub rings_in_vain: Counter,
    /// Times that a session had rung in vain too often to be listened to further.
    pub sessions_deafened: Counter,
    /// Spans of traced requests that had no room to wait for the exporter.
    pub trace_dropped: Counter,
    /// Times that a client had to be woken.
    pub client_wakes: Counter,
    /// Times that the worker went to sleep.
    pub sleeps: Counter,
    /// Duty cycles; it stands still only while the worker sleeps or is stuck.
    pub cycles: Counter,
    /// Nanoseconds from the beginning of each cycle that found something to do to the beginning of
    /// the next; counted only while somebody looks.
    pub busy_ns: Counter,
    /// 1 while the worker sleeps, else 0 (gauge).
    pub asleep: Counter,
    /// 1 while requests wait in their rings for more than a moment or are rejected for that, else
    /// 0 (gauge).
    pub overload_active: Counter,
    /// Nanoseconds that completion rings were full and their clients took nothing.
    pub cq_full_ns: Counter,
    /// What each route's gate did, by number of the route.
    routes: Vec<RouteMetrics>,
    /// Nanoseconds from submission to acceptance.
    pub ring_wait: Histogram,
    /// Nanoseconds from the answer's arrival to completion, of requests that were answered.
    pub deliver: Histogram,
    /// Nanoseconds from acceptance to completion, whatever the outcome.
    pub completion: Histogram,
}

/// Where a code is counted. The usual ones come first.
#[inline]
fn place(code: Code) -> Option<usize> {
    Code::ALL.iter().position(|known| *known == code)
}

impl Default for WorkerMetrics {
    fn default() -> Self {
        Self {
            accepted: Counter::default(),
            completions: Code::ALL.iter().map(|_| Counter::default()).collect(),
            abandoned: Counter::default(),
            in_flight: Counter::default(),
            timers: Counter::default(),
            sessions: Counter::default(),
            late_replies: Counter::default(),
            violations: Default::default(),
            rings_in_vain: Counter::default(),
            sessions_deafened: Counter::default(),
            trace_dropped: Counter::default(),
            client_wakes: Counter::default(),
            sleeps: Counter::default(),
            cycles: Counter::default(),
            busy_ns: Counter::default(),
            asleep: Counter::default(),
            overload_active: Counter::default(),
            cq_full_ns: Counter::default(),
            routes: Vec::new(),
            ring_wait: Histogram::default(),
            deliver: Histogram::default(),
            completion: Histogram::default(),
        }
    }
}

impl WorkerMetrics {
    /// Counters for so many routes.
    #[must_use]
    pub fn for_routes(count: usize) -> Self {
        Self {
            routes: (0..count).map(|_| RouteMetrics::default()).collect(),
            ..Self::default()
        }
    }

    /// The counters of one route.
    #[must_use]
    pub fn route(&self, number: u16) -> Option<&RouteMetrics> {
        self.routes.get(usize::from(number))
    }

    /// The counters of all routes, by number.
    #[must_use]
    pub fn routes(&self) -> &[RouteMetrics] {
        &self.routes
    }

    /// Counts one completion.
    #[inline]
    pub fn completed(&self, code: Code) {
        if let Some(counter) = place(code).and_then(|at| self.completions.get(at)) {
            counter.increment();
        }
    }

    /// Completions so far with this code.
    #[must_use]
    pub fn completions(&self, code: Code) -> u64 {
        place(code)
            .and_then(|at| self.completions.get(at))
            .map_or(0, Counter::get)
    }

    /// Counts one session that ended so.
    #[cold]
    pub fn violated(&self, fault: PeerMisbehaved) {
        let kinds = PeerMisbehaved::KINDS.into_iter().zip(&self.violations);
        for (_, counter) in kinds.filter(|(kind, _)| *kind == fault.kind()) {
            counter.increment();
        }
    }

    /// Sessions ended because of impossible values, by kind.
    pub fn violations(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        let counts = self.violations.iter().map(Counter::get);
        PeerMisbehaved::KINDS.into_iter().zip(counts)
    }
}
