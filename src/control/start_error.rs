//! Why the gateway cannot listen, and what to do about it.

use std::io;
use std::path::{Path, PathBuf};

/// Why the gateway cannot listen. Each says what to do; `flag` is the one that names the path.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// Another gateway holds the lock.
    #[error("{path} belongs to another gateway that is running: stop it, or choose another {flag}")]
    Taken {
        /// The socket's path.
        path: PathBuf,
        /// The flag that names it.
        flag: &'static str,
    },
    /// A program that knows nothing of the lock listens at the path.
    #[error("another program listens at {path}: stop it, or choose another {flag}")]
    InUse {
        /// The socket's path.
        path: PathBuf,
        /// The flag that names it.
        flag: &'static str,
    },
    /// Something that is no socket is at the path.
    #[error("{path} exists and is not a socket: remove it, or choose another {flag}")]
    NotASocket {
        /// The path.
        path: PathBuf,
        /// The flag that names it.
        flag: &'static str,
    },
    /// What is at the path of the lock file is not one, or is another user's.
    #[error("{path} is not a lock file of this user: remove it, or choose another {flag}")]
    BadLock {
        /// The path of the lock file.
        path: PathBuf,
        /// The flag that names the socket beside it.
        flag: &'static str,
    },
    /// The directory could be written by others.
    #[error(
        "directory {path} can be written by every user: give it mode 0755 or less, \
         or choose another {flag}"
    )]
    OpenDirectory {
        /// The directory.
        path: PathBuf,
        /// The flag that names the socket in it or below it.
        flag: &'static str,
    },
    /// The directory could be written by the members of a group.
    #[error(
        "directory {path} can be written by group {group}, whose members could replace the socket: \
         give it mode 0755 or less, or the sticky bit, or choose another {flag}"
    )]
    GroupDirectory {
        /// The directory.
        path: PathBuf,
        /// Its group.
        group: u32,
        /// The flag that names the socket in it or below it.
        flag: &'static str,
    },
    /// The directory is neither this user's nor root's.
    #[error(
        "directory {path} belongs to user {owner}, who could replace the socket: \
         give it to root or to the gateway's user, or choose another {flag}"
    )]
    ForeignDirectory {
        /// The directory.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
        /// The flag that names the socket in it or below it.
        flag: &'static str,
    },
    /// The service manager passed something that is of no use.
    #[error("{descriptor}, passed by the service manager, {fault}: correct its socket unit")]
    Passed {
        /// Which, by number and name.
        descriptor: String,
        /// What is wrong with it.
        fault: String,
    },
    /// No permission.
    #[error("no permission for {path}: run as its owner, or choose another {flag}")]
    Permission {
        /// The socket's path.
        path: PathBuf,
        /// The flag that names it.
        flag: &'static str,
    },
    /// Another failure of the operating system.
    #[error("cannot listen on {address}: {source}; choose another {flag}")]
    Os {
        /// The socket's path, or an address.
        address: String,
        /// The flag that names it.
        flag: &'static str,
        /// What the operating system said.
        source: io::Error,
    },
}

impl StartError {
    pub(super) fn os(path: &Path, flag: &'static str, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::PermissionDenied => Self::Permission {
                path: path.to_owned(),
                flag,
            },
            _ => Self::Os {
                address: path.display().to_string(),
                flag,
                source,
            },
        }
    }
}
