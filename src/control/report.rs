//! What the gateway says of itself: alive, ready, its counters, its sessions. `status` has it all.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;
use tokio::sync::Notify;

use super::status::Watched;
use super::window::Window;
use crate::clock::{Clock as _, Nanos, System};
use crate::health::NatsHealth;
use crate::metrics::export::Sources;
use crate::metrics::session::SessionFigures;
use crate::route::Route;

/// How long a thread that is not asleep may stand still.
const STUCK_AFTER: Duration = Duration::from_secs(5);

/// One attached session.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Row {
    pub(super) session: u32,
    pub(super) pid: i32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// What the client calls itself.
    pub(super) name: String,
    pub(super) worker: usize,
    /// Most requests at once.
    pub(super) entries: u32,
    /// Largest message, in bytes.
    pub(super) message_size: u32,
    /// Shared memory, in bytes.
    pub(super) bytes: u64,
}

/// One attached session, and what its worker shows of it.
#[derive(Debug)]
pub(super) struct Seat {
    pub(super) row: Row,
    pub(super) figures: Arc<SessionFigures>,
    /// Only while somebody looks.
    pub(super) watched: Option<Box<Watched>>,
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) draining: bool,
    stuck: Option<String>,
    pub(super) sessions: BTreeMap<u32, Seat>,
    /// When somebody looked at everything last.
    pub(super) looked: Nanos,
    /// How long the newest requests took; only while somebody looks.
    pub(super) latency: Option<Box<Window>>,
    /// The names of the routes, by number, since the configuration was read again.
    routes: Option<Vec<String>>,
}

/// Shared by the control room, which writes it, and the admin server.
#[derive(Debug)]
pub struct Report {
    /// Whose counters are shown.
    pub sources: Sources,
    pub(super) nats: Option<Arc<NatsHealth>>,
    pub(super) began: Nanos,
    state: Mutex<State>,
    /// Notified when somebody looks, and the threads are to show what they have.
    pub(super) asked: Notify,
    /// Notified when every worker has.
    pub(super) shown: Notify,
}

impl Report {
    /// About these rooms; `nats` is none when something else answers.
    #[must_use]
    pub fn new(sources: Sources, nats: Option<Arc<NatsHealth>>) -> Self {
        Self {
            sources,
            nats,
            began: System.now(),
            state: Mutex::default(),
            asked: Notify::new(),
            shown: Notify::new(),
        }
    }

    /// Why the gateway is not alive, if it is not.
    ///
    /// # Errors
    /// The thread that stands still.
    pub(super) fn live(&self) -> Result<(), String> {
        self.state().stuck.clone().map_or(Ok(()), Err)
    }

    /// Why requests are not taken, if they are not.
    ///
    /// # Errors
    /// The reason.
    pub(super) fn ready(&self) -> Result<(), String> {
        self.live()?;
        if self.state().draining {
            return Err("draining".to_owned());
        }
        match &self.nats {
            Some(nats) if nats.connected() == 0 => Err(nats.last_error().map_or_else(
                || "not connected to NATS yet".to_owned(),
                |error| format!("not connected to NATS: {error}"),
            )),
            _ => Ok(()),
        }
    }

    /// The sessions, oldest first.
    pub(super) fn sessions(&self) -> Vec<Row> {
        let state = self.state();
        let rows = state.sessions.values().map(|seat| seat.row.clone());
        rows.collect()
    }

    /// What the counters are read from, with the routes of now.
    pub(super) fn counters(&self) -> Sources {
        let routes = self.state().routes.clone();
        let sources = self.sources.clone();
        match routes {
            None => sources,
            Some(routes) => Sources { routes, ..sources },
        }
    }

    /// The routes have changed. Those that are removed still have counters.
    pub(super) fn set_routes(&self, routes: &[Route]) {
        let names = routes.iter().map(|route| route.name.clone());
        self.state().routes = Some(names.collect());
    }

