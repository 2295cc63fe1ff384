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

/// Why a client could not be accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AcceptError {
    /// This process has no descriptors left.
    ProcessDescriptors,
    /// The system has none left.
    SystemDescriptors,
    /// The system has no memory.
    Memory,
    /// Something else.
    Other,
}

impl AcceptError {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::ProcessDescriptors,
        Self::SystemDescriptors,
        Self::Memory,
        Self::Other,
    ];

    /// The name used in metrics: the system's.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ProcessDescriptors => "EMFILE",
            Self::SystemDescriptors => "ENFILE",
            Self::Memory => "ENOMEM",
            Self::Other => "other",
        }
    }
}

/// How an attempt to read the configuration again has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reloading {
    /// Something has changed, and holds.
    Changed,
    /// Nothing has changed.
    Unchanged,
    /// It cannot be used; the one before holds.
    Invalid,
    /// Keys have changed that need a restart; the one before holds.
    Restart,
}

impl Reloading {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Changed, Self::Unchanged, Self::Invalid, Self::Restart];

    /// The name used in metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Changed => "changed",
            Self::Unchanged => "unchanged",
            Self::Invalid => "invalid",
            Self::Restart => "restart",
        }
    }
}

/// Counters of the control room; its one thread writes them, but for what is said below.
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
    /// Bytes of sessions that have ended whose memory is not back yet (gauge). Written under a lock.
    pub returning_bytes: Counter,
    /// Clients that were dropped before they said what they want, because too many others waited.
    pub evicted: Counter,
    /// Failures to accept a client, in the order of [`AcceptError::ALL`].
    accept_errors: [Counter; AcceptError::ALL.len()],
    /// Log lines about clients left out because there were too many.
    pub log_suppressed: Counter,
    /// 1 while draining, else 0 (gauge).
    pub draining: Counter,
    /// Attempts to read the configuration again, in the order of [`Reloading::ALL`].
    reloads: [Counter; Reloading::ALL.len()],
    /// When the gateway began to serve, in seconds since 1970 (gauge).
    pub started_at: Counter,
    /// When the configuration was last read and taken, in seconds since 1970 (gauge).
    pub configured_at: Counter,
}

impl Default for ControlMetrics {
    fn default() -> Self {
        Self {
            attached: Counter::default(),
            refused: EndReason::ALL.map(|_| Counter::default()),
            ended: EndReason::ALL.map(|_| Counter::default()),
            over_quota: Resource::ALL.map(|_| Counter::default()),
            pending: Counter::default(),
            returning_bytes: Counter::default(),
            evicted: Counter::default(),
            accept_errors: AcceptError::ALL.map(|_| Counter::default()),
            log_suppressed: Counter::default(),
            draining: Counter::default(),
            reloads: Reloading::ALL.map(|_| Counter::default()),
            started_at: Counter::default(),
            configured_at: Counter::default(),
        }
    }
}

impl ControlMetrics {
    /// Counts a client that was refused.
    pub fn refuse(&self, reason: EndReason) {
        count(&EndReason::ALL, &self.refused, reason);
    }

    /// Counts a session that ended.
    pub fn end(&self, reason: EndReason) {
        count(&EndReason::ALL, &self.ended, reason);
    }

    /// Counts a client that was refused because its user has too much of something.
    pub fn over(&self, resource: Resource) {
        count(&Resource::ALL, &self.over_quota, resource);
    }

    /// Counts a failure to accept a client.
    pub fn accept_error(&self, error: AcceptError) {
        count(&AcceptError::ALL, &self.accept_errors, error);
    }

    /// Counts an attempt to read the configuration again.
    pub fn reloaded(&self, how: Reloading) {
        count(&Reloading::ALL, &self.reloads, how);
    }

    /// Attempts so far to read the configuration again.
    pub fn reloads(&self) -> impl Iterator<Item = (Reloading, u64)> + '_ {
        counts(&Reloading::ALL, &self.reloads)
    }

    /// Clients refused so far, by reason.
    pub fn refused(&self) -> impl Iterator<Item = (EndReason, u64)> + '_ {
        counts(&EndReason::ALL, &self.refused)
    }

    /// Sessions ended so far, by reason.
    pub fn ended(&self) -> impl Iterator<Item = (EndReason, u64)> + '_ {
        counts(&EndReason::ALL, &self.ended)
    }

    /// Clients refused so far because of a quota, by what there was too much of.
    pub fn over_quota(&self) -> impl Iterator<Item = (Resource, u64)> + '_ {
        counts(&Resource::ALL, &self.over_quota)
    }

    /// Failures to accept a client so far.
    pub fn accept_errors(&self) -> impl Iterator<Item = (AcceptError, u64)> + '_ {
        counts(&AcceptError::ALL, &self.accept_errors)
    }
}

fn count<T: PartialEq>(all: &[T], counters: &[Counter], one: T) {
    let at = all.iter().position(|known| *known == one);
    if let Some(counter) = at.and_then(|at| counters.get(at)) {
        counter.increment();
    }
}

fn counts<'a, T: Copy>(
    all: &'a [T],
    counters: &'a [Counter],
) -> impl Iterator<Item = (T, u64)> + 'a {
    let all = all.iter().copied();
    all.zip(counters.iter().map(Counter::get))
}
