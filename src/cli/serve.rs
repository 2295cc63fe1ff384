//! `ipc-gateway serve`.

use std::path::Path;
use std::process::ExitCode;

use super::args::ServeArgs;
use super::exit::Exit;
use super::log;
use super::output::{complain, complain_for_a_moment, print_line_beside};
use crate::config::Config;
use crate::control::{Ended, hold_signals};
use crate::gateway::{self, GatewayError};

/// Runs the gateway until a signal ends it.
#[must_use]
pub fn run(args: &ServeArgs) -> ExitCode {
    // Before there is any other thread.
    if let Err(error) = hold_signals() {
        complain(format_args!("cannot hold signals: {error}"));
        return Exit::OsError.into();
    }
    let flags = args.overrides.to_overrides();
    let config = match Config::load(&flags) {
        Ok(config) => config,
        Err(refused) => {
            refused.errors().iter().for_each(complain);
            return Exit::from(&refused).into();
        }
    };
    let mut log = match log::start(&config.log) {
        Ok(begun) => begun,
        Err(error) => {
            complain(&error);
            return Exit::OsError.into();
        }
    };
    // Whoever started the gateway may have stopped reading; that is no reason not to serve.
    let serving = |socket: &Path| {
        print_line_beside(format!("ipc-gateway: serving {}", socket.display()));
    };
    let ended = gateway::run(config, flags, log.metrics, log.level, serving);
    // What waits to be written would be lost.
    log.waiting.flush();
    match ended {
        Ok(Ended::Succeeded(handover, successor)) => {
            complain_for_a_moment(handover.exec(&successor));
            Exit::OsError.into()
        }
        Ok(_) => Exit::Ok.into(),
        Err(error) => {
            complain_for_a_moment(&error);
            match error {
                GatewayError::Start(error) => Exit::from(&error).into(),
                _ => Exit::OsError.into(),
            }
        }
    }
}
