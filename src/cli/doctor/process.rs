//! Whose limits are judged: those of the gateway that runs here, if one does, or else this process's own.
//! A shell has other limits than a service, and is confined otherwise.

use std::fs::read;
use std::path::{Path, PathBuf};

use super::finding::{Check, Finding};
use crate::cli::top::running;
use crate::settings::AdminAddress;

/// A process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Process {
    /// The gateway that answers at the admin server's address.
    Gateway(u32),
    /// This one.
    Own,
    /// This one, as of the gateway that answers nothing is seen.
    Unseen,
}

impl Process {
    /// Asks at this address. A number that belongs to no process of this name is of another machine or
    /// container.
    pub(super) fn find(address: &AdminAddress) -> Self {
        let Some(pid) = running(address) else {
            return Self::Own;
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

    /// Where the kernel tells about it.
    pub(super) fn directory(&self) -> PathBuf {
        match self {
            Self::Gateway(pid) => Path::new("/proc").join(pid.to_string()),
            Self::Own | Self::Unseen => PathBuf::from("/proc/self"),
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
                    format!("{own} this process's own; no gateway answers at the admin socket");
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
}
