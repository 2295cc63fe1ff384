//! What the Router says about its load, and what that does to admission.

use core::time::Duration;
use std::sync::Arc;

use super::contract::{self, Pressure};
use crate::bridge::{Admission, Admissions};
use crate::clock::Nanos;
use crate::metrics::nats::NatsMetrics;
use crate::settings::BackpressureSettings;

/// How long a status holds when it does not say.
const DEFAULT_RETRY: Duration = Duration::from_secs(30);

/// The last status, until when it holds, and when to ask again.
#[derive(Debug)]
pub(super) struct Backpressure {
    settings: BackpressureSettings,
    admissions: Arc<Admissions>,
    /// When a status that holds requests back ends by itself.
    ends: Nanos,
    next_poll: Nanos,
}

impl Backpressure {
    pub(super) const fn new(settings: BackpressureSettings, admissions: Arc<Admissions>) -> Self {
        let polls = settings.subject.is_some() && settings.poll_interval.is_some();
        Self {
            settings,
            admissions,
            ends: Nanos::NEVER,
            next_poll: if polls { Nanos(0) } else { Nanos::NEVER },
        }
    }

    /// Takes a status, pushed or polled.
    pub(super) fn status(&mut self, body: &[u8], now: Nanos, metrics: &NatsMetrics) {
        let Some(status) = contract::parse_backpressure(body) else {
            metrics.backpressure_unreadable.increment();
            return;
        };
        metrics.backpressure_statuses.increment();
        let holds = status.retry_after.unwrap_or(DEFAULT_RETRY);
        let retry_after_ms = u32::try_from(holds.as_millis()).unwrap_or(u32::MAX);
        let admission = match status.pressure {
            Pressure::Inactive => Admission::Open,
            Pressure::Warning => Admission::Half { retry_after_ms },
            Pressure::Active => Admission::Closed { retry_after_ms },
        };
        self.ends = if admission == Admission::Open {
            Nanos::NEVER
        } else {
            now.after(holds)
        };
        self.admit(admission);
    }

    /// When something is due.
    pub(super) fn due(&self) -> Nanos {
        self.ends.min(self.next_poll)
    }

    /// Ends a status that has run out. Returns the subject to poll when it is time to.
    pub(super) fn tick(&mut self, now: Nanos) -> Option<&str> {
        if self.ends <= now {
            self.ends = Nanos::NEVER;
            self.admit(Admission::Open);
        }
        if self.next_poll > now {
            return None;
        }
        self.next_poll = now.after(self.settings.poll_interval?);
        self.settings.subject.as_deref()
    }

    fn admit(&self, admission: Admission) {
        for &route in &self.settings.routes {
            self.admissions.set(route, admission);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_ends_by_itself() {
        let admissions = Arc::new(Admissions::new(1));
        let settings = BackpressureSettings {
            subject: Some("s".to_owned()),
            poll_interval: None,
            routes: vec![0],
        };
        let metrics = NatsMetrics::default();
        let mut backpressure = Backpressure::new(settings, Arc::clone(&admissions));
        assert_eq!(backpressure.due(), Nanos::NEVER);
        let active = br#"{"status":"active","retry_after_seconds":2}"#;
        backpressure.status(active, Nanos(0), &metrics);
        let retry_after_ms = 2000;
        assert_eq!(admissions.of(0), Admission::Closed { retry_after_ms });
        assert_eq!(backpressure.due(), Nanos(2_000_000_000));
        assert_eq!(backpressure.tick(Nanos(2_000_000_000)), None);
        assert_eq!(admissions.of(0), Admission::Open);
        backpressure.status(b"?", Nanos(0), &metrics);
        assert_eq!(metrics.backpressure_unreadable.get(), 1);
    }
}
