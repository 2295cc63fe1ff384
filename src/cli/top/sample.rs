//! What has happened between two answers of a gateway: rates.

use std::collections::HashMap;

use serde::Serialize;

use crate::status::{
    CodeCount, GatewayStatus, NatsStatus, RouteStatus, SessionStatus, Status, Totals, WorkerStatus,
};

/// The newer of two answers, and what has happened since the older one; as JSON, the object that
/// `--json` prints. Rates are per second.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Sample {
    /// Always true: an object without a gateway has false.
    reachable: bool,
    pub(super) time_seconds: f64,
    pub(super) interval_seconds: f64,
    pub(super) gateway: GatewayStatus,
    pub(super) totals: TotalsSample,
    pub(super) sessions: Vec<SessionSample>,
    pub(super) workers: Vec<WorkerSample>,
    pub(super) nats: Option<NatsStatus>,
    pub(super) routes: Vec<RouteSample>,
}

/// Sums over all sessions.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct TotalsSample {
    #[serde(flatten)]
    pub(super) now: Totals,
    pub(super) accepted_per_second: f64,
    pub(super) completed_per_second: f64,
    pub(super) answered_per_second: f64,
    pub(super) rejected_per_second: f64,
    pub(super) unknown_per_second: f64,
    /// By code, in the order of `codes`.
    pub(super) codes_per_second: Vec<f64>,
}

/// One session.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct SessionSample {
    #[serde(flatten)]
    pub(super) now: SessionStatus,
    pub(super) completed_per_second: f64,
    /// How full the submission ring is, 0 to 1.
    pub(super) ring_fill: f64,
}

/// One worker.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct WorkerSample {
    #[serde(flatten)]
    pub(super) now: WorkerStatus,
    /// The share of the time in which it had something to do, 0 to 1.
    pub(super) busy: f64,
}

/// One route.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct RouteSample {
    #[serde(flatten)]
    pub(super) now: RouteStatus,
    pub(super) admitted_per_second: f64,
    pub(super) rejected_per_second: f64,
}

/// Makes samples of the answers of a gateway, one after the other.
#[derive(Debug, Default)]
pub(super) struct Sampler {
    earlier: Option<Status>,
}

impl Sampler {
    /// The next answer. There is no sample of the first answer of a gateway, or when no time has
    /// passed.
    pub(super) fn push(&mut self, now: Status) -> Option<Sample> {
        let earlier = self.earlier.replace(now.clone())?;
        let is_same = earlier.gateway.pid == now.gateway.pid
            && earlier.gateway.uptime_seconds <= now.gateway.uptime_seconds;
        let seconds = now.time_seconds - earlier.time_seconds;
        (is_same && seconds > 0.0).then(|| sample(&earlier, now, seconds))
    }

    /// The gateway does not answer: what it says next is compared with nothing before.
    pub(super) fn forget(&mut self) {
        self.earlier = None;
    }
}

fn sample(earlier: &Status, now: Status, seconds: f64) -> Sample {
    let rate = |before: u64, after: u64| after.saturating_sub(before) as f64 / seconds;
    let (old, new) = (&earlier.totals, &now.totals);
    let totals = TotalsSample {
        accepted_per_second: rate(old.accepted, new.accepted),
        completed_per_second: rate(old.completed, new.completed),
        answered_per_second: rate(old.outcomes.answered, new.outcomes.answered),
        rejected_per_second: rate(old.outcomes.rejected, new.outcomes.rejected),
        unknown_per_second: rate(old.outcomes.unknown, new.outcomes.unknown),
        codes_per_second: new
            .codes
            .iter()
            .map(|code| rate(count(&old.codes, &code.code), code.completed))
            .collect(),
        now: now.totals,
    };
    let known = earlier.sessions.iter();
    let before: HashMap<u32, u64> = known.map(|old| (old.session, old.completed)).collect();
    let sessions = now.sessions.into_iter().map(|now| {
        // One that was not there has begun at 0.
        let old = before.get(&now.session).copied().unwrap_or(0);
        SessionSample {
            completed_per_second: rate(old, now.completed),
            ring_fill: now.queued as f64 / f64::from(now.entries.max(1)),
            now,
        }
    });
    let workers = now.workers.into_iter().map(|now| {
        let old = earlier.workers.get(now.worker);
        let before = old.map_or(now.busy_seconds, |old| old.busy_seconds);
        WorkerSample {
            busy: ((now.busy_seconds - before) / seconds).clamp(0.0, 1.0),
            now,
        }
    });
    let routes = now.routes.into_iter().enumerate().map(|(number, now)| {
        let old = earlier.routes.get(number);
        let rejected = |route: &RouteStatus| {
            let rejected = route.rejected;
            rejected.backpressure + rejected.breaker + rejected.queue
        };
        RouteSample {
            admitted_per_second: rate(old.map_or(0, |old| old.admitted), now.admitted),
            rejected_per_second: rate(old.map_or(0, rejected), rejected(&now)),
            now,
        }
    });
    Sample {
        reachable: true,
        time_seconds: now.time_seconds,
        interval_seconds: seconds,
        gateway: now.gateway,
        totals,
        sessions: sessions.collect(),
        workers: workers.collect(),
        nats: now.nats,
        routes: routes.collect(),
    }
}

