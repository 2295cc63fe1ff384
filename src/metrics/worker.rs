//! What a worker counts.

use ipc_ringbuf::entry::Code;

use super::{Counter, latency::Histogram};

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
    /// Sessions served (gauge).
    pub sessions: Counter,
    /// Answers that found no request: it had timed out, or its session had ended.
    pub late_replies: Counter,
    /// Sessions ended because their rings held impossible values.
    pub ring_violations: Counter,
    /// Times that a client had to be woken.
    pub client_wakes: Counter,
    /// Times that the worker went to sleep.
    pub sleeps: Counter,
    /// Duty cycles; it stands still only while the worker sleeps or is stuck.
    pub cycles: Counter,
    /// 1 while the worker sleeps, else 0 (gauge).
    pub asleep: Counter,
    /// Nanoseconds from submission to acceptance.
    pub ring_wait: Histogram,
    /// Nanoseconds from acceptance to completion.
    pub upstream: Histogram,
}

impl Default for WorkerMetrics {
    fn default() -> Self {
        Self {
            accepted: Counter::default(),
            completions: Code::ALL.iter().map(|_| Counter::default()).collect(),
            abandoned: Counter::default(),
            in_flight: Counter::default(),
            sessions: Counter::default(),
            late_replies: Counter::default(),
            ring_violations: Counter::default(),
            client_wakes: Counter::default(),
            sleeps: Counter::default(),
            cycles: Counter::default(),
            asleep: Counter::default(),
            ring_wait: Histogram::default(),
            upstream: Histogram::default(),
        }
    }
}

impl WorkerMetrics {
    /// Counts one completion.
    #[inline]
    pub fn completed(&self, code: Code) {
        if let Some(counter) = Code::ALL
            .binary_search(&code)
            .ok()
            .and_then(|at| self.completions.get(at))
        {
            counter.increment();
        }
    }

    /// Completions so far with this code.
    #[must_use]
    pub fn completions(&self, code: Code) -> u64 {
        let at = Code::ALL.binary_search(&code).ok();
        at.and_then(|at| self.completions.get(at))
            .map_or(0, Counter::get)
    }
}
