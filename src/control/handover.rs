//! What one gateway leaves to the next, so that clients keep their sessions: a state, as text in a
//! sealed memory file, and the descriptors that it names by number.
//!
//! It reaches the next gateway in one of two ways: through `exec`, by the same numbers
//! ([`HandOver::exec`]), or through the service manager's store, by names with these numbers in them
//! ([`HandOver::store`]). The next gateway reads the state as anything that may be wrong: one that
//! it cannot use is dropped with all descriptors, and the clients attach again.

use std::collections::HashMap;
use std::env;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use ipc_ringbuf::layout::{Geometry, GeometryError, Layout, WIRE_VERSION};
use ipc_ringbuf::port::Cursors;
use ipc_ringbuf::sys;
use nix::fcntl::{FcntlArg, FdFlag, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::signal::{SigSet, Signal};
use serde::{Deserialize, Serialize};

use super::manager::Manager;

/// Names the process that is to take over, and the state's descriptor: `PID:NUMBER`.
const VARIABLE: &str = "IPC_GATEWAY_HANDOVER";
/// The form of what is handed over, which grows by one with every change of the state or of the rings.
/// `check-config` is asked whether it is its own before anything is given away.
pub const FORM: u32 = 1;
const _: () = assert!(
    WIRE_VERSION == 1,
    "rings of another layout are another form"
);
/// Longest state, in bytes: that of 65,536 sessions.
const MOST_BYTES: u64 = 64 << 20;
/// What names begin with in the service manager's store.
const STORED: &str = "ipcgw-";
const STATE: &str = "ipcgw-state";

/// A descriptor: its number in the gateway that left it.
type Key = u32;

/// The state.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct State {
    /// Names of the routes by number: clients use the numbers.
    pub(super) routes: Vec<String>,
    /// The number that the next session gets.
    pub(super) next_session: u32,
    pub(super) clients: Option<Place>,
    pub(super) admin: Option<Place>,
    pub(super) sessions: Vec<Record>,
}

/// A socket that listens.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Place {
    pub(super) socket: Key,
    /// The socket's file and the lock beside it; none when the service manager keeps them.
    pub(super) file: Option<(PathBuf, Key)>,
}

/// A session. Whose it is the kernel says of its socket.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Record {
    pub(super) session: u32,
    pub(super) name: String,
    pub(super) entries: u32,
    pub(super) message_size: u32,
    pub(super) submission_head: u32,
    pub(super) completion_tail: u32,
    pub(super) completion_head: u32,
    pub(super) carried: Option<u32>,
    pub(super) region: Key,
    pub(super) eventfd: Key,
    pub(super) socket: Key,
}

impl Record {
    /// Where everything lies in its region.
    ///
    /// # Errors
    /// When no region could be so.
    pub(super) fn layout(&self) -> Result<Layout, GeometryError> {
        Layout::try_from(Geometry {
            entries: self.entries,
            message_size: self.message_size,
        })
    }

    pub(super) const fn cursors(&self) -> Cursors {
        Cursors {
            submission_head: self.submission_head,
            completion_tail: self.completion_tail,
            completion_head: self.completion_head,
            carried: self.carried,
        }
    }
}

/// What a gateway leaves.
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

    /// Becomes `program`, called as this one was, which takes over. Returns only when that fails;
    /// then the sessions end, and their clients attach again.
    #[must_use]
    pub fn exec(self, program: &Path) -> io::Error {
        match self.become_successor(program) {
            Ok(never) => match never {},
            Err(error) => error,
        }
    }

    fn become_successor(self, program: &Path) -> io::Result<std::convert::Infallible> {
        let state = sealed(&self.state)?;
        for fd in self.fds.iter().chain([&state]) {
            fcntl(fd, FcntlArg::F_SETFD(FdFlag::empty()))?;
        }
        // One that comes before the successor heeds it would end it. It waits until then.
        held_signals().thread_block()?;
        let mut command = Command::new(program);
        command.args(env::args_os().skip(1));
        let value = format!("{}:{}", std::process::id(), state.as_raw_fd());
        command.env(VARIABLE, value);
        for name in ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"] {
            command.env_remove(name);
        }
        Err(command.exec())
    }

    /// Gives the sessions to the service manager to keep for the next gateway. Listening sockets
    /// are not among them: the manager has its own.
    ///
    /// # Errors
    /// The operating system's, when the manager does not take something in time.
    pub(super) fn store(mut self, manager: &Manager) -> io::Result<()> {
        self.state.clients = None;
        self.state.admin = None;
        for fd in &self.fds {
            manager.store(&format!("{STORED}{}", fd.as_raw_fd()), fd.as_fd())?;
        }
        // The state comes last: without it nothing is taken over.
        manager.store(STATE, sealed(&self.state)?.as_fd())
    }
}

