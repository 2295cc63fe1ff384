//! What the control room counts.

use ipc_ringbuf::error::EndReason;

use super::Counter;

/// What a user can have too much of when it attaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    /// Sessions at once.
    Sessions,
    /// Shared memory.
    Memory,
    /// Sessions attached in a second.
    AttachRate,
}

impl Resource {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Sessions, Self::Memory, Self::AttachRate];

    /// The name used in metrics, which is that of the limit in the configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sessions => "sessions",
            Self::Memory => "memory",
            Self::AttachRate => "attach_rate",
        }
    }
}

/// Counters of the control room; its one thread writes them.
#[derive(Debug)]
pub struct ControlMetrics {
    /// Clients attached.
    pub attached: Counter,
    /// Clients refused, by reason, in the order of [`EndReason::ALL`].
    refused: [Counter; EndReason::ALL.len()],
    /// Sessions ended, by reason, in the same order.
    ended: [Counter; EndReason::ALL.len()],
    /// Clients refused because of their user's quota, in the order of [`Resource::ALL`].
    over_quota: [Counter; Resource::ALL.len()],
    /// Clients that have connected and not said what they want (gauge).
    pub pending: Counter,
    /// Clients that were dropped before they said what they want, because too many others waited.
    pub evicted: Counter,
    /// Failures to accept a client.
    pub accept_errors: Counter,
    /// Log lines about clients left out because there were too many.
    pub log_suppressed: Counter,
    /// 1 while draining, else 0 (gauge).
    pub draining: Counter,
}

impl Default for ControlMetrics {
    fn default() -> Self {
        Self {
            attached: Counter::default(),
            refused: EndReason::ALL.map(|_| Counter::default()),
            ended: EndReason::ALL.map(|_| Counter::default()),
            over_quota: Resource::ALL.map(|_| Counter::default()),
            pending: Counter::default(),
            evicted: Counter::default(),
            accept_errors: Counter::default(),
            log_suppressed: Counter::default(),
            draining: Counter::default(),
        }
    }
}

impl ControlMetrics {
    /// Counts a client that was refused.
    pub fn refuse(&self, reason: EndReason) {
        count(&self.refused, reason);
    }

    /// Counts a session that ended.
    pub fn end(&self, reason: EndReason) {
        count(&self.ended, reason);
    }

    /// Counts a client that was refused because its user has too much of something.
    pub fn over(&self, resource: Resource) {
        let at = Resource::ALL.iter().position(|known| *known == resource);
        if let Some(counter) = at.and_then(|at| self.over_quota.get(at)) {
            counter.increment();
        }
    }

    /// Clients refused so far because of a quota, by what there was too much of.
    pub fn over_quota(&self) -> impl Iterator<Item = (Resource, u64)> + '_ {
        let resources = Resource::ALL.into_iter();
        resources.zip(self.over_quota.iter().map(Counter::get))
    }

    /// Clients refused so far, by reason.
    pub fn refused(&self) -> impl Iterator<Item = (EndReason, u64)> + '_ {
        counts(&self.refused)
    }

    /// Sessions ended so far, by reason.
    pub fn ended(&self) -> impl Iterator<Item = (EndReason, u64)> + '_ {
        counts(&self.ended)
    }
}

fn count(counters: &[Counter], reason: EndReason) {
    let at = EndReason::ALL.iter().position(|known| *known == reason);
    if let Some(counter) = at.and_then(|at| counters.get(at)) {
        counter.increment();
    }
}

fn counts(counters: &[Counter]) -> impl Iterator<Item = (EndReason, u64)> + '_ {
    let reasons = EndReason::ALL.into_iter();
    reasons.zip(counters.iter().map(Counter::get))
}
