//! The ledger: each request that was accepted completes exactly once, with its own reply.

use std::collections::{BTreeMap, HashSet};

use ipc_ringbuf::Code;
use serde::{Deserialize, Serialize};

/// What a client has sent, and what came back.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    next: u64,
    open: HashSet<u64>,
    account: Account,
}

/// The sums of a [`Ledger`].
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
    /// Requests that were never completed.
    pub(crate) lost: u64,
}

impl Ledger {
    /// The number of the next request.
    pub(crate) const fn next(&self) -> u64 {
        self.next
    }

    /// The request with number [`next`](Self::next) was accepted.
    pub(crate) fn open(&mut self) {
        self.open.insert(self.next);
        self.next += 1;
        self.account.sent += 1;
    }

    /// A completion has come. `names_it` says whether the reply names request `number`; it is
    /// asked only for a success.
    pub(crate) fn close(&mut self, number: u64, code: Code, names_it: impl FnOnce() -> bool) {
        *self
            .account
            .codes
            .entry(code.name().to_owned())
            .or_default() += 1;
        if !self.open.remove(&number) {
            self.account.repeated += 1;
        }
        if code.is_success() && !names_it() {
            self.account.mixed_up += 1;
        }
    }

    /// No more completions will come.
    pub(crate) fn finish(mut self) -> Account {
        self.account.lost = self.open.len().try_into().unwrap_or(u64::MAX);
        self.account
    }
}

impl Account {
    /// Adds another client's sums.
    pub(crate) fn add(&mut self, other: &Self) {
        self.sent += other.sent;
        self.repeated += other.repeated;
        self.mixed_up += other.mixed_up;
        self.lost += other.lost;
        for (code, count) in &other.codes {
            *self.codes.entry(code.clone()).or_default() += count;
        }
    }

    /// Completions with this code.
    pub(crate) fn count(&self, code: Code) -> u64 {
        self.codes.get(code.name()).copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lost_repeated_or_mixed_up_is_counted() {
        let mut ledger = Ledger::default();
        for _ in 0..4 {
            ledger.open();
        }
        ledger.close(0, Code::Ok, || true);
        ledger.close(0, Code::Ok, || true);
        ledger.close(1, Code::Ok, || false);
        ledger.close(2, Code::Timeout, || false);
        let account = ledger.finish();
        assert_eq!(account.sent, 4);
        assert_eq!(
            (account.repeated, account.mixed_up, account.lost),
            (1, 1, 1)
        );
        assert_eq!(
            (account.count(Code::Ok), account.count(Code::Timeout)),
            (3, 1)
        );
    }
}