/// What a gateway was left.
#[derive(Debug, Default)]
pub(super) struct Heritage {
    pub(super) state: State,
    fds: HashMap<Key, OwnedFd>,
    /// Names in the service manager's store, to be cleared.
    pub(super) stored: Vec<String>,
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
                stored: Vec::new(),
            })),
            Err(error) => {
                tracing::error!(%error, "cannot take over: clients have to attach again");
                Some(Err(fds.into_values().collect()))
            }
        }
    }

    /// Notes a descriptor from the service manager's store; gives back what is not from there.
    pub(super) fn note_stored(&mut self, name: &str, fd: OwnedFd) -> Option<OwnedFd> {
        let Some(key) = name.strip_prefix(STORED) else {
            return Some(fd);
        };
        self.stored.push(name.to_owned());
        if name == STATE {
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

/// The signals that ask for something other than the end, and that end a process that does not heed
/// them yet: those for a hand-over and for a reload.
pub(super) fn held_signals() -> SigSet {
    let mut set = SigSet::empty();
    set.add(Signal::SIGUSR2);
    set.add(Signal::SIGHUP);
    set
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

/// The state's first line.
fn head() -> String {
    format!("ipc-gateway hand-over {FORM}\n")
}

/// The state in memory that nobody can change.
fn sealed(state: &State) -> io::Result<OwnedFd> {
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    let mut file = File::from(memfd_create("ipc-gateway-handover", flags)?);
    file.write_all(head().as_bytes())?;
    serde_json::to_writer(&mut file, state)?;
    fcntl(&file, FcntlArg::F_ADD_SEALS(seals()))?;
    Ok(file.into())
}

fn seals() -> SealFlag {
    SealFlag::F_SEAL_WRITE | SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SEAL
}

fn read(mut file: File) -> io::Result<State> {
    let invalid = |why| io::Error::new(io::ErrorKind::InvalidData, why);
    let found = fcntl(&file, FcntlArg::F_GET_SEALS).unwrap_or_default();
    if !SealFlag::from_bits_truncate(found).contains(seals()) {
        return Err(invalid("the state is not sealed"));
    }
    let bytes = file.metadata()?.len();
    if bytes > MOST_BYTES {
        return Err(invalid("the state is too long"));
    }
    file.rewind()?;
    let mut text = Vec::new();
    file.read_to_end(&mut text)?;
    let body = text
        .strip_prefix(head().as_bytes())
        .ok_or_else(|| invalid("the state is of another release"))?;
    Ok(serde_json::from_slice(body)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> State {
        State {
            routes: vec!["decide".to_owned()],
            next_session: 8,
            clients: Some(Place {
                socket: 5,
                file: Some(("/run/s".into(), 6)),
            }),
            admin: None,
            sessions: vec![Record {
                session: 7,
                name: "a\"b".to_owned(),
                entries: 2,
                message_size: 64,
                submission_head: u32::MAX,
                completion_tail: 0,
                completion_head: 1,
                carried: Some(1),
                region: 9,
                eventfd: 10,
                socket: 11,
            }],
        }
    }

    fn memory(text: &[u8], seals: SealFlag) -> File {
        let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
        let mut file = File::from(memfd_create("test", flags).unwrap());
        file.write_all(text).unwrap();
        fcntl(&file, FcntlArg::F_ADD_SEALS(seals)).unwrap();
        file
    }

    #[test]
    fn a_state_is_read_as_it_was_written() {
        let read = read(sealed(&state()).unwrap().into()).unwrap();
        assert_eq!(format!("{read:?}"), format!("{:?}", state()));
    }

    #[test]
    fn a_state_that_was_cut_or_changed_or_is_of_another_form_is_refused() {
        let mut file = File::from(sealed(&state()).unwrap());
        let mut text = Vec::new();
        file.rewind().unwrap();
        file.read_to_end(&mut text).unwrap();
        for end in 0..text.len() {
            read(memory(&text[..end], seals())).unwrap_err();
        }
        let other = String::from_utf8(text.clone()).unwrap();
        let other = other.replace("hand-over 1", "hand-over 2");
        read(memory(other.as_bytes(), seals())).unwrap_err();
        let unknown = String::from_utf8(text.clone()).unwrap();
        let unknown = unknown.replace("\"routes\"", "\"paths\":[],\"routes\"");
        read(memory(unknown.as_bytes(), seals())).unwrap_err();
        // Somebody could still write it.
        read(memory(&text, SealFlag::F_SEAL_SHRINK)).unwrap_err();
        read(tempfile::tempfile().unwrap()).unwrap_err();
        read(memory(&text, seals())).unwrap();
    }

    #[test]
    fn a_hand_over_to_another_process_is_not_taken() {
        assert_eq!(announced("7:12".into(), 7), Some(12));
        for value in ["8:12", "7", "7:", ":12", "7:-1", "7:x"] {
            assert_eq!(announced(value.into(), 7), None, "{value}");
        }
    }
}
