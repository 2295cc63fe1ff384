//! `ipc-gateway serve`.

use std::process::ExitCode;

use super::args::ServeArgs;
use super::exit::Exit;
use super::log;
use super::output::{complain, print_line};
use crate::config::Config;
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
    let log = match log::start(&config.log) {
        Ok(begun) => begun,
        Err(error) => {
            complain(&error);
            return Exit::OsError.into();
        }
    };
    let socket = config.control.socket.clone();
    // Whoever started the gateway may have stopped reading; that is no reason not to serve.
    let serving = || {
        let _unread = print_line(format_args!("ipc-gateway: serving {}", socket.display()));
    };
    let _writing = log.guard;
    match gateway::run(config, log.metrics, log.level, serving) {
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
