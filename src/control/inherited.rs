//! Sockets that the service manager has made and keeps (`sd_listen_fds(3)`): clients can connect
//! while no gateway runs, and wait for one.
//!
//! `LISTEN_FDS` descriptors from number 3 on belong to the process `LISTEN_PID`; `LISTEN_FDNAMES`
//! has their names. What each is for follows from its type, which is checked: packets are for
//! clients, a stream is for the admin server. A name that says something else is an error.

use std::env;
use std::ffi::OsStr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};

use ipc_ringbuf::sys;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::socket::{SockType, UnixAddr, getsockname, getsockopt, sockopt};

use super::admin::AdminListener;
use super::handover::{Heritage, Place};
use super::listener::Listener;
use super::socket_file::SocketFile;
use super::start_error::StartError;
use crate::settings::{AdminAddress, ControlSettings};

/// The first descriptor that is passed.
const FIRST: RawFd = 3;
/// Names of sockets in a unit's `FileDescriptorName=`.
const CLIENTS: &str = "clients";
const ADMIN: &str = "admin";

/// What was passed.
#[derive(Debug, Default)]
pub struct Inherited {
    clients: Option<OwnedFd>,
    admin: Option<OwnedFd>,
    heritage: Heritage,
}

impl Inherited {
    /// Takes over what was passed to this process. To be called once, before it opens anything.
    ///
    /// # Errors
    /// [`StartError::Passed`] for what is no listening Unix socket of the right type, or one too
    /// many.
    pub fn take() -> Result<Self, StartError> {
        let variables = ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"].map(env::var_os);
        let [pid, count, names] = variables.each_ref().map(Option::as_deref);
        let mut this = Self::default();
        match Heritage::through_exec() {
            Some(Ok(heritage)) => {
                this.heritage = heritage;
                return Ok(this);
            }
            // At least nobody is refused who comes now.
            Some(Err(fds)) => {
                for fd in fds {
                    match check(&fd) {
                        Ok(SockType::SeqPacket) => this.clients = Some(fd),
                        Ok(_) => this.admin = Some(fd),
                        Err(_) => {}
                    }
                }
                return Ok(this);
            }
            None => {}
        }
        for (number, name) in announced((pid, count, names), std::process::id())? {
            let refused = |fault: String| passed(number, &name, fault);
            let fd = sys::take_inherited(number)
                .map_err(|error| refused(format!("cannot be used ({error})")))?;
            let Some(fd) = this.heritage.note_stored(&name, fd) else {
                continue;
            };
            let kind = check(&fd).map_err(|fault| refused(fault.to_owned()))?;
            let (place, expected) = match kind {
                SockType::SeqPacket => (&mut this.clients, CLIENTS),
                _ => (&mut this.admin, ADMIN),
            };
            if [CLIENTS, ADMIN].contains(&name.as_str()) && name != expected {
                return Err(refused(format!("has the type of a socket for {expected}")));
            }
            if place.replace(fd).is_some() {
                return Err(refused(format!("is the second socket for {expected}")));
            }
        }
        Ok(this)
    }

    /// The sockets to serve: those that were passed, else those that a gateway has left, else
    /// those of the settings, which then name the ones that are served. And what else was left.
    ///
    /// # Errors
    /// [`StartError`] with what to do.
    pub fn listen(
        mut self,
        settings: &mut ControlSettings,
    ) -> Result<(Listener, AdminListener, Heir), StartError> {
        let state = &mut self.heritage.state;
        let places = (state.clients.take(), state.admin.take());
        let clients = match self.clients.take() {
            Some(socket) => Some((socket, None)),
            None => self.left(places.0, SockType::SeqPacket, "--socket"),
        };
        let listener = match clients {
            Some((socket, file)) => {
                if let Some(path) = path_of(&socket) {
                    settings.socket = path;
                }
                Listener::resume(socket, file)
            }
            None => Listener::bind(&settings.socket, settings.socket_mode)?,
        };
        let admin = match self.admin.take() {
            Some(socket) => Some((socket, None)),
            None => self.left(places.1, SockType::Stream, "--admin"),
        };
        let admin = match admin {
            Some((socket, file)) => {
                if let Some(path) = path_of(&socket) {
                    settings.admin = AdminAddress::Unix(path);
                }
                AdminListener::resume(socket, file)
            }
            None => AdminListener::bind(&settings.admin, settings.admin_mode)?,
        };
        Ok((listener, admin, Heir(self.heritage)))
    }

    /// A socket that a gateway has left, and its file.
    fn left(
        &mut self,
        place: Option<Place>,
        kind: SockType,
        flag: &'static str,
    ) -> Option<(OwnedFd, Option<SocketFile>)> {
        let Place { socket, file } = place?;
        let socket = self.heritage.take(socket)?;
        if check(&socket) != Ok(kind) {
            return None;
        }
        let Some((path, lock)) = file else {
            return Some((socket, None));
        };
        let lock = self.heritage.take(lock)?;
        let file = SocketFile::resume(path, lock, flag).ok()?;
        Some((socket, Some(file)))
    }
}

