//! `ipc-gateway bench`.

use std::process::ExitCode;

use super::args::BenchArgs;
use super::exit::Exit;
use super::output::complain;
use crate::config::socket_path;

/// Finds the gateway's socket and reports when there is no place for one.
#[must_use]
pub fn run(args: &BenchArgs) -> ExitCode {
    match socket_path(args.socket.as_deref()) {
        Ok(_) => Exit::Unavailable.into(),
        Err(error) => {
            complain(&error);
            Exit::from(&error).into()
        }
    }
}
