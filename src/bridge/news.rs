//! What the side that answers is told while it runs: the routes and the backpressure settings of a
//! configuration that was read again.
//!
//! The newest word replaces the one before. Whoever tells the workers of new routes tells this side
//! first. A request that a worker accepted under the new routes comes through its queue after that,
//! so who looks at [`News::is_newer`] after taking a request never treats it by older ones.

use core::fmt;
use core::task::Waker;
use std::sync::{Arc, Mutex, PoisonError};

use atomic_waker::AtomicWaker;
use ipc_ringbuf::primitive::{AtomicU64, Ordering};

use crate::route::Route;
use crate::settings::BackpressureSettings;

/// The newest word. Clones are the same.
#[derive(Clone)]
pub struct News {
    shared: Arc<Shared>,
}

struct Shared {
    /// Counts the words; 0 is what was told at the start.
    version: AtomicU64,
    newest: Mutex<Told>,
    waker: AtomicWaker,
}

/// What was told.
#[derive(Clone, Debug)]
pub struct Told {
    /// The routes, by number; those removed are still there, for what is on its way to them.
    pub routes: Arc<[Route]>,
    /// Backpressure, if anything about it was told.
    pub backpressure: Option<BackpressureSettings>,
}

impl From<Arc<[Route]>> for News {
    fn from(routes: Arc<[Route]>) -> Self {
        let told = Told {
            routes,
            backpressure: None,
        };
        Self {
            shared: Arc::new(Shared {
                version: AtomicU64::new(0),
                newest: Mutex::new(told),
                waker: AtomicWaker::new(),
            }),
        }
    }
}

impl News {
    /// Tells the other side, and wakes it.
    pub fn tell(&self, told: Told) {
        let shared = &self.shared;
        *shared.newest.lock().unwrap_or_else(PoisonError::into_inner) = told;
        // Release: who sees the version takes the word, or one after it.
        shared.version.fetch_add(1, Ordering::Release);
        shared.waker.wake();
    }

    /// The number of the newest word.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.shared.version.load(Ordering::Acquire)
    }

    /// Whether something was told after the word with this number.
    #[inline]
    #[must_use]
    pub fn is_newer(&self, version: u64) -> bool {
        // Relaxed: only whether it has changed matters, and `told` takes a lock. A change that was
        // made before a request was put into a queue is seen after it was taken out.
        self.shared.version.load(Ordering::Relaxed) != version
    }

    /// The newest word.
    #[must_use]
    pub fn told(&self) -> Told {
        let newest = self.shared.newest.lock();
        newest.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Names whom [`tell`](Self::tell) wakes: one listener, the newest. Look at
    /// [`is_newer`](Self::is_newer) once more after this.
    pub fn register(&self, waker: &Waker) {
        self.shared.waker.register(waker);
    }
}

impl fmt::Debug for News {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("News")
            .field("version", &self.version())
            .finish_non_exhaustive()
    }
}
