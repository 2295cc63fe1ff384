//! What the Router says about its load, and what that does to admission.

use core::time::Duration;
use std::sync::Arc;

use crate::bridge::{Admission, Admissions};
use crate::clock::Nanos;
use crate::metrics::nats::NatsMetrics;
use crate::route::Route;
use crate::router_contract::{DEFAULT_RETRY_AFTER, Poll, parse_backpressure};
use crate::settings::BackpressureSettings;

/// The tenant on whose behalf a status is asked for.
const TENANT: &str = "ipc-gateway";

/// How long the workers may take to find out by probes whether a closure is over.
const PROBING: Duration = DEFAULT_RETRY_AFTER;
/// Longest time that one status holds: what asks for more is wrong about its unit, or hostile.
const LONGEST: Duration = Duration::from_secs(600);

/// The last status of each route that it concerns, and when to ask again.
#[derive(Debug)]
pub(super) struct Backpressure {
    settings: BackpressureSettings,
    admissions: Arc<Admissions>,
    routes: Vec<Held>,
    next_poll: Nanos,
    /// Closures that have run out.
    closures: u32,
}

/// A route that a status may hold back.
#[derive(Debug)]
struct Held {
    route: u16,
    subject: Box<str>,
    /// When the status that holds its requests back ends by itself.
    ends: Nanos,
    /// Whether it let nothing in.
    is_closed: bool,
}

impl Backpressure {
    pub(super) fn new(
        settings: BackpressureSettings,
        routes: &[Route],
        admissions: Arc<Admissions>,
    ) -> Self {
        let polls = settings.subject.is_some() && settings.poll_interval.is_some();
        let held = |&route: &u16| {
            routes.get(usize::from(route)).map(|known| Held {
                route,
                subject: known.subject.as_str().into(),
                ends: Nanos::NEVER,
                is_closed: false,
            })
        };
        Self {
            routes: settings.routes.iter().filter_map(held).collect(),
            settings,
            admissions,
            next_poll: if polls { Nanos(0) } else { Nanos::NEVER },
            closures: 0,
        }
    }

    /// Takes other settings and routes. A status holds on for a route that goes to the same subject.
    pub(super) fn renew(&mut self, settings: BackpressureSettings, routes: &[Route]) {
        let admissions = Arc::clone(&self.admissions);
        let old = core::mem::replace(self, Self::new(settings, routes, admissions));
        self.closures = old.closures;
        let is_on = self.settings.subject.is_some();
        for was in old.routes {
            let mut held = self.routes.iter_mut().filter(|_| is_on);
            match held.find(|held| held.route == was.route && held.subject == was.subject) {
                Some(held) => *held = was,
                None => self.admissions.set(was.route, Admission::Open),
            }
        }
        let polled = self.next_poll != Nanos::NEVER && old.next_poll != Nanos::NEVER;
        if polled && self.settings.poll_interval == old.settings.poll_interval {
            self.next_poll = old.next_poll;
        }
    }

    /// Takes a status, pushed or polled. One that names a subject concerns the routes to it, one
    /// that names none concerns all.
    pub(super) fn status(&mut self, body: &[u8], now: Nanos, metrics: &NatsMetrics) {
        if self.settings.subject.is_none() {
            return;
        }
        let Some(status) = parse_backpressure(body) else {
            metrics.backpressure_unreadable.increment();
            return;
        };
        metrics.backpressure_statuses.increment();
        let Some(admission) = status.admission() else {
            return;
        };
        let ends = if admission == Admission::Open {
            Nanos::NEVER
        } else {
            let asked = status.retry_after.unwrap_or(DEFAULT_RETRY_AFTER);
            now.after(asked.min(LONGEST))
        };
        for held in &mut self.routes {
            if status
                .subject
                .as_deref()
                .is_none_or(|s| s == &*held.subject)
            {
                held.ends = ends;
                held.is_closed = matches!(admission, Admission::Closed { .. });
                self.admissions.set(held.route, admission);
            }
        }
    }

    /// When something is due.
    pub(super) fn due(&self) -> Nanos {
        let ends = self.routes.iter().map(|held| held.ends);
        ends.fold(self.next_poll, Nanos::min)
    }

