//! What the requests of a session count against the limit of its user, whose sessions several
//! workers may serve.
//!
//! Invariant: a [`UserLoad`] is the sum of what its sessions' [`Charges`] hold. A request is charged
//! when it is accepted and released when it is completed; what is left when a session ends, however
//! it ends, is released with it. One relaxed atomic operation for each charge, one for the releases
//! of a batch, none for a session without a limit.

use std::sync::Arc;

use ipc_ringbuf::primitive::{AtomicU32, Ordering};

/// Requests in flight of one user. Sessions without a limit are not counted.
#[derive(Debug, Default)]
pub struct UserLoad(AtomicU32);

impl UserLoad {
    /// The requests now.
    #[must_use]
    pub fn get(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What one session has charged to its user. Default: nothing is counted or refused.
#[derive(Debug, Default)]
pub struct Charges {
    limited: Option<Limited>,
}

#[derive(Debug)]
struct Limited {
    user: Arc<UserLoad>,
    limit: u32,
    /// Charged and not completed.
    open: u32,
    /// Completed and not released.
    done: u32,
}

/// The user has as many requests in flight as it may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OverLimit;

impl Charges {
    /// Charges to `user`, which may have `limit` requests in flight.
    #[must_use]
    pub const fn new(user: Arc<UserLoad>, limit: u32) -> Self {
        Self {
            limited: Some(Limited {
                user,
                limit,
                open: 0,
                done: 0,
            }),
        }
    }

    /// Goes by another limit, or by none. `open` requests of the session are in flight: those that
    /// were not counted are charged, whatever the limit.
    pub fn set_limit(&mut self, limit: Option<(Arc<UserLoad>, u32)>, open: u32) {
        match (limit, &mut self.limited) {
            (None, _) => self.limited = None,
            (Some((_, limit)), Some(limited)) => limited.limit = limit,
            (Some((user, limit)), None) => {
                user.0.fetch_add(open, Ordering::Relaxed);
                self.limited = Some(Limited {
                    user,
                    limit,
                    open,
                    done: 0,
                });
            }
        }
    }

    /// Charges one request.
    ///
    /// # Errors
    /// [`OverLimit`]; nothing is charged then.
    #[inline]
    pub fn charge(&mut self) -> Result<(), OverLimit> {
        let Some(limited) = &mut self.limited else {
            return Ok(());
        };
        let more = |load: u32| (load < limited.limit).then(|| load + 1);
        // Relaxed: the count guards no memory.
        let charged = limited
            .user
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        match charged {
            Ok(_) => {
                limited.open += 1;
                Ok(())
            }
            Err(_) => Err(OverLimit),
        }
    }

    /// Notes that a request which was charged is completed. Released by [`settle`](Self::settle).
    #[inline]
    pub const fn complete(&mut self) {
        if let Some(limited) = &mut self.limited {
            limited.open = limited.open.saturating_sub(1);
            limited.done += 1;
        }
    }

    /// Releases what is completed.
    #[inline]
    pub fn settle(&mut self) {
        if let Some(limited) = &mut self.limited
            && limited.done > 0
        {
            let done = core::mem::take(&mut limited.done);
            limited.user.0.fetch_sub(done, Ordering::Relaxed);
        }
    }
}

impl Drop for Limited {
    fn drop(&mut self) {
        let all = self.open + self.done;
        self.user.0.fetch_sub(all, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_holds_over_all_sessions_and_everything_is_released() {
        let user = Arc::new(UserLoad::default());
        let mut one = Charges::new(Arc::clone(&user), 3);
        let mut two = Charges::new(Arc::clone(&user), 3);
        assert_eq!(one.charge(), Ok(()));
        assert_eq!(two.charge(), Ok(()));
        assert_eq!(one.charge(), Ok(()));
        assert_eq!(one.charge(), Err(OverLimit));
        assert_eq!(two.charge(), Err(OverLimit));
        one.complete();
        assert_eq!(user.get(), 3);
        one.settle();
        assert_eq!(user.get(), 2);
        assert_eq!(two.charge(), Ok(()));
        one.complete();
        drop(one);
        assert_eq!(user.get(), 2);
        drop(two);
        assert_eq!(user.get(), 0);
    }

    #[test]
    fn a_limit_that_comes_later_counts_what_is_in_flight() {
        let user = Arc::new(UserLoad::default());
        let mut charges = Charges::default();
        assert_eq!((charges.charge(), charges.charge()), (Ok(()), Ok(())));
        charges.set_limit(Some((Arc::clone(&user), 2)), 2);
        assert_eq!(charges.charge(), Err(OverLimit));
        charges.set_limit(Some((Arc::clone(&user), 3)), 2);
        assert_eq!(charges.charge(), Ok(()));
        charges.complete();
        charges.set_limit(None, 2);
        assert_eq!(user.get(), 0);
        charges.complete();
        charges.settle();
        assert_eq!(user.get(), 0);
    }

    #[test]
    fn without_a_limit_nothing_is_counted() {
        let mut charges = Charges::default();
        for _ in 0..1000 {
            assert_eq!(charges.charge(), Ok(()));
        }
        charges.complete();
        charges.settle();
    }
}
