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
use crate::clock::{Clock as _, System};

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
/// What names begin with in the service manager's store. Then come when that was, so that what an earlier
/// gateway left there is told from what the last one did, and the descriptor's number or [`STATE`].
const STORED: &str = "ipcgw-";
const STATE: &str = "state";
/// Longest variable with the names of what was passed, in bytes: the kernel takes no more than 128 KiB.
const MOST_NAMES: usize = 120 * 1024;
/// Descriptors of a session.
const EACH: usize = 3;

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
        let at = tenths();
        for fd in &self.fds {
            manager.store(&stored_name(at, &fd.as_raw_fd().to_string()), fd.as_fd())?;
        }
        // The state comes last: without it nothing is taken over.
        manager.store(&stored_name(at, STATE), sealed(&self.state)?.as_fd())
    }

    /// Takes out the sessions for which there is no room among so many stored descriptors, the newest
    /// first.
    pub(super) fn surplus(&mut self, most: usize) -> Vec<Session> {
        let name = stored_name(tenths(), &u16::MAX.to_string()).len() + 1;
        let kept = (most.saturating_sub(1) / EACH).min(MOST_NAMES / name / EACH);
        let kept = kept.min(self.state.sessions.len());
        let records = self.state.sessions.split_off(kept);
        let mut fds: HashMap<Key, OwnedFd> = HashMap::new();
        if !records.is_empty() {
            fds.extend(self.fds.drain(..).map(|fd| (key_of(&fd), fd)));
        }
        let take = |record: Record| {
            let keys = [record.region, record.eventfd, record.socket];
            let [Some(memfd), Some(eventfd), Some(client)] = keys.map(|key| fds.remove(&key))
            else {
                return None;
            };
            Some(Session {
                record,
                memfd,
                eventfd,
                client,
            })
        };
        let surplus = records.into_iter().filter_map(take).collect();
        self.fds.extend(fds.into_values());
        surplus
    }
}

/// A session that is not handed over.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) record: Record,
    pub(super) memfd: OwnedFd,
    pub(super) eventfd: OwnedFd,
    pub(super) client: OwnedFd,
}

/// Tenths of a second since the machine was started.
fn tenths() -> u64 {
    System.now().0 / 100_000_000
}

fn stored_name(at: u64, what: &str) -> String {
    format!("{STORED}{at:x}-{what}")
}

/// When something was stored, and what it is, from its name.
fn parse_stored(name: &str) -> Option<(u64, &str)> {
    let rest = name.strip_prefix(STORED)?;
    let (at, what) = rest.split_once('-')?;
    Some((u64::from_str_radix(at, 16).ok()?, what))
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

    fn file() -> OwnedFd {
        tempfile::tempfile().unwrap().into()
    }

    #[test]
    fn what_was_stored_last_is_taken_whatever_comes_first() {
        let states = [4, 5].map(|next_session| {
            sealed(&State {
                next_session,
                ..State::default()
            })
            .unwrap()
        });
        let [old, new] = states;
        let named = [
            ("ipcgw-ff-7", file()),
            ("ipcgw-100-8", file()),
            ("ipcgw-ff-state", old),
            ("ipcgw-100-state", new),
            ("ipcgw-100-9", file()),
            // Of a release that did not say when, and malformed.
            ("ipcgw-10", file()),
            ("ipcgw-x-11", file()),
        ];
        let names: Vec<_> = named.iter().map(|(name, _)| (*name).to_owned()).collect();
        for turned in [false, true] {
            let mut heritage = Heritage::default();
            let mut order: Vec<_> = named.iter().collect();
            if turned {
                order.reverse();
            }
            for (name, fd) in order {
                assert!(
                    heritage
                        .note_stored(name, fd.try_clone().unwrap())
                        .is_none()
                );
            }
            assert_eq!(heritage.state.next_session, 5);
            let mut keys: Vec<_> = heritage.fds.keys().copied().collect();
            keys.sort_unstable();
            assert_eq!(keys, [8, 9]);
            // All of it is to be forgotten.
            heritage.stored.sort();
            let mut all = names.clone();
            all.sort();
            assert_eq!(heritage.stored, all);
        }
        let mut heritage = Heritage::default();
        assert!(heritage.note_stored("clients", file()).is_some());
    }

    #[test]
    fn sessions_that_do_not_fit_are_taken_out_with_their_descriptors() {
        let mut handover = HandOver::default();
        for session in 0..5 {
            let record = Record {
                session,
                region: handover.add(file()),
                eventfd: handover.add(file()),
                socket: handover.add(file()),
                ..state().sessions.remove(0)
            };
            handover.state.sessions.push(record);
        }
        // Room for all of them, and the state.
        assert!(handover.surplus(16).is_empty());
        let surplus = handover.surplus(9);
        let numbers: Vec<u32> = surplus.iter().map(|it| it.record.session).collect();
        assert_eq!((numbers, handover.sessions()), (vec![2, 3, 4], 2));
        assert_eq!(handover.fds.len(), 6);
        assert_eq!(handover.surplus(0).len(), 2);
        assert!(handover.fds.is_empty());
        // However many the manager keeps, their names have to fit into one variable.
        let name = stored_name(u64::from(u32::MAX), "65535");
        assert!((usize::MAX / EACH).min(MOST_NAMES / (name.len() + 1) / EACH) > 1365);
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
