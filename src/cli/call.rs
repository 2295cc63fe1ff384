//! `ipc-gateway call`.

use std::process::ExitCode;

use super::args::CallArgs;
use super::exit::Exit;
use super::output::complain;
use crate::config::socket_path;

/// Finds the gateway's socket and reports when there is no place for one.
#[must_use]
pub fn run(args: &CallArgs) -> ExitCode {
    match socket_path(args.socket.as_deref()) {
        Ok(_) => Exit::Unavailable.into(),
        Err(error) => {
            complain(&error);
            Exit::from(&error).into()
        }
    }
}
