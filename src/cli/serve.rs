//! `ipc-gateway serve`.

use std::process::ExitCode;

use super::args::ServeArgs;
use super::exit::Exit;
use super::output::complain;
use crate::config::Config;

/// Loads the configuration and reports what is wrong with it.
#[must_use]
pub fn run(args: &ServeArgs) -> ExitCode {
    match Config::load(&args.overrides.to_overrides()) {
        Ok(_) => Exit::Ok.into(),
        Err(error) => {
            complain(&error);
            Exit::from(&error).into()
        }
    }
}
