//! Sending idempotent requests again after they found nobody or their connection was lost.
//!
//! A request is kept only if both its route and the client allow it. It is sent again at most
//! [`MAX_RESENDS`] times, after a random wait, within its deadline, and only while re-sends are few
//! beside the rest of the traffic: a Router in trouble must not be hit harder for it.

use core::time::Duration;
use std::collections::HashMap;

use super::backoff::Backoff;
use super::held::Held;
use crate::bridge::{Code, Token};
use crate::clock::Nanos;
use crate::metrics::nats::NatsMetrics;

/// Most times that one request is sent again.
const MAX_RESENDS: u8 = 2;
/// Ceilings of the waits before a request is sent again.
const WAITS: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(80));
/// Requests sent that pay for one re-send: re-sends are at most a tenth of the traffic.
const COST: u32 = 10;
/// Most that can be saved up, and what there is at the start.
const SAVINGS: u32 = 100 * COST;

/// Between two looks for what was kept in vain.
const SWEEP: Duration = Duration::from_secs(1);
/// Requests that room is kept for, however few there are.
const FEW: usize = 64;

/// What becomes of a request that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Plan {
    /// It will be sent again.
    Again,
    /// It completes with this code.
    End(Code),
}

/// The requests that may be sent again, and those that will be.
#[derive(Debug)]
pub(super) struct Resend {
    kept: HashMap<Token, Held>,
    resting: Vec<Held>,
    budget: u32,
    waits: Backoff,
    /// When to look for what was kept in vain.
    sweep_due: Nanos,
}

