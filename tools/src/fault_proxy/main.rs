//! `fault-proxy`: TCP between a client and a server, with the faults of a network on demand.
//!
//! ```text
//! client <-> link <-> server
//!             ^
//! stdin -> order -> state
//! ```
//!
//! The fault tests put it between the gateway and nats-server.

mod args;
mod link;
mod order;
mod serve;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    match serve::run(&args::Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            serve::complain(&error.to_string());
            ExitCode::FAILURE
        }
    }
}
