//! Quiescent points: nothing is sent, everything has come back, and what is held must be exactly what
//! was held at the first such point.

use std::io;

use serde::Serialize;

use crate::sampler::{Counters, Usage, named_mappings, session_bytes};
use crate::stage::Stage;

/// Bytes by which the allocator's figure may differ between two looks of a gateway that has come to rest:
/// the answers to those who look are of its memory too.
const STEADY: u64 = 1024;
/// The same of its resident memory.
const STEADY_PAGES: u64 = 64 * 1024;

/// What must be the same at rest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct AtRest {
    pub(crate) descriptors: u64,
    pub(crate) threads: u64,
    /// Mappings of files, sessions and stacks. The allocator's own come and go with what it rounds
    /// up to; they are in the metrics, and the slope of resident memory judges them.
    pub(crate) mappings: u64,
    pub(crate) sessions: u64,
    /// Shared memory that users are charged for, in bytes.
    pub(crate) session_bytes: u64,
    pub(crate) in_flight: u64,
    /// Deadlines that are watched.
    pub(crate) timers: u64,
    /// Clients that have connected and said nothing.
    pub(crate) pending: u64,
    /// Shared memory of ended sessions that is not back yet.
    pub(crate) returning_bytes: u64,
    /// Connections to NATS.
    pub(crate) connections: u64,
    /// Tasks of the NATS runtime.
    pub(crate) tasks: u64,
}

/// One point.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Point {
    /// Seconds since the start of the load.
    pub(crate) second: u64,
    pub(crate) pid: u32,
    /// Whether all clients came to rest.
    pub(crate) drained: bool,
    /// Whether memory had stopped to change.
    pub(crate) settled: bool,
    pub(crate) at_rest: AtRest,
    /// Resident memory, in bytes.
    pub(crate) resident: u64,
    /// The part of it that is heap and stacks.
    pub(crate) anonymous: u64,
    /// The part of it that is of sessions.
    pub(crate) shared: u64,
    /// What the allocator has handed out and not got back, in bytes, where the gateway counts it.
    pub(crate) allocated: Option<u64>,
    pub(crate) accepted: u64,
    pub(crate) completed: u64,
    pub(crate) abandoned: u64,
    /// Completions by code since the gateway's start.
    pub(crate) codes: std::collections::BTreeMap<String, u64>,
    /// Whether what was accepted is what was completed and abandoned.
    pub(crate) balanced: bool,
}

impl Point {
    /// Looks at the gateway.
    pub(crate) fn take(stage: &Stage, second: u64, drained: bool) -> io::Result<Self> {
        let pid = stage.gateway.pid();
        let counters = Counters::take(&stage.socket)?;
        let usage = Usage::take(pid)?;
        let books = &counters.books;
        let completed = books.completed();
        Ok(Self {
            second,
            pid,
            drained,
            settled: false,
            at_rest: AtRest {
                descriptors: usage.descriptors,
                threads: usage.threads,
                mappings: named_mappings(pid)?,
                sessions: books.sessions,
                session_bytes: session_bytes(&stage.socket)?,
                in_flight: books.in_flight,
                timers: counters.sum("ipcgw_timers"),
                pending: counters.sum("ipcgw_pending_clients"),
                returning_bytes: counters.sum("ipcgw_returning_bytes"),
                connections: counters.sum("ipcgw_nats_connected"),
                tasks: counters.sum("ipcgw_nats_tasks"),
            },
            resident: usage.resident,
            anonymous: usage.anonymous,
            shared: usage.shared,
            allocated: counters.allocated(),
            accepted: books.accepted,
            completed,
            abandoned: books.abandoned,
            codes: books.completions.clone(),
            balanced: books.accepted == completed + books.abandoned + books.in_flight
                && books.answers_refused == 0,
        })
    }
}

impl Point {
    /// Whether memory is what it was at the look before.
    pub(crate) fn is_steady(&self, before: &Self) -> bool {
        let bytes = |point: &Self| point.allocated.unwrap_or(0);
        bytes(self).abs_diff(bytes(before)) <= STEADY
            && self.anonymous.abs_diff(before.anonymous) <= STEADY_PAGES
    }
}

impl AtRest {
    /// What is not as it was, in words; nothing when all is.
    pub(crate) fn differs(&self, first: &Self) -> Vec<String> {
        let pairs = [
            ("descriptors", self.descriptors, first.descriptors),
            ("threads", self.threads, first.threads),
            ("mappings", self.mappings, first.mappings),
            ("sessions", self.sessions, first.sessions),
            ("bytes of sessions", self.session_bytes, first.session_bytes),
            ("requests in flight", self.in_flight, 0),
            ("timers", self.timers, 0),
            ("pending clients", self.pending, first.pending),
            ("returning bytes", self.returning_bytes, 0),
            ("connections", self.connections, first.connections),
            ("tasks", self.tasks, first.tasks),
        ];
        let differing = pairs.into_iter().filter(|(_, now, then)| now != then);
        differing
            .map(|(what, now, then)| format!("{now} {what} instead of {then}"))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Point {
        /// One at which all is well, and nothing was done.
        pub(crate) fn empty() -> Self {
            Self {
                second: 0,
                pid: 1,
                drained: true,
                settled: true,
                at_rest: at_rest(),
                resident: 0,
                anonymous: 0,
                shared: 0,
                allocated: None,
                accepted: 0,
                completed: 0,
                abandoned: 0,
                codes: std::collections::BTreeMap::new(),
                balanced: true,
            }
        }
    }

    fn at_rest() -> AtRest {
        AtRest {
            descriptors: 40,
            threads: 3,
            mappings: 50,
            sessions: 9,
            session_bytes: 9 << 20,
            in_flight: 0,
            timers: 0,
            pending: 0,
            returning_bytes: 0,
            connections: 2,
            tasks: 12,
        }
    }

    #[test]
    fn memory_is_steady_when_both_figures_are() {
        let first = Point {
            allocated: Some(5_000_000),
            anonymous: 24 << 20,
            ..Point::empty()
        };
        let with = |allocated, anonymous| Point {
            allocated: Some(allocated),
            anonymous,
            ..Point::empty()
        };
        assert!(with(5_001_024, 24 << 20).is_steady(&first));
        assert!(!with(5_001_025, 24 << 20).is_steady(&first));
        assert!(!with(5_000_000, (24 << 20) + 65_537).is_steady(&first));
    }

    #[test]
    fn what_differs_is_named() {
        let first = at_rest();
        assert!(first.differs(&first).is_empty());
        let mut later = first.clone();
        later.descriptors = 41;
        later.timers = 3;
        let expected = ["41 descriptors instead of 40", "3 timers instead of 0"];
        assert_eq!(later.differs(&first), expected);
    }
}