impl Resend {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            kept: HashMap::new(),
            resting: Vec::new(),
            budget: SAVINGS,
            waits: Backoff::new(WAITS, seed),
            sweep_due: Nanos(0),
        }
    }

    /// Notes that a request was sent, and keeps it if it may be sent again.
    pub(super) fn sent(&mut self, mut held: Held, may_be_sent_again: impl FnOnce() -> bool) {
        if held.resends == 0 {
            self.budget = self.budget.saturating_add(1).min(SAVINGS);
        }
        // What may have run is remembered of one that was sent before, whatever is allowed since.
        if held.request.idempotent && (held.before.is_some() || may_be_sent_again()) {
            held.own();
            self.kept.insert(held.request.token, held);
        }
    }

    /// Drops what was kept for a request that has been completed or given up.
    pub(super) fn forget(&mut self, token: Token) {
        if !self.kept.is_empty() {
            self.kept.remove(&token);
        }
    }

    /// What a request completes with that ends with `code` and is not sent again: once it may have run,
    /// nothing that comes later makes that untrue.
    pub(super) fn fate(&self, token: Token, code: Code) -> Code {
        match self.kept.get(&token).and_then(|held| held.before) {
            Some(Code::UpstreamLost) => Code::UpstreamLost,
            _ => code,
        }
    }

    /// Decides about a request that failed with `code`.
    pub(super) fn failed(
        &mut self,
        token: Token,
        code: Code,
        now: Nanos,
        metrics: &NatsMetrics,
    ) -> Plan {
        let code = self.fate(token, code);
        let Some(mut held) = self.kept.remove(&token) else {
            return Plan::End(code);
        };
        let due = now.after(self.waits.wait(held.resends.into()));
        if held.resends >= MAX_RESENDS || due >= held.request.deadline {
            return Plan::End(code);
        }
        let Some(budget) = self.budget.checked_sub(COST) else {
            metrics.resend_budget_exhausted.increment();
            return Plan::End(code);
        };
        self.budget = budget;
        metrics.resent.increment();
        held.before = Some(code);
        held.resends += 1;
        held.arrived = due;
        self.resting.push(held);
        Plan::Again
    }

    /// Drops what was kept of requests that ran out of time a while ago: nobody says so of one that is never
    /// answered. Not at once: until its worker has noticed, what it was sent before decides its
    /// [`fate`](Self::fate).
    pub(super) fn sweep(&mut self, now: Nanos) {
        if now < self.sweep_due || self.kept.is_empty() {
            return;
        }
        self.sweep_due = now.after(SWEEP);
        self.kept
            .retain(|_, held| held.request.deadline.after(SWEEP) > now);
        if self.kept.capacity() / 4 > self.kept.len() {
            self.kept.shrink_to((2 * self.kept.len()).max(FEW));
        }
    }

    /// When the next request is to be sent again, or to look for what was kept in vain.
    pub(super) fn due(&self) -> Nanos {
        let dues = self.resting.iter().map(|held| held.arrived);
        let sweep = if self.kept.is_empty() {
            Nanos::NEVER
        } else {
            self.sweep_due
        };
        dues.min().unwrap_or(Nanos::NEVER).min(sweep)
    }

    /// A request that is to be sent again now.
    pub(super) fn take_due(&mut self, now: Nanos) -> Option<Held> {
        let place = self.resting.iter().position(|held| held.arrived <= now)?;
        Some(self.resting.swap_remove(place))
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::bridge::Request;

    const TOKEN: Token = Token::new(0, 1, 1);

    fn sent(resend: &mut Resend) {
        sent_until(resend, TOKEN, Nanos::NEVER);
    }

    fn sent_until(resend: &mut Resend, token: Token, deadline: Nanos) {
        let request = Request {
            token,
            route: 0,
            session: 0,
            idempotent: true,
            accepted: Nanos(0),
            deadline,
            body: Bytes::new(),
            header_len: 0,
            tenant: None,
        };
        resend.sent(Held::new(request, Nanos(0)), || true);
    }

    #[test]
    fn a_request_is_sent_again_twice_and_what_may_have_run_stays_so() {
        let (mut resend, metrics) = (Resend::new(1), NatsMetrics::default());
        sent(&mut resend);
        for code in [Code::UpstreamLost, Code::NoResponders] {
            let plan = resend.failed(TOKEN, code, Nanos(0), &metrics);
            assert_eq!(plan, Plan::Again);
            let held = resend.take_due(Nanos::NEVER).unwrap();
            assert_eq!(held.before, Some(Code::UpstreamLost));
            // The route may have been told otherwise meanwhile.
            resend.sent(held, || false);
            assert_eq!(resend.fate(TOKEN, Code::Forbidden), Code::UpstreamLost);
        }
        let plan = resend.failed(TOKEN, Code::NoResponders, Nanos(0), &metrics);
        assert_eq!(plan, Plan::End(Code::UpstreamLost));
        assert_eq!(metrics.resent.get(), 2);
    }

    #[test]
    fn what_is_never_answered_is_kept_until_its_worker_has_noticed() {
        const MANY: u32 = 10_000;
        let mut resend = Resend::new(1);
        assert_eq!(resend.due(), Nanos::NEVER);
        let token = |place| Token::new(0, place, 1);
        for place in 0..MANY {
            sent_until(&mut resend, token(place), Nanos(u64::from(place)));
        }
        assert_eq!(resend.due(), Nanos(0));
        let half = Nanos(u64::from(MANY / 2 - 1)).after(SWEEP);
        resend.sweep(half);
        assert_eq!(resend.kept.len(), MANY as usize / 2);
        let last = resend.due();
        assert_eq!(last, half.after(SWEEP));
        resend.sweep(last);
        assert_eq!((resend.kept.len(), resend.due()), (0, Nanos::NEVER));
        assert!(resend.kept.capacity() < 4 * FEW);
    }

    #[test]
    fn re_sends_are_few_beside_the_traffic() {
        let (mut resend, metrics) = (Resend::new(1), NatsMetrics::default());
        let mut again = 0;
        for _ in 0..1000 {
            sent(&mut resend);
            let plan = resend.failed(TOKEN, Code::NoResponders, Nanos(0), &metrics);
            again += u32::from(plan == Plan::Again);
        }
        assert!((100..=220).contains(&again), "{again}");
        assert_eq!(
            metrics.resend_budget_exhausted.get(),
            u64::from(1000 - again)
        );
    }
}
