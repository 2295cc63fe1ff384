//! `ipc-gateway serve`.

use std::process::ExitCode;

use super::args::ServeArgs;
use super::exit::Exit;
use super::output::{complain, print_line};
use crate::config::Config;
use crate::control::StartError;
use crate::gateway::{self, GatewayError};

/// Runs the gateway until a signal ends it.
#[must_use]
pub fn run(args: &ServeArgs) -> ExitCode {
    let config = match Config::load(&args.overrides.to_overrides()) {
        Ok(config) => config,
        Err(error) => {
            complain(&error);
            return Exit::from(&error).into();
        }
    };
    if print_line(format_args!(
        "ipc-gateway: serving {}",
        config.control.socket.display()
    ))
    .is_err()
    {
        return Exit::Failure.into();
    }
    match gateway::run(config) {
        Ok(_) => Exit::Ok.into(),
        Err(error) => {
            complain(&error);
            match error {
                GatewayError::Start(StartError::Permission(_)) => Exit::NoPermission.into(),
                GatewayError::Start(_) => Exit::Config.into(),
                _ => Exit::OsError.into(),
            }
        }
    }
}