    /// Ends the statuses that have run out: after a closure the workers probe before they let
    /// everything in. Returns whether it is time to poll.
    pub(super) fn tick(&mut self, now: Nanos) -> bool {
        for held in self.routes.iter_mut().filter(|held| held.ends <= now) {
            let admission = if core::mem::take(&mut held.is_closed) {
                self.closures = self.closures.wrapping_add(1).max(1);
                held.ends = now.after(PROBING);
                Admission::Probing {
                    closure: self.closures,
                }
            } else {
                held.ends = Nanos::NEVER;
                Admission::Open
            };
            self.admissions.set(held.route, admission);
        }
        let Some(interval) = self.settings.poll_interval else {
            return false;
        };
        let is_due = self.next_poll <= now;
        if is_due {
            self.next_poll = now.after(interval);
        }
        is_due
    }

    /// The subject to poll, and a question for each route. `trace_id` names this round of them.
    pub(super) fn polls(&self, trace_id: &str) -> impl Iterator<Item = (&str, Poll)> {
        let subject = self.settings.subject.as_deref();
        let polls = self.routes.iter();
        polls.filter_map(move |held| Some((subject?, Poll::new(&held.subject, TENANT, trace_id))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start(poll_interval: Option<Duration>) -> (Backpressure, Arc<Admissions>) {
        let mut other = Route::decide();
        other.subject = crate::route::Subject::try_from("other".to_owned()).unwrap();
        let admissions = Arc::new(Admissions::new(2));
        let settings = BackpressureSettings {
            subject: Some("s".to_owned()),
            poll_interval,
            routes: vec![0, 1],
        };
        let routes = [Route::decide(), other];
        let backpressure = Backpressure::new(settings, &routes, Arc::clone(&admissions));
        (backpressure, admissions)
    }

    #[test]
    fn a_status_ends_by_itself() {
        let (mut backpressure, admissions) = start(None);
        let metrics = NatsMetrics::default();
        assert_eq!(backpressure.due(), Nanos::NEVER);
        let active = br#"{"status":"active","retry_after_seconds":2}"#;
        backpressure.status(active, Nanos(0), &metrics);
        let closed = Admission::Closed {
            retry_after_ms: 2000,
        };
        assert_eq!((admissions.of(0), admissions.of(1)), (closed, closed));
        assert_eq!(backpressure.due(), Nanos(2_000_000_000));
        assert!(!backpressure.tick(Nanos(2_000_000_000)));
        assert_eq!(admissions.of(0), Admission::Probing { closure: 1 });
        assert_eq!(admissions.of(1), Admission::Probing { closure: 2 });
        let probed = backpressure.due();
        assert_eq!(probed, Nanos(2_000_000_000).after(PROBING));
        backpressure.tick(probed);
        assert_eq!(admissions.of(0), Admission::Open);
        assert_eq!(backpressure.due(), Nanos::NEVER);
        backpressure.status(b"?", Nanos(0), &metrics);
        assert_eq!(metrics.backpressure_unreadable.get(), 1);
        // A moment in place of a time.
        let wrong = br#"{"status":"active","retry_after_seconds":1764300000}"#;
        backpressure.status(wrong, Nanos(0), &metrics);
        assert_eq!(backpressure.due(), Nanos(0).after(LONGEST));
    }

    #[test]
    fn a_status_that_names_a_subject_concerns_the_routes_to_it() {
        let (mut backpressure, admissions) = start(None);
        let metrics = NatsMetrics::default();
        let active = br#"{"status":"active","subject":"other","retry_after_seconds":1}"#;
        backpressure.status(active, Nanos(0), &metrics);
        assert_eq!(admissions.of(0), Admission::Open);
        let closed = Admission::Closed {
            retry_after_ms: 1000,
        };
        assert_eq!(admissions.of(1), closed);
        backpressure.status(br#"{"status":"unknown"}"#, Nanos(0), &metrics);
        assert_eq!(admissions.of(1), closed);
    }

    #[test]
    fn a_poll_asks_about_each_route_and_is_repeated() {
        let (mut backpressure, _) = start(Some(Duration::from_nanos(5)));
        assert!(backpressure.tick(Nanos(1)));
        assert!(!backpressure.tick(Nanos(5)));
        assert!(backpressure.tick(Nanos(6)));
        let asked: Vec<_> = backpressure.polls("t").collect();
        assert_eq!(asked.len(), 2);
        assert_eq!(asked[1].0, "s");
        assert_eq!(asked[1].1.payload, br#"{"subject":"other"}"#);
    }
}
