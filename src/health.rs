//! What the control thread knows about the connection to NATS, and how it tells a room to end.
//!
//! Plain shared words: the NATS side writes, the control thread reads. Nothing here knows NATS.

use core::fmt;
use core::task::Waker;
use std::sync::{Arc, Mutex, PoisonError};

use atomic_waker::AtomicWaker;
use ipc_ringbuf::primitive::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use crate::clock::Nanos;

/// The state of the connections to NATS.
#[derive(Debug, Default)]
pub struct NatsHealth {
    configured: AtomicU32,
    connected: AtomicU32,
    last_error: Mutex<Option<String>>,
    lines: Mutex<Vec<LineHealth>>,
    /// Counts the questions of those who look.
    looks: AtomicU64,
}

/// One line to NATS: a connection, or the wait for one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LineHealth {
    /// Its number.
    pub line: usize,
    /// How far it is.
    pub state: LineState,
    /// The server that it is up to, or that is tried next; without secrets.
    pub server: String,
    /// The connection, if it is up.
    pub up: Option<Up>,
}

/// A connection that is up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Up {
    /// What the server calls itself.
    pub server_name: String,
    /// Since when.
    pub since: Nanos,
    /// Nanoseconds of the newest message to the server and back.
    pub round_trip_ns: u64,
}

/// How far a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineState {
    /// It has a connection.
    Connected,
    /// It has one, and another is being made to take its place.
    Leaving,
    /// One is being made.
    Connecting,
    /// It waits until the next attempt is due.
    Waiting,
}

impl LineState {
    /// The word that stands for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Connected => "connected",
            Self::Leaving => "leaving",
            Self::Connecting => "connecting",
            Self::Waiting => "waiting",
        }
    }
}

impl NatsHealth {
    /// Nothing connected, no error known; `configured` connections are wanted.
    #[must_use]
    pub fn new(configured: u32) -> Self {
        Self {
            configured: AtomicU32::new(configured),
            ..Self::default()
        }
    }

    /// Connections that are wanted.
    #[must_use]
    pub fn configured(&self) -> u32 {
        self.configured.load(Ordering::Relaxed)
    }

    /// Connections that are up.
    #[must_use]
    pub fn connected(&self) -> u32 {
        self.connected.load(Ordering::Relaxed)
    }

    /// The newest error of any connection, without secrets. It stays after a connection is back,
    /// so it explains the past; [`connected`](Self::connected) tells the present.
    #[must_use]
    pub fn last_error(&self) -> Option<String> {
        self.last_error
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The lines, as they were when one of them changed last or when somebody asked.
    #[must_use]
    pub fn lines(&self) -> Vec<LineHealth> {
        let lines = self.lines.lock();
        lines.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Shows the lines.
    pub fn set_lines(&self, lines: Vec<LineHealth>) {
        *self.lines.lock().unwrap_or_else(PoisonError::into_inner) = lines;
    }

    /// Somebody looks: asks for round trips to be measured. Whoever sleeps has to be woken.
    pub fn look(&self) {
        self.looks.fetch_add(1, Ordering::Relaxed);
    }

    /// Times that somebody has looked.
    #[inline]
    #[must_use]
    pub fn looks(&self) -> u64 {
        self.looks.load(Ordering::Relaxed)
    }

    /// Sets the number of connections that are wanted.
    pub fn set_configured(&self, connections: u32) {
        self.configured.store(connections, Ordering::Relaxed);
    }

    /// Sets the number of connections that are up.
    pub fn set_connected(&self, connections: u32) {
        self.connected.store(connections, Ordering::Relaxed);
    }

    /// Records an error. The text must hold no secret.
    pub fn set_last_error(&self, text: String) {
        *self
            .last_error
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(text);
    }
}

/// Tells a room to finish what it has and end. Clones are the same signal.
#[derive(Clone, Default)]
pub struct StopSignal {
    shared: Arc<Stop>,
}

#[derive(Default)]
struct Stop {
    set: AtomicBool,
    waker: AtomicWaker,
}

impl StopSignal {
    /// A signal that is not set.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the signal for good and wakes the room that listens to it.
    pub fn stop(&self) {
        self.shared.set.store(true, Ordering::Release);
        self.shared.waker.wake();
    }

    /// Wakes the room that listens, to show that it moves.
    pub fn wake(&self) {
        self.shared.waker.wake();
    }

    /// Whether the signal is set.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.shared.set.load(Ordering::Acquire)
    }

    /// Names whom [`stop`](Self::stop) wakes: one listener, the newest. Look at
    /// [`is_set`](Self::is_set) once more after this.
    pub fn register(&self, waker: &Waker) {
        self.shared.waker.register(waker);
    }
}

impl fmt::Debug for StopSignal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StopSignal")
            .field("set", &self.is_set())
            .finish()
    }
}
