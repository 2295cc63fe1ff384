//! The ledger: each request that was accepted completes exactly once, with its own reply. Its size
//! is that of the window, however long the run is.

use std::collections::BTreeMap;

use ipc_ringbuf::{Code, Outcome};
use serde::{Deserialize, Serialize};

/// Bits of a mark that name its slot; the rest counts the requests.
const SLOT_BITS: u32 = 16;
/// Most requests on their way at once.
pub(crate) const MOST: usize = 1 << SLOT_BITS;

/// The requests of one client that are on their way, and the sums of those that were.
#[derive(Debug)]
pub(crate) struct Ledger {
    /// By slot.
    open: Vec<Option<Open>>,
    free: Vec<usize>,
    /// Number of the next request, from 0.
    next: u64,
    /// Completions by code, in the order of [`Code::ALL`], since [`take`](Self::take).
    completions: Vec<u64>,
    account: Account,
}

/// A request on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Open {
    mark: u64,
    /// From when its latency counts, in nanoseconds of the monotonic clock.
    pub(crate) due: u64,
}

/// What has been sent, and what came back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Account {
    /// Requests that were accepted.
    pub(crate) sent: u64,
    /// Completions by code.
    pub(crate) codes: BTreeMap<String, u64>,
    /// Completions of requests that were not open: completed twice, or never sent.
    pub(crate) repeated: u64,
    /// Replies that do not name their request.
    pub(crate) mixed_up: u64,
    /// Completions later than their deadline, by the gateway's clock, beyond a bound.
    #[serde(default)]
    pub(crate) overdue: u64,
    /// Requests that were never completed.
    pub(crate) lost: u64,
}

impl Ledger {
    /// One for so many requests at once, at most [`MOST`].
    pub(crate) fn new(window: usize) -> Self {
        let window = window.min(MOST);
        Self {
            open: vec![None; window],
            free: (0..window).rev().collect(),
            next: 0,
            completions: vec![0; Code::ALL.len()],
            account: Account::default(),
        }
    }

    /// The mark of the next request; none while the window is full.
    pub(crate) fn mark(&self) -> Option<u64> {
        let slot = *self.free.last()? as u64;
        Some((self.next << SLOT_BITS) | slot)
    }

    /// The request with the mark that [`mark`](Self::mark) gave was accepted.
    pub(crate) fn open(&mut self, due: u64) {
        let Some(mark) = self.mark() else { return };
        self.next += 1;
        self.account.sent += 1;
        if let Some(slot) = self.free.pop()
            && let Some(place) = self.open.get_mut(slot)
        {
            *place = Some(Open { mark, due });
        }
    }

    /// A completion has come; returns the request if it was open.
    #[inline]
    pub(crate) fn close(&mut self, mark: u64, code: Code) -> Option<Open> {
        let at = Code::ALL.binary_search(&code).ok();
        if let Some(count) = at.and_then(|at| self.completions.get_mut(at)) {
            *count += 1;
        }
        let slot = usize::try_from(mark & (MOST as u64 - 1)).unwrap_or(MOST);
        let place = self.open.get_mut(slot);
        let found = place.and_then(|place| place.take_if(|open| open.mark == mark));
        match found {
            Some(_) => self.free.push(slot),
            None => self.account.repeated += 1,
        }
        found
    }

    /// A reply does not name its request.
    pub(crate) const fn mixed_up(&mut self) {
        self.account.mixed_up += 1;
    }

    /// A completion came after its deadline.
    pub(crate) const fn overdue(&mut self) {
        self.account.overdue += 1;
    }

    /// What is on its way will not be completed any more.
    pub(crate) fn give_up(&mut self) {
        for (slot, place) in self.open.iter_mut().enumerate() {
            if place.take().is_some() {
                self.account.lost += 1;
                self.free.push(slot);
            }
        }
    }

    /// The sums since the last time.
    pub(crate) fn take(&mut self) -> Account {
        let mut account = core::mem::take(&mut self.account);
        for (code, count) in Code::ALL.iter().zip(&mut self.completions) {
            let count = core::mem::take(count);
            if count > 0 {
                account.codes.insert(code.name().to_owned(), count);
            }
        }
        account
    }
}

