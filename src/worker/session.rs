//! One session, as its worker sees it.

use std::fmt;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use ipc_ringbuf::error::PeerMisbehaved;
use ipc_ringbuf::port::{Cursors, Port, Rung, Submission};

use super::charges::Charges;
use super::mailbox::{NewSession, Rights};
use super::rings::Rings;
use crate::clock::Nanos;
use crate::metrics::session::SessionFigures;

/// Completions for which a client is woken before the cycle ends. For fewer it is not: clients with one
/// request each would be woken one by one and take the core from a worker that shares it.
const WORTH_WAKING: u32 = 8;
/// Submissions may wait for room this long before any is rejected for it: neither a burst is an
/// overload, nor a server or Router that the scheduler keeps waiting for some slices.
const PATIENCE: Duration = Duration::from_millis(40);
/// How long rejecting goes on after the last submission that had to wait.
const LINGER: Duration = Duration::from_millis(100);
/// Under overload a request that has more time than this may wait for room for half of the rest.
const HURRIED: Duration = Duration::from_millis(100);
/// What it may wait in any case.
const SHORT_WAIT: Duration = Duration::from_micros(250);

/// One session.
pub struct Session {
    /// Its number.
    pub id: u32,
    /// The gateway's end of its rings.
    pub port: Port,
    /// For each route whether it may be used.
    pub routes: Arc<[bool]>,
    /// The tenant that its requests are bound to.
    pub tenant: Option<Arc<str>>,
    /// What its requests count against its user's limit.
    pub charges: Charges,
    /// What is shown of it.
    pub figures: Arc<SessionFigures>,
    /// Completions, modulo 2^32, that were in `figures` when it was last shown.
    shown: u32,
    /// Whether completions were written since the client was last rung for.
    dirty: bool,
    /// Times that the client had to be woken since then.
    woken: u32,
    /// The submission at the head of the ring, taken out of it, while it waits for room.
    head: Option<Submission>,
    /// Since when submissions have waited for room.
    behind_since: Option<Nanos>,
    /// Until when those that wait too long are rejected.
    sheds_until: Nanos,
    /// Most submissions that were seen to wait in the ring since there was room last.
    seen: u32,
    /// Since when the completion ring has been full, and how far the client had come then.
    pub full: Option<(Nanos, u32)>,
    /// What its client rings.
    pub(super) eventfd: OwnedFd,
    /// What its rings have cost.
    pub(super) rings: Rings,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl From<NewSession> for Session {
    fn from(new: NewSession) -> Self {
        Self {
            id: new.id,
            shown: new.port.completed(),
            port: new.port,
            routes: new.routes,
            tenant: new.tenant,
            charges: new.charges,
            figures: new.figures,
            dirty: false,
            woken: 0,
            head: new.carried,
            behind_since: None,
            sheds_until: Nanos(0),
            seen: 0,
            full: None,
            eventfd: new.eventfd,
            rings: Rings::default(),
        }
    }
}

impl Session {
    /// The next submission: the one that was put back, or the next in the ring.
    ///
    /// # Errors
    /// [`PeerMisbehaved`] as [`Port::pop`].
    #[inline]
    pub fn take(&mut self) -> Result<Option<Submission>, PeerMisbehaved> {
        if let Some(head) = self.head.take() {
            return Ok(Some(head));
        }
        let next = self.port.pop()?;
        if next.is_none() {
            self.behind_since = None;
        }
        Ok(next)
    }

    /// Puts a submission back that there is no room for; it is the next again.
    #[inline]
    pub fn put_back(&mut self, submission: Submission) {
        self.head = Some(submission);
    }

    /// Goes by other rights from now on.
    pub fn set_rights(&mut self, rights: Rights) {
        // The head is held and not charged yet.
        let open = self.port.held().saturating_sub(u32::from(self.waits()));
        self.charges.set_limit(rights.in_flight, open);
        self.routes = rights.routes;
        self.tenant = rights.tenant;
    }

    /// Whether the head waits for room among those on their way.
    #[must_use]
    pub const fn waits(&self) -> bool {
        self.head.is_some()
    }

