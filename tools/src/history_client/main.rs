//! `history-client`: a client whose every request and completion is written to a history.

mod args;
mod exchange;

use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    match exchange::run(&args::Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            drop(writeln!(io::stderr(), "history-client: {error}"));
            ExitCode::FAILURE
        }
    }
}