    pub(super) fn drain(&self) {
        self.sources.control.draining.set(1);
        self.state().draining = true;
    }

    pub(super) fn attached(&self, row: Row, figures: Arc<SessionFigures>) {
        self.sources.control.attached.increment();
        let seat = Seat {
            row,
            figures,
            watched: None,
        };
        self.state().sessions.insert(seat.row.session, seat);
    }

    pub(super) fn ended(&self, session: u32) {
        self.state().sessions.remove(&session);
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sees whether the threads advance. To be asked about once a second.
#[derive(Debug, Default)]
pub(super) struct Pulse {
    /// For each thread its count when it was last seen to change, and when that was.
    seen: BTreeMap<String, (u64, Nanos)>,
    /// For each thread its count at the look before.
    newest: BTreeMap<String, u64>,
}

impl Pulse {
    /// Looks once more; the report says `stuck` from when a thread has stood still for too long
    /// until it moves again. Returns whether every thread has moved since the look before: also one
    /// that sleeps, so this is to be asked of threads that were woken meanwhile.
    pub(super) fn look(&mut self, report: &Report, now: Nanos) -> bool {
        let workers = report.sources.workers.iter().enumerate().map(|(at, m)| {
            let count = (m.cycles.get(), m.asleep.get());
            (format!("worker {at}"), count)
        });
        let nats = report.sources.nats.iter();
        let nats = nats.map(|m| {
            (
                "the NATS thread".to_owned(),
                (m.turns.get(), m.asleep.get()),
            )
        });
        let mut stuck = None;
        let mut all_moved = true;
        for (name, (count, asleep)) in workers.chain(nats) {
            let newest = self.newest.insert(name.clone(), count);
            all_moved &= newest != Some(count);
            let seen = self.seen.entry(name.clone()).or_insert((count, now));
            if seen.0 != count || asleep != 0 {
                *seen = (count, now);
            } else if seen.1.after(STUCK_AFTER) <= now {
                let seconds = now.since(seen.1) / 1_000_000_000;
                stuck = Some(format!("{name} has not moved for {seconds} s"));
            }
        }
        report.state().stuck = stuck;
        all_moved
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(nats: Option<Arc<NatsHealth>>) -> Report {
        let sources = Sources {
            routes: Vec::new(),
            workers: vec![Arc::default()],
            nats: nats.is_some().then(Arc::default),
            control: Arc::default(),
            log: Arc::default(),
            trace: Arc::default(),
        };
        Report::new(sources, nats)
    }

    #[test]
    fn a_thread_that_stands_still_is_not_alive_until_it_moves() {
        let report = report(None);
        let mut pulse = Pulse::default();
        let mut at = |seconds: u64| pulse.look(&report, Nanos(seconds * 1_000_000_000));
        at(0);
        assert!(!at(4));
        assert_eq!(report.live(), Ok(()));
        assert!(!at(5));
        assert_eq!(
            report.live(),
            Err("worker 0 has not moved for 5 s".to_owned())
        );
        assert_eq!(report.ready(), report.live());
        report.sources.workers[0].cycles.increment();
        assert!(at(6));
        assert_eq!(report.live(), Ok(()));
        report.sources.workers[0].asleep.set(1);
        assert!(!at(60), "it sleeps on although it was woken");
        assert_eq!(report.ready(), Ok(()));
    }

    #[test]
    fn readiness_says_why_not() {
        let nats = Arc::new(NatsHealth::new(1));
        let report = report(Some(Arc::clone(&nats)));
        assert_eq!(report.ready(), Err("not connected to NATS yet".to_owned()));
        nats.set_last_error("connection refused".to_owned());
        let refused = "not connected to NATS: connection refused";
        assert_eq!(report.ready(), Err(refused.to_owned()));
        nats.set_connected(1);
        assert_eq!(report.ready(), Ok(()));
        report.drain();
        assert_eq!(report.ready(), Err("draining".to_owned()));
    }
}
