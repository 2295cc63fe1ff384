//! `ipc-gateway serve`.

use std::path::Path;
use std::process::ExitCode;

use super::args::ServeArgs;
use super::exit::Exit;
use super::log;
use super::output::{complain, print_line};
use crate::config::Config;
use crate::control::Ended;
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
    let (log, lines) = match log::start(&config.log) {
        Ok(begun) => begun,
        Err(error) => {
            complain(&error);
            return Exit::OsError.into();
        }
    };
    // Whoever started the gateway may have stopped reading; that is no reason not to serve.
    let serving = |socket: &Path| {
        let _unread = print_line(format_args!("ipc-gateway: serving {}", socket.display()));
    };
    match gateway::run(config, lines, serving) {
        Ok(Ended::Succeeded(handover, program)) => {
            // What waits to be written would be lost.
            drop(log);
            complain(handover.exec(&program));
            Exit::OsError.into()
        }
        Ok(_) => Exit::Ok.into(),
        Err(error) => {
            complain(&error);
            match error {
                GatewayError::Start(error) => Exit::from(&error).into(),
                _ => Exit::OsError.into(),
            }
        }
    }
}