/// Takes over the sessions that a gateway has left.
#[derive(Debug, Default)]
pub struct Heir(pub(super) Heritage);

fn passed(number: RawFd, name: &str, fault: String) -> StartError {
    StartError::Passed {
        descriptor: format!("descriptor {number} ({name})"),
        fault,
    }
}

/// Numbers and names of what was passed to the process `own`, by the three variables.
fn announced(
    (pid, count, names): (Option<&OsStr>, Option<&OsStr>, Option<&OsStr>),
    own: u32,
) -> Result<Vec<(RawFd, String)>, StartError> {
    let number = |text: Option<&OsStr>| text.and_then(OsStr::to_str)?.parse::<u32>().ok();
    // What was passed to another process, by which this one was started, is not ours.
    if number(pid) != Some(own) {
        return Ok(Vec::new());
    }
    let malformed = |name: &str| StartError::Passed {
        descriptor: format!("the variable {name}"),
        fault: "is malformed".to_owned(),
    };
    let count = number(count).ok_or_else(|| malformed("LISTEN_FDS"))?;
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    let names: Vec<&str> = match names {
        Some(names) => {
            let names = names.to_str().ok_or_else(|| malformed("LISTEN_FDNAMES"))?;
            let names: Vec<&str> = names.split(':').filter(|_| count > 0).collect();
            if names.len() != count {
                return Err(malformed("LISTEN_FDNAMES"));
            }
            names
        }
        // What systemd calls them itself.
        None => vec!["unknown"; count.min(1024)],
    };
    let named = (FIRST..).zip(names);
    Ok(named.map(|(at, name)| (at, name.to_owned())).collect())
}

/// The type of a Unix socket that listens; it does not block from then on.
fn check(fd: &OwnedFd) -> Result<SockType, &'static str> {
    let kind = getsockopt(fd, sockopt::SockType).map_err(|_| "is not a socket")?;
    getsockname::<UnixAddr>(fd.as_raw_fd()).map_err(|_| "is not a Unix socket")?;
    if !matches!(kind, SockType::SeqPacket | SockType::Stream) {
        return Err("is neither ListenSequentialPacket= nor ListenStream=");
    }
    if !getsockopt(fd, sockopt::AcceptConn).unwrap_or(false) {
        return Err("does not listen (Accept= must be no)");
    }
    let flags = fcntl(fd, FcntlArg::F_GETFL).map_err(|_| "has no flags")?;
    let flags = OFlag::from_bits_retain(flags) | OFlag::O_NONBLOCK;
    fcntl(fd, FcntlArg::F_SETFL(flags)).map_err(|_| "cannot be made non-blocking")?;
    Ok(kind)
}

fn path_of(socket: &impl AsFd) -> Option<PathBuf> {
    let address = getsockname::<UnixAddr>(socket.as_fd().as_raw_fd()).ok()?;
    address.path().map(Path::to_owned)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::{UnixListener, UnixStream};

    use nix::sys::socket::{AddressFamily, SockFlag, socket};

    use super::*;

    fn names(pid: &str, count: &str, names: Option<&str>) -> Result<Vec<String>, StartError> {
        let names = names.map(OsStr::new);
        let found = announced((Some(pid.as_ref()), Some(count.as_ref()), names), 7)?;
        Ok(found.into_iter().map(|(_, name)| name).collect())
    }

    #[test]
    fn what_is_passed_to_another_process_is_not_taken() {
        assert_eq!(names("8", "2", None).unwrap(), [""; 0]);
        assert_eq!(names("", "2", None).unwrap(), [""; 0]);
        assert_eq!(announced((None, None, None), 7).unwrap(), []);
    }

    #[test]
    fn names_and_numbers_go_together() {
        let found = announced(
            (
                Some("7".as_ref()),
                Some("2".as_ref()),
                Some("clients:admin".as_ref()),
            ),
            7,
        );
        let expected = [(3, "clients".to_owned()), (4, "admin".to_owned())];
        assert_eq!(found.unwrap(), expected);
        assert_eq!(names("7", "2", None).unwrap(), ["unknown"; 2]);
        assert_eq!(names("7", "0", Some("")).unwrap(), [""; 0]);
        names("7", "2", Some("clients")).unwrap_err();
        names("7", "many", None).unwrap_err();
    }

    #[test]
    fn only_a_unix_socket_that_listens_will_do() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let listener = UnixListener::bind(&path).unwrap();
        let connected: OwnedFd = UnixStream::connect(&path).unwrap().into();
        let listener: OwnedFd = listener.into();
        assert_eq!(check(&listener), Ok(SockType::Stream));
        assert_eq!(path_of(&listener), Some(path));
        check(&connected).unwrap_err();
        check(&tempfile::tempfile().unwrap().into()).unwrap_err();
        let (family, kind) = (AddressFamily::Unix, SockType::Datagram);
        check(&socket(family, kind, SockFlag::SOCK_CLOEXEC, None).unwrap()).unwrap_err();
        let tcp: OwnedFd = std::net::TcpListener::bind("127.0.0.1:0").unwrap().into();
        assert_eq!(check(&tcp), Err("is not a Unix socket"));
    }
}
