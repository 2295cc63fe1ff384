//! Memory on its way back from sessions that have ended.
//!
//! Giving memory back takes the file's lock, and a client that still has the file can hold that lock
//! for as long as it likes: by writing from memory that never comes, of a file system of its own or
//! with `userfaultfd`. So this is done on a thread for each session, and until it is done the memory
//! counts as the user's: whoever holds locks runs out of quota, and nobody waits.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use ipc_ringbuf::sys;

use crate::metrics::control::ControlMetrics;

/// Sessions and bytes that are on their way back, by user.
#[derive(Clone, Debug)]
pub(super) struct Returns {
    owed: Arc<Mutex<HashMap<u32, (u32, u64)>>>,
    /// Its gauge is only set under the lock.
    metrics: Arc<ControlMetrics>,
}

impl Returns {
    pub(super) fn new(metrics: Arc<ControlMetrics>) -> Self {
        Self {
            owed: Arc::default(),
            metrics,
        }
    }

    /// Sessions and bytes of this user that are on their way back.
    pub(super) fn of(&self, uid: u32) -> (u32, u64) {
        self.owed().get(&uid).copied().unwrap_or_default()
    }

    /// Sessions whose memory is on its way back.
    pub(super) fn sessions(&self) -> u32 {
        self.owed().values().map(|(sessions, _)| sessions).sum()
    }

    /// Gives a session's memory back.
    ///
    /// # Errors
    /// The operating system's when there is no thread for it; then the memory goes back when the
    /// client lets go of it.
    pub(super) fn begin(&self, uid: u32, memfd: OwnedFd, bytes: u64) -> io::Result<()> {
        self.charge(uid, bytes);
        let returns = self.clone();
        let give_back = move || {
            // Fails for no reason that could be helped.
            sys::give_back(memfd.as_fd(), bytes).ok();
            drop(memfd);
            returns.discharge(uid, bytes);
        };
        let started = thread::Builder::new()
            .name("ipcgw-return".to_owned())
            .spawn(give_back);
        started
            .map(drop)
            .inspect_err(|_| self.discharge(uid, bytes))
    }

    fn charge(&self, uid: u32, bytes: u64) {
        let mut owed = self.owed();
        let (sessions, sum) = owed.entry(uid).or_default();
        *sessions += 1;
        *sum += bytes;
        self.note(&owed);
    }

    fn discharge(&self, uid: u32, bytes: u64) {
        let mut owed = self.owed();
        if let Some((sessions, sum)) = owed.get_mut(&uid) {
            *sessions -= 1;
            *sum -= bytes;
            if *sessions == 0 {
                owed.remove(&uid);
            }
        }
        self.note(&owed);
    }

    fn note(&self, owed: &HashMap<u32, (u32, u64)>) {
        let bytes = owed.values().map(|(_, bytes)| bytes).sum();
        self.metrics.returning_bytes.set(bytes);
    }

    fn owed(&self) -> MutexGuard<'_, HashMap<u32, (u32, u64)>> {
        self.owed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
