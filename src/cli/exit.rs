//! Exit codes, as in BSD's `sysexits.h`. They are stable; scripts and service managers read them.

use std::process::ExitCode;

use ipc_ringbuf::{AttachError, EndReason};

use crate::config::{ConfigError, Refused};
use crate::control::StartError;

/// Why the program ends.
///
/// | code | name          | meaning                                                           |
/// |-----:|---------------|-------------------------------------------------------------------|
/// |    0 | `Ok`          | done, or drained and stopped as asked                             |
/// |    1 | `Failure`     | it ran, but not all went well (a call not answered, not ready)    |
/// |    2 | `Usage`       | the command line is wrong                                         |
/// |   69 | `Unavailable` | the gateway cannot be reached                                     |
/// |   70 | `Software`    | the program is in a state that should not exist                   |
/// |   71 | `OsError`     | the system refuses something (memory, threads, descriptors)       |
/// |   73 | `CantCreate`  | a socket, its directory or an output file cannot be made          |
/// |   77 | `NoPermission`| the caller may not do this                                        |
/// |   78 | `Config`      | the configuration is wrong, or a socket's place is not ours       |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[non_exhaustive]
pub enum Exit {
    /// Done.
    Ok = 0,
    /// It ran, but not all went well.
    Failure = 1,
    /// The command line is wrong.
    Usage = 2,
    /// The gateway cannot be reached.
    Unavailable = 69,
    /// A state that should not exist.
    Software = 70,
    /// The system refuses something.
    OsError = 71,
    /// A file or socket cannot be made.
    CantCreate = 73,
    /// Not permitted.
    NoPermission = 77,
    /// The configuration is wrong.
    Config = 78,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

impl From<&AttachError> for Exit {
    fn from(error: &AttachError) -> Self {
        match error {
            AttachError::Permission { .. }
            | AttachError::ServerNotTrusted { .. }
            | AttachError::Refused {
                reason: EndReason::UidDenied,
                ..
            } => Self::NoPermission,
            _ => Self::Unavailable,
        }
    }
}

impl From<&StartError> for Exit {
    fn from(error: &StartError) -> Self {
        match error {
            StartError::Permission { .. } => Self::NoPermission,
            StartError::Os { .. } => Self::CantCreate,
            // Somebody has to choose another place, or clear this one: trying again is no use.
            _ => Self::Config,
        }
    }
}

impl From<&Refused> for Exit {
    fn from(refused: &Refused) -> Self {
        if refused.is_usage() {
            Self::Usage
        } else {
            Self::Config
        }
    }
}

impl From<&ConfigError> for Exit {
    fn from(error: &ConfigError) -> Self {
        if error.is_usage() {
            Self::Usage
        } else {
            Self::Config
        }
    }
}
