//! `ipc-gateway bench`: load from client processes, measured by the clients.
//!
//! ```text
//!  bench (crew, report)                       client process, one or more (client)
//!       -- stdin:  plan, "go", "stop" -->     a thread for each client (load)
//!       <-- stdout: ready, progress, done --  each with a session of its own
//! ```
//!
//! | file | what it is |
//! |---|---|
//! | `args` | what can be typed |
//! | `plan` | what the two sides tell each other |
//! | `crew` | starts the client processes, lets them go together, ends them |
//! | `client` | a client process |
//! | `load` | one client's loop, closed or open |
//! | `pace` | when requests of an open loop are due |
//! | `tally` | completions by code, and their latency |
//! | `body` | the payload |
//! | `report` | what is printed |
//!
//! Latency counts from submission, or in an open loop from the moment when the request was due, so
//! that a stall is not hidden. Every completion counts, whatever its code.

mod args;
mod body;
mod client;
mod crew;
mod load;
mod pace;
mod plan;
mod report;
mod tally;

use std::process::ExitCode;

use super::exit::Exit;
use super::output::{complain, print_line};
use crate::config::socket_path;
use plan::Plan;
use report::Report;

pub use args::{BenchArgs, Wait};
pub use client::run as run_client;

/// Measures and prints the report.
#[must_use]
pub fn run(args: &BenchArgs) -> ExitCode {
    measure(args).unwrap_or_else(|exit| exit).into()
}

fn measure(args: &BenchArgs) -> Result<Exit, Exit> {
    let socket = socket_path(args.socket.as_deref()).map_err(|error| {
        complain(&error);
        Exit::from(&error)
    })?;
    // The clients build the same body again; here it is only seen whether there is one.
    body::build(&args.route, args.payload).map_err(|error| {
        complain(error);
        Exit::Usage
    })?;
    let (processes, threads) = if args.threads {
        (1, args.clients)
    } else {
        (args.clients, 1)
    };
    let plan = Plan {
        socket,
        route: args.route.clone(),
        window: args.window,
        payload: args.payload,
        rate: args.rate,
        burst: args.burst,
        wait: args.wait,
        timeout: args.timeout,
        no_wait: args.no_wait,
        duration: args.duration,
        clients: args.clients,
        threads,
        first: 0,
    };
    let measured = crew::measure(&plan, processes).map_err(|failure| {
        complain(&failure);
        failure.exit()
    })?;
    for fault in &measured.faults {
        complain(fault);
    }
    let report = Report::new(args, &measured);
    print_line(if args.json {
        report.json().to_string()
    } else {
        report.text()
    })?;
    Ok(if measured.faults.is_empty() && report.all_succeeded() {
        Exit::Ok
    } else {
        Exit::Failure
    })
}
