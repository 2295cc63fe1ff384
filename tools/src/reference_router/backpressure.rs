//! The Router's backpressure status, in the two forms that the contract has: polled and pushed.

use std::str::FromStr;

use bytes::Bytes;
use serde_json::{Value, json};

/// How loaded the Router says it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Status {
    #[default]
    Inactive,
    Warning,
    Active,
}

/// Which numbers stand behind a status. Two or more over their thresholds are `active`, one is
/// `warning`.
struct Metrics {
    pending_messages: u32,
    latency_p95_ms: u32,
    inflight_messages: u32,
}

const THRESHOLDS: Metrics = Metrics {
    pending_messages: 1000,
    latency_p95_ms: 5000,
    inflight_messages: 500,
};

impl Status {
    /// The word for it on the wire.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Inactive => "inactive",
            Self::Warning => "warning",
            Self::Active => "active",
        }
    }

    const fn metrics(self) -> Metrics {
        let (pending_messages, latency_p95_ms, inflight_messages) = match self {
            Self::Inactive => (3, 12, 2),
            Self::Warning => (1500, 900, 80),
            Self::Active => (4200, 7300, 640),
        };
        Metrics {
            pending_messages,
            latency_p95_ms,
            inflight_messages,
        }
    }

    /// The answer to a poll: the Router's map. `at_ms` is milliseconds of the wall clock.
    pub(crate) fn polled(self, subject: &str, retry_after_s: u32, at_ms: u64) -> Bytes {
        let body = json!({
            "subject": subject,
            "status": self.name(),
            "metrics": metrics(&self.metrics()),
            "thresholds": {
                "queue_overload": THRESHOLDS.pending_messages,
                "latency_overload_ms": THRESHOLDS.latency_p95_ms,
                "inflight_overload": THRESHOLDS.inflight_messages,
            },
            "policy": {"retry_after_seconds": retry_after_s, "max_retry_attempts": 3},
            "timestamp": at_ms,
        });
        body.to_string().into()
    }

    /// The message that tells of a change. Only `active` asks clients to wait.
    pub(crate) fn pushed(self, subject: &str, retry_after_s: u32, at_ms: u64) -> Bytes {
        let wait_s = if self == Self::Active {
            retry_after_s
        } else {
            0
        };
        let body = json!({
            "type": "backpressure_status",
            "status": self.name(),
            "subject": subject,
            "metrics": metrics(&self.metrics()),
            "timestamp": at_ms,
            "retry_after_seconds": wait_s,
        });
        body.to_string().into()
    }
}

impl FromStr for Status {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        [Self::Inactive, Self::Warning, Self::Active]
            .into_iter()
            .find(|status| status.name() == text.trim())
            .ok_or(())
    }
}

fn metrics(metrics: &Metrics) -> Value {
    json!({
        "pending_messages": metrics.pending_messages,
        "latency_p95_ms": metrics.latency_p95_ms,
        "inflight_messages": metrics.inflight_messages,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(body: &Bytes) -> Value {
        serde_json::from_slice(body).unwrap()
    }

    #[test]
    fn the_numbers_bear_the_status_out() {
        for (status, exceeded) in [
            (Status::Inactive, 0),
            (Status::Warning, 1),
            (Status::Active, 2),
        ] {
            let polled = parse(&status.polled("s", 30, 1));
            let over = |metric: &str, threshold: &str| {
                let metric = polled["metrics"][metric].as_u64().unwrap();
                usize::from(metric > polled["thresholds"][threshold].as_u64().unwrap())
            };
            let found = over("pending_messages", "queue_overload")
                + over("latency_p95_ms", "latency_overload_ms")
                + over("inflight_messages", "inflight_overload");
            assert_eq!(found.min(2), exceeded, "{status:?}");
        }
    }

    #[test]
    fn only_active_asks_to_wait() {
        let active = parse(&Status::Active.pushed("s", 7, 1));
        assert_eq!(active["type"], "backpressure_status");
        assert_eq!(active["status"], "active");
        assert_eq!(active["retry_after_seconds"], 7);
        let inactive = parse(&Status::Inactive.pushed("s", 7, 1));
        assert_eq!(inactive["retry_after_seconds"], 0);
        assert_eq!(
            parse(&Status::Active.polled("s", 7, 1))["policy"]["retry_after_seconds"],
            7
        );
    }

    #[test]
    fn words_that_are_no_status_are_refused() {
        assert_eq!(" warning\n".parse(), Ok(Status::Warning));
        assert_eq!("busy".parse::<Status>(), Err(()));
    }
}
