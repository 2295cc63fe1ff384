//! `ipc-soak`: runs the real gateway, a real nats-server and the reference Router under checked
//! load and faults, and says whether every promise held.
//!
//! ```text
//!  run (scenario, events) --- starts, kills, samples ---> stage: nats-server, proxy, Router, gateway
//!     |-- storm: what is broken when
//!     |-- quiescent: what must be the same at rest
//!     `------ orders, collects ------> crew: client processes (client), each with a ledger
//!  then: series -> judge (stats) -> report (charts, evidence)
//! ```
//!
//! | file | what it is |
//! |---|---|
//! | `args` | the command line, and where the programs are |
//! | `part` | a program that is run, ended with its guard |
//! | `stage` | what runs besides the clients |
//! | `client` | a client process: checked load |
//! | `crew` | the client processes, as their starter sees them |
//! | `run` | a soak: load, faults, quiescent points |
//! | `storm` | what is broken when, from a seed |
//! | `quiescent` | what must be the same at rest |
//! | `recorder` | the files that grow during a run |
//! | `judge`, `verdict` | what a run is held to, and what that comes to |
//! | `report`, `charts` | the pages and pictures for people |
//! | `progress` | what is shown meanwhile |
//! | `events` | what each kind of event leaves behind, in bytes |
//! | `ledger` | each request completes exactly once, with its own reply |
//! | `sampler` | what the gateway's process uses and counts |
//! | `machine` | what the processors did meanwhile |
//! | `series` | what was measured, second by second |
//! | `stats` | slopes, trends and variation of a series |
//! | `evidence` | the directory of a run, which survives a full disk |
//! | `scenario` | the short run with one killed client |
//! | `witness` | one client more, whose history is held against the Router's log |
//! | `summary` | what the short run promised and whether it held |

mod admin;
mod args;
mod charts;
mod client;
mod crew;
mod events;
mod evidence;
mod judge;
mod ledger;
mod machine;
mod part;
mod progress;
mod quiescent;
mod recorder;
mod report;
mod run;
mod sampler;
mod scenario;
mod series;
mod stage;
mod stats;
mod storm;
mod summary;
mod verdict;
mod witness;

use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::Parser as _;

use args::Command;

fn main() -> ExitCode {
    let args = args::Args::parse();
    let result = match &args.command {
        Some(Command::Client(args)) => return client::run(args),
        Some(Command::Scenario(args)) => scenario::run(args).map(|summary| {
            say(&summary.to_string());
            ExitCode::from(u8::from(!summary.all_held()))
        }),
        Some(Command::Events(args)) => events::run(args).map(|(page, verdict)| {
            say(&page);
            ExitCode::from(verdict.exit())
        }),
        None => soak(&args.soak),
    };
    result.unwrap_or_else(|error| {
        complain(&error.to_string());
        error.exit()
    })
}

/// A soak, from the first flag to the page.
fn soak(args: &args::SoakArgs) -> Result<ExitCode, part::SoakError> {
    let layout = run::Layout::new(args);
    let told = report::configuration(args, &layout);
    let artifact = report::begin(&args.artifacts, "soak", &args.programs, told)?;
    let evidence = evidence::Evidence::of(&artifact);
    let directory = evidence.directory().display();
    complain(&format!("seed {}; evidence in {directory}", layout.seed));
    let found = run::run(args, layout, &evidence)?;
    let checks = judge::judge(&found, args);
    let (page, verdict) = report::soak(&found, checks, args, &evidence, artifact);
    say(&page);
    Ok(ExitCode::from(verdict.exit()))
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