    /// What waits now waits for the upstream to be measured, which says nothing about its load:
    /// patience begins anew.
    pub const fn waits_for_measuring(&mut self, now: Nanos) {
        self.behind_since = Some(now);
    }

    /// Whether a submission that there is no room for, and that has waited so long and has so much
    /// time in all, should be rejected.
    pub fn waits_too_long(&mut self, waited_ns: u64, allowed: Duration, now: Nanos) -> bool {
        let since = *self.behind_since.get_or_insert(now);
        let is_overload = now < self.sheds_until || now >= since.after(PATIENCE);
        if !is_overload {
            return false;
        }
        self.sheds_until = now.after(LINGER);
        let may_wait = (allowed.saturating_sub(HURRIED) / 2).max(SHORT_WAIT);
        Duration::from_nanos(waited_ns) >= may_wait
    }

    /// Notes that there was room for all that the worker would take.
    #[inline]
    pub const fn found_room(&mut self) {
        self.seen = 0;
    }

    /// Of the submissions that wait in the ring for room, how many were not seen there before.
    ///
    /// # Errors
    /// [`PeerMisbehaved`] as [`Port::waiting`].
    #[cold]
    pub fn newly_waiting(&mut self) -> Result<usize, PeerMisbehaved> {
        let waiting = self.port.waiting()?;
        let more = waiting.saturating_sub(self.seen);
        self.seen = self.seen.max(waiting);
        Ok(more as usize)
    }

    /// Whether its submissions wait for room for more than a moment.
    #[must_use]
    pub fn is_overloaded(&self, now: Nanos) -> bool {
        now < self.sheds_until
    }

    /// Whether a look at this session would find nothing: nothing submitted, nothing on its way, and
    /// nothing to be settled with the clock.
    ///
    /// # Errors
    /// [`PeerMisbehaved`] as [`Port::has_submissions`].
    #[inline]
    pub fn is_quiet(&mut self, now: Nanos) -> Result<bool, PeerMisbehaved> {
        let is_settled = self.port.held() == 0
            && self.head.is_none()
            && self.behind_since.is_none()
            && now >= self.sheds_until
            && self.rings.is_quiet();
        Ok(is_settled && !self.port.has_submissions()?)
    }

    /// Marks that a completion was written. If enough of them wait they are shown at once, and a client
    /// that sleeps is woken for a batch: it comes to itself while the rest is completed.
    #[inline]
    pub fn completed(&mut self) -> Dirtied {
        if self.port.publish_due() {
            let is_batch = self.port.staged() >= WORTH_WAKING;
            // Who sees a completion may submit at once in its place.
            self.charges.settle();
            self.port.publish();
            if is_batch && self.port.ring() == Rung::Woken {
                self.woken += 1;
            }
        }
        if core::mem::replace(&mut self.dirty, true) {
            Dirtied::Before
        } else {
            Dirtied::Now
        }
    }

    /// Brings what is shown of it up to date.
    pub fn show(&mut self) {
        let completed = self.port.completed();
        let more = completed.wrapping_sub(core::mem::replace(&mut self.shown, completed));
        self.figures.completed.add(more.into());
        // The head was taken out of the ring and waits to be put on its way.
        let head = u32::from(self.waits());
        let held = self.port.held().saturating_sub(head);
        self.figures.in_flight.set(held.into());
        // A corrupt ring is for the cycle to end.
        if let Ok(waiting) = self.port.waiting() {
            self.figures.queued.set((waiting + head).into());
        }
    }

    /// Shows all completions and says where the rings stand, for another gateway to go on.
    pub fn suspend(&mut self) -> Cursors {
        let cursors = self.port.suspend(self.head.as_ref());
        let _ = self.port.ring();
        cursors
    }

    /// Shows all completions and wakes the client if it sleeps. Returns how often it had to be woken
    /// since this was called last.
    #[inline]
    pub fn settle(&mut self) -> u32 {
        self.dirty = false;
        self.charges.settle();
        self.port.publish();
        let last = u32::from(self.port.ring() == Rung::Woken);
        core::mem::take(&mut self.woken) + last
    }
}

/// Whether a session was marked before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dirtied {
    /// It was.
    Before,
    /// This was the first completion since the client was rung for.
    Now,
}
