//! Counters that one thread writes and the control thread reads.
//!
//! A [`Counter`] has a single writer, so adding is a load and a store, not a locked instruction.
//! Rooms have a struct of counters each; `export` turns them into what Prometheus reads, which
//! `openmetrics` writes. What `session` has is not for Prometheus: there would be a series for each
//! client.

pub mod control;
pub mod export;
pub mod latency;
pub mod log;
pub mod memory;
pub mod nats;
mod openmetrics;
pub mod session;
pub mod trace;
pub mod worker;

use core::fmt;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use ipc_ringbuf::primitive::{AtomicU64, Ordering};

/// A number that only grows, or a gauge that is set; one writer, any number of readers.
#[derive(Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `n`. Only the one writer may call this: two writers could lose a count.
    #[inline]
    pub fn add(&self, n: u64) {
        let value = self.0.load(Ordering::Relaxed).wrapping_add(n);
        self.0.store(value, Ordering::Relaxed);
    }

    /// Adds 1.
    #[inline]
    pub fn increment(&self) {
        self.add(1);
    }

    /// Sets the value, for a gauge.
    #[inline]
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// The value now.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl fmt::Debug for Counter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(f)
    }
}

/// Counts by name, for what happens rarely: a lock is taken each time. The names are few and come
/// from the configuration, never from a client.
#[derive(Debug, Default)]
pub struct Named(Mutex<BTreeMap<String, u64>>);

impl Named {
    /// Adds 1 to the count of `name`, and returns it.
    pub fn increment(&self, name: &str) -> u64 {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match counts.get_mut(name) {
            Some(count) => {
                *count += 1;
                *count
            }
            None => {
                counts.insert(name.to_owned(), 1);
                1
            }
        }
    }

    /// Every count so far, and 0 for the names in `known` that have none.
    #[must_use]
    pub fn with(&self, known: &[&str]) -> Vec<(String, u64)> {
        let mut counts = self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        for &name in known {
            counts.entry(name.to_owned()).or_default();
        }
        counts
            .iter()
            .map(|(name, count)| (name.clone(), *count))
            .collect()
    }
}
