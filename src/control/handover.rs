//! What one gateway leaves to the next, so that clients keep their sessions: a state, as text in a
//! sealed memory file, and the descriptors that it names by number.
//!
//! It reaches the next gateway in one of two ways: through `exec`, by the same numbers
//! ([`HandOver::exec`]), or through the service manager's store, by names with these numbers in them
//! ([`HandOver::store`]). The next gateway reads the state as anything that may be wrong: one that
//! it cannot use is dropped with all descriptors, and the clients attach again.

mod state;
mod stored;

use std::collections::HashMap;
use std::env;
use std::ffi::OsString;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt as _;

use ipc_ringbuf::sys;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::signal::{SigSet, Signal};

pub use state::FORM;
use state::{Key, read, sealed};
pub(super) use state::{Place, Record, State};
pub(super) use stored::Session;
use stored::{STATE, STORED, parse_stored};

use super::successor::Successor;

/// Names the process that is to take over, and the state's descriptor: `PID:NUMBER`.
const VARIABLE: &str = "IPC_GATEWAY_HANDOVER";

/// What a gateway leaves. Sessions that nobody has taken when it is dropped end in order.
#[derive(Debug, Default)]
pub struct HandOver {
    pub(super) state: State,
    fds: Vec<OwnedFd>,
}

impl HandOver {
    /// Adds a descriptor; returns what the state calls it.
    pub(super) fn add(&mut self, fd: OwnedFd) -> Key {
        let key = key_of(&fd);
        self.fds.push(fd);
        key
    }

    /// Number of sessions.
    #[must_use]
    pub const fn sessions(&self) -> usize {
        self.state.sessions.len()
    }

    /// Becomes the successor, which takes over. Returns only when that fails; then the sessions
    /// have ended, and their clients attach again. Signals are to be held ([`hold_signals`]): one
    /// that came before the successor heeds it would end it.
    #[must_use]
    pub fn exec(self, successor: &Successor) -> io::Error {
        match self.become_successor(successor) {
            Ok(never) => match never {},
            Err(error) => error,
        }
    }

    fn become_successor(&self, successor: &Successor) -> io::Result<std::convert::Infallible> {
        let state = sealed(&self.state)?;
        for fd in self.fds.iter().chain([&state]) {
            fcntl(fd, FcntlArg::F_SETFD(FdFlag::empty()))?;
        }
        let mut command = successor.command();
        let value = format!("{}:{}", std::process::id(), state.as_raw_fd());
        command.env(VARIABLE, value);
        for name in ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"] {
            command.env_remove(name);
        }
        Err(command.exec())
    }
}

impl Drop for HandOver {
    fn drop(&mut self) {
        self.surplus(0).into_iter().for_each(Session::end);
    }
}

/// What a gateway was left.
#[derive(Debug, Default)]
pub(super) struct Heritage {
    pub(super) state: State,
    fds: HashMap<Key, OwnedFd>,
    /// Names in the service manager's store, to be cleared.
    pub(super) stored: Vec<String>,
    /// When what was taken from the store was put there.
    stored_at: u64,
}

impl Heritage {
    /// Takes what was left through `exec`, if anything was. When the state cannot be used, only the
    /// descriptors come back.
    pub(super) fn through_exec() -> Option<Result<Self, Vec<OwnedFd>>> {
        let number = announced(env::var_os(VARIABLE)?, std::process::id())?;
        let mut fds = inherited();
        let read = fds
            .remove(&number)
            .ok_or_else(|| io::Error::other("its state is missing"))
            .and_then(|state| read(state.into()));
        match read {
            Ok(state) => Some(Ok(Self {
                state,
                fds,
                ..Self::default()
            })),
            Err(error) => {
                tracing::error!(%error, "cannot take over: clients have to attach again");
                Some(Err(fds.into_values().collect()))
            }
        }
    }

    /// Notes a descriptor from the service manager's store; gives back what is not from there.
    pub(super) fn note_stored(&mut self, name: &str, fd: OwnedFd) -> Option<OwnedFd> {
        if !name.starts_with(STORED) {
            return Some(fd);
        }
        self.stored.push(name.to_owned());
        let (at, key) = parse_stored(name)?;
        if at > self.stored_at {
            // What came before is of a gateway before the last.
            self.stored_at = at;
            self.state = State::default();
            self.fds.clear();
        }
        if at < self.stored_at {
            return None;
        }
        if key == STATE {
            match read(fd.into()) {
                Ok(state) => self.state = state,
                Err(error) => {
                    tracing::error!(%error, "cannot take over: clients have to attach again");
                }
            }
        } else if let Ok(key) = key.parse() {
            self.fds.insert(key, fd);
        }
        None
    }

    /// Takes a descriptor that the state names.
    pub(super) fn take(&mut self, key: Key) -> Option<OwnedFd> {
        self.fds.remove(&key)
    }
}

/// Keeps the signals that the control room heeds from this thread and from those that it starts, so that
/// one that comes when nobody heeds it waits: for the control room, or for the next gateway's.
///
/// # Errors
/// The operating system's.
pub fn hold_signals() -> io::Result<()> {
    Ok(held_signals().thread_block()?)
}

/// The signals that end a process that does not heed them yet: those for a hand-over, for a reload and for
/// the end, which is to be one in order.
pub(super) fn held_signals() -> SigSet {
    SigSet::from_iter([
        Signal::SIGUSR2,
        Signal::SIGHUP,
        Signal::SIGTERM,
        Signal::SIGINT,
    ])
}

fn key_of(fd: &impl AsRawFd) -> Key {
    // Descriptors are never negative.
    Key::try_from(fd.as_raw_fd()).unwrap_or_default()
}

/// The state's number, if it is for the process `own`.
fn announced(value: OsString, own: u32) -> Option<Key> {
    let value = value.into_string().ok()?;
    let (pid, number) = value.split_once(':')?;
    (pid.parse() == Ok(own)).then_some(())?;
    number.parse().ok()
}

/// Every descriptor that this process was started with, but for the standard ones.
fn inherited() -> HashMap<Key, OwnedFd> {
    let entries = std::fs::read_dir("/proc/self/fd").into_iter().flatten();
    let numbers: Vec<RawFd> = entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect();
    let taken = numbers.into_iter().filter_map(|number| {
        let fd = sys::take_inherited(number).ok()?;
        Some((key_of(&fd), fd))
    });
    taken.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hand_over_to_another_process_is_not_taken() {
        assert_eq!(announced("7:12".into(), 7), Some(12));
        for value in ["8:12", "7", "7:", ":12", "7:-1", "7:x"] {
            assert_eq!(announced(value.into(), 7), None, "{value}");
        }
    }
}
