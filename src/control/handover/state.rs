//! What is left as text, in a memory file that nobody can change.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use ipc_ringbuf::layout::{Geometry, GeometryError, Layout, WIRE_VERSION};
use ipc_ringbuf::port::Cursors;
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use serde::{Deserialize, Serialize};

/// The form of what is handed over, which grows by one with every change of the state or of the rings.
/// `check-config` is asked whether it is its own before anything is given away.
pub const FORM: u32 = 1;
const _: () = assert!(
    WIRE_VERSION == 1,
    "rings of another layout are another form"
);
/// Longest state, in bytes: that of 65,536 sessions.
const MOST_BYTES: u64 = 64 << 20;

/// A descriptor: its number in the gateway that left it.
pub(super) type Key = u32;

/// The state.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::control) struct State {
    /// Names of the routes by number: clients use the numbers.
    pub(in crate::control) routes: Vec<String>,
    /// The number that the next session gets.
    pub(in crate::control) next_session: u32,
    pub(in crate::control) clients: Option<Place>,
    pub(in crate::control) admin: Option<Place>,
    pub(in crate::control) sessions: Vec<Record>,
}

/// A socket that listens.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::control) struct Place {
    pub(in crate::control) socket: Key,
    /// The socket's file and the lock beside it; none when the service manager keeps them.
    pub(in crate::control) file: Option<(PathBuf, Key)>,
}

/// A session. Whose it is the kernel says of its socket.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::control) struct Record {
    pub(in crate::control) session: u32,
    pub(in crate::control) name: String,
    pub(in crate::control) entries: u32,
    pub(in crate::control) message_size: u32,
    pub(in crate::control) submission_head: u32,
    pub(in crate::control) completion_tail: u32,
    pub(in crate::control) completion_head: u32,
    pub(in crate::control) carried: Option<u32>,
    pub(in crate::control) region: Key,
    pub(in crate::control) eventfd: Key,
    pub(in crate::control) socket: Key,
}

impl Record {
    /// Where everything lies in its region.
    ///
    /// # Errors
    /// When no region could be so.
    pub(in crate::control) fn layout(&self) -> Result<Layout, GeometryError> {
        Layout::try_from(Geometry {
            entries: self.entries,
            message_size: self.message_size,
        })
    }

    pub(in crate::control) const fn cursors(&self) -> Cursors {
        Cursors {
            submission_head: self.submission_head,
            completion_tail: self.completion_tail,
            completion_head: self.completion_head,
            carried: self.carried,
        }
    }
}

/// The state's first line.
fn head() -> String {
    format!("ipc-gateway hand-over {FORM}\n")
}

/// The state in memory that nobody can change.
pub(super) fn sealed(state: &State) -> io::Result<OwnedFd> {
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

pub(super) fn read(mut file: File) -> io::Result<State> {
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
pub(super) mod tests {
    use super::*;

    pub(in super::super) fn state() -> State {
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
}
