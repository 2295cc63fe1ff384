//! Whose limits are judged: those of the gateway that runs here, if one does, or else this process's own.
//! A shell has other limits than a service, and is confined otherwise.

use std::fs::read;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::finding::{Check, Finding};
use crate::cli::top::{NoStatus, running};
use crate::settings::AdminAddress;

/// A process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Process {
    /// The gateway that answers at the admin server's address.
    Gateway(u32),
    /// This one: there is no admin server at its address.
    Own,
    /// This one, as of the gateway that answers nothing is seen.
    Unseen,
    /// This one, as whether a gateway runs is not known: there is something that does not answer, or
    /// not as this release does.
    Unknown {
        /// What happened.
        reason: String,
        /// What to do.
        advice: &'static str,
    },
}

impl Process {
    /// Asks at this address. A number that belongs to no process of this name is of another machine or
    /// container.
    pub(super) fn find(address: &AdminAddress) -> Self {
        let pid = match running(address) {
            Ok(pid) => pid,
            Err(error) => return Self::without(address, &error),
        };
        let name = |pid: &str| read(Path::new("/proc").join(pid).join("comm")).ok();
        match name(&pid.to_string()) {
            // In a container of its own this process may have the same number.
            Some(its) if pid != std::process::id() && Some(&its) == name("self").as_ref() => {
                Self::Gateway(pid)
            }
            _ => Self::Unseen,
        }
    }

    /// Without an answer from this address, for this reason.
    fn without(address: &AdminAddress, error: &NoStatus) -> Self {
        let advice = match error {
            NoStatus::Unreachable(error) => match error.kind() {
                ErrorKind::NotFound | ErrorKind::NotADirectory | ErrorKind::ConnectionRefused => {
                    return Self::Own;
                }
                ErrorKind::PermissionDenied => {
                    "Run it as the gateway's user, or let its group in: control.admin_mode."
                }
                ErrorKind::TimedOut => {
                    "A gateway there is stopped or hangs: see its log, and end or restart it."
                }
                _ => "See what is at control.admin: a gateway answers otherwise.",
            },
            NoStatus::Other(_) => {
                "Run the doctor of the gateway's own release beside it, or see what else listens at \
                 control.admin."
            }
        };
        Self::Unknown {
            reason: format!("{address}: {error}"),
            advice,
        }
    }

    /// Whether a gateway has answered.
    pub(super) const fn is_gateway(&self) -> bool {
        matches!(self, Self::Gateway(_) | Self::Unseen)
    }

    /// Where the kernel tells about it.
    pub(super) fn directory(&self) -> PathBuf {
        match self {
            Self::Gateway(pid) => Path::new("/proc").join(pid.to_string()),
            Self::Own | Self::Unseen | Self::Unknown { .. } => PathBuf::from("/proc/self"),
        }
    }

    /// Says whose they are.
    pub(super) fn finding(&self) -> Finding {
        let own = "descriptors, memory, users, processes and cores are";
        match self {
            Self::Gateway(pid) => {
                let found = format!("{own} those of the gateway that runs, process {pid}");
                Finding::ok(Check::Process, found)
            }
            Self::Own => {
                let found =
                    format!("{own} this process's own; no gateway listens at the admin address");
                Finding::ok(Check::Process, found)
            }
            Self::Unseen => Finding::warn(
                Check::Process,
                format!(
                    "{own} this process's own; the gateway that answers is a process that is not seen"
                ),
                "Run it where the gateway runs: in its container, or in the machine's own namespace of \
                 processes.",
            ),
            Self::Unknown { reason, advice } => Finding::warn(
                Check::Process,
                format!("{own} this process's own; whether a gateway runs is not known: {reason}"),
                *advice,
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;

    #[test]
    fn without_a_gateway_it_is_this_process() {
        let nowhere = AdminAddress::Unix("/nonexistent/admin.sock".into());
        let process = Process::find(&nowhere);
        assert_eq!(process, Process::Own);
        assert!(process.directory().join("limits").exists());
        assert_eq!(process.finding().level, Level::Ok);
        assert_eq!(Process::Unseen.finding().level, Level::Warn);
        let one = Process::Gateway(1);
        assert_eq!(one.directory(), Path::new("/proc/1"));
    }

    #[test]
    fn only_where_nobody_listens_there_is_no_gateway() {
        let address = AdminAddress::Unix("/run/g/admin.sock".into());
        let unreachable = |kind: ErrorKind| NoStatus::Unreachable(kind.into());
        for kind in [ErrorKind::NotFound, ErrorKind::ConnectionRefused] {
            assert_eq!(Process::without(&address, &unreachable(kind)), Process::Own);
        }
        let other = NoStatus::Other("it answers with status 500".to_owned());
        for (error, words) in [
            (unreachable(ErrorKind::PermissionDenied), "admin_mode"),
            (unreachable(ErrorKind::TimedOut), "hangs"),
            (unreachable(ErrorKind::InvalidData), "control.admin"),
            (other, "release"),
        ] {
            let process = Process::without(&address, &error);
            let finding = process.finding();
            assert_eq!(finding.level, Level::Warn, "{finding}");
            assert!(finding.found.contains("/run/g/admin.sock: "), "{finding}");
            assert!(finding.advice.contains(words), "{finding}");
            assert!(!process.is_gateway());
        }
    }
}