fn count(codes: &[CodeCount], code: &str) -> u64 {
    let found = codes.iter().find(|count| count.code == code);
    found.map_or(0, |count| count.completed)
}

#[cfg(test)]
mod tests {
    use super::super::fixture;
    use super::*;

    #[test]
    fn rates_are_differences_over_the_time_that_the_gateway_says_has_passed() {
        let (earlier, later) = fixture::statuses();
        let mut sampler = Sampler::default();
        assert_eq!(sampler.push(earlier), None);
        let sample = sampler.push(later).unwrap();
        assert!((sample.interval_seconds - 2.0).abs() < 1e-9);
        assert_eq!(sample.totals.completed_per_second, 1_050.0);
        assert_eq!(sample.totals.answered_per_second, 1_000.0);
        assert_eq!(sample.totals.rejected_per_second, 50.0);
        // The second code has occurred for the first time.
        assert_eq!(sample.totals.codes_per_second, [1_000.0, 50.0]);
        let rates: Vec<f64> = sample
            .sessions
            .iter()
            .map(|s| s.completed_per_second)
            .collect();
        assert_eq!(rates, [800.0, 200.0, 50.0]);
        assert_eq!(sample.sessions[0].ring_fill, 0.25);
        let busy: Vec<f64> = sample.workers.iter().map(|w| w.busy).collect();
        assert_eq!(busy, [0.5, 0.0]);
        assert_eq!(sample.routes[0].admitted_per_second, 1_000.0);
        assert_eq!(sample.routes[1].rejected_per_second, 50.0);
    }

    #[test]
    fn another_gateway_is_not_compared_with_the_one_before() {
        let (earlier, later) = fixture::statuses();
        let mut sampler = Sampler::default();
        sampler.push(earlier.clone());
        let mut restarted = later.clone();
        restarted.gateway.pid += 1;
        assert_eq!(sampler.push(restarted), None);
        // One that has taken the process over begins anew as well.
        let mut upgraded = later.clone();
        upgraded.gateway.uptime_seconds = 0.1;
        sampler.push(later.clone());
        assert_eq!(sampler.push(upgraded), None);
        // And no time is no interval.
        sampler.push(later.clone());
        assert_eq!(sampler.push(later.clone()), None);
        sampler.push(earlier);
        sampler.forget();
        assert_eq!(sampler.push(later), None);
    }

    #[test]
    fn json_has_the_fields_of_the_answer_and_the_rates_beside_them() {
        let (earlier, later) = fixture::statuses();
        let mut sampler = Sampler::default();
        sampler.push(earlier);
        let sample = serde_json::to_value(sampler.push(later).unwrap()).unwrap();
        assert_eq!(sample["reachable"], true);
        assert_eq!(sample["totals"]["completed_per_second"], 1_050.0);
        assert_eq!(sample["totals"]["codes"][0]["code"], "OK");
        assert_eq!(sample["sessions"][0]["pid"], 4711);
        assert_eq!(sample["sessions"][0]["completed_per_second"], 800.0);
        assert_eq!(sample["workers"][0]["busy"], 0.5);
        assert_eq!(sample["routes"][1]["breaker"], "open");
        assert_eq!(sample["nats"]["connections"][0]["state"], "connected");
    }
}