impl Account {
    /// Adds others' sums.
    pub(crate) fn add(&mut self, other: &Self) {
        self.sent += other.sent;
        self.repeated += other.repeated;
        self.mixed_up += other.mixed_up;
        self.overdue += other.overdue;
        self.lost += other.lost;
        for (code, count) in &other.codes {
            *self.codes.entry(code.clone()).or_default() += count;
        }
    }

    /// Completions with this code.
    pub(crate) fn count(&self, code: Code) -> u64 {
        self.codes.get(code.name()).copied().unwrap_or(0)
    }

    /// All completions.
    pub(crate) fn completed(&self) -> u64 {
        self.codes.values().sum()
    }

    /// Requests on their way after this, where so many were before. Completions of requests that were not
    /// open end none.
    pub(crate) fn open_after(&self, before: u64) -> u64 {
        let ended = self.completed().saturating_sub(self.repeated) + self.lost;
        (before + self.sent).saturating_sub(ended)
    }

    /// How many of these requests reached the Router: at least and at most. That nobody listens is said
    /// by the server; what has no answer may have reached it or not.
    pub(crate) fn reached(&self) -> (u64, u64) {
        let answered = self.class(Outcome::Answered);
        let least = answered.saturating_sub(self.count(Code::NoResponders));
        (least, least + self.class(Outcome::Unknown) + self.lost)
    }

    /// Completions of this class.
    pub(crate) fn class(&self, outcome: Outcome) -> u64 {
        let of_class = Code::ALL.iter().filter(|code| code.outcome() == outcome);
        of_class.map(|code| self.count(*code)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lost_repeated_or_mixed_up_is_counted() {
        let mut ledger = Ledger::new(8);
        let marks: Vec<u64> = (0..4)
            .map(|due| {
                let mark = ledger.mark().unwrap();
                ledger.open(due);
                mark
            })
            .collect();
        assert_eq!(ledger.close(marks[2], Code::Ok).unwrap().due, 2);
        assert_eq!(ledger.close(marks[2], Code::Ok), None);
        assert!(ledger.close(marks[1], Code::Timeout).is_some());
        ledger.mixed_up();
        ledger.give_up();
        let account = ledger.take();
        assert_eq!((account.sent, account.completed()), (4, 3));
        assert_eq!(
            (account.repeated, account.mixed_up, account.lost),
            (1, 1, 2)
        );
        assert_eq!(
            (account.count(Code::Ok), account.class(Outcome::Unknown)),
            (2, 1)
        );
        assert_eq!(ledger.take(), Account::default());
    }

    #[test]
    fn what_is_on_its_way_follows_from_the_sums() {
        let mut ledger = Ledger::new(8);
        for due in 0..5 {
            ledger.open(due);
        }
        let first = ledger.take();
        assert_eq!(first.open_after(0), 5);
        ledger.close(0, Code::Ok);
        // Never sent: it ends none.
        ledger.close(99 << SLOT_BITS, Code::Ok);
        assert_eq!(ledger.take().open_after(5), 4);
        ledger.give_up();
        assert_eq!(ledger.take().open_after(4), 0);
    }

    #[test]
    fn what_is_answered_reached_the_router_and_what_is_unknown_may_have() {
        let mut account = Account::default();
        for (code, count) in [
            (Code::Ok, 10),
            (Code::NoResponders, 4),
            (Code::Overloaded, 5),
            (Code::Timeout, 2),
        ] {
            account.codes.insert(code.name().to_owned(), count);
        }
        account.lost = 1;
        assert_eq!(account.reached(), (10, 13));
    }

    #[test]
    fn a_slot_that_is_used_again_does_not_take_an_old_completion() {
        let mut ledger = Ledger::new(1);
        let first = ledger.mark().unwrap();
        ledger.open(0);
        assert_eq!(ledger.mark(), None);
        assert!(ledger.close(first, Code::Ok).is_some());
        let second = ledger.mark().unwrap();
        ledger.open(0);
        assert_ne!(first, second);
        assert_eq!(ledger.close(first, Code::Ok), None);
        assert!(ledger.close(second, Code::Ok).is_some());
        assert_eq!(ledger.take().repeated, 1);
    }
}
