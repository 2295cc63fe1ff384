//! `ipc-soak`: runs the real gateway, a real nats-server and the reference Router under checked
//! load and faults, and says whether every promise held.
//!
//! ```text
//!  scenario --- starts, kills, samples ---> nats-server, reference-router, ipc-gateway (part)
//!     |-------- starts, kills, reads -----> client processes (client), each with a ledger
//! ```
//!
//! | file | what it is |
//! |---|---|
//! | `args` | the command line, and where the programs are |
//! | `part` | a program that is run, ended with its guard |
//! | `client` | a client process: checked load |
//! | `ledger` | each request completes exactly once, with its own reply |
//! | `sampler` | resident memory and descriptors over time |
//! | `scenario` | what happens when |
//! | `witness` | one client more, whose history is held against the Router's log |
//! | `summary` | what was promised and whether it held |

mod admin;
mod args;
mod client;
mod ledger;
mod part;
mod sampler;
mod scenario;
mod summary;
mod witness;

use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    let args = args::Args::parse();
    if let Some(name) = &args.client {
        return client::run(&args, name);
    }
    match scenario::run(&args) {
        Ok(summary) => {
            say(&summary.to_string());
            ExitCode::from(u8::from(!summary.all_held()))
        }
        Err(error) => {
            complain(&error.to_string());
            error.exit()
        }
    }
}

/// Prints a line.
fn say(text: &str) {
    // A reader that has gone does not want to know.
    writeln!(io::stdout(), "{text}").ok();
}

/// Says what went wrong.
fn complain(text: &str) {
    writeln!(io::stderr(), "ipc-soak: {text}").ok();
}
