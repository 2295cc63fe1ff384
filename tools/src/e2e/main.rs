//! `e2e`: the 33 checks of the Router contract, and the service levels, against real processes.
//!
//! | file | what it is |
//! |---|---|
//! | `args` | the command line |
//! | `run` | which checks, in what order, and the evidence |
//! | `catalogue` | the checks by category and number |
//! | `scene` | the processes, and the means to change them |
//! | `subjects`, `errors`, `timeouts`, `reconnect`, `backpressure` | the five categories |
//! | `leaks` | whether many events leave memory behind |
//! | `slo` | the service levels |

mod args;
mod backpressure;
mod catalogue;
mod errors;
mod leaks;
mod reconnect;
mod run;
mod scene;
mod slo;
mod subjects;
mod timeouts;

use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _, error::ErrorKind};
use ipc_tools::artifact::Verdict;
use ipc_tools::stage::{Failure, end_all_on_signals};

use crate::args::Args;
use crate::catalogue::{Item, LEVELS};

/// A program or a server is missing.
const MISSING: u8 = 69;

fn main() -> ExitCode {
    let args = Args::parse();
    if let Some(hidden) = &args.hidden {
        return end(hidden.run().map(|()| ExitCode::SUCCESS));
    }
    let (chosen, levels) = choose(&args);
    if args.list {
        return end(list(&chosen, levels).map(|()| ExitCode::SUCCESS));
    }
    let verdict = end_all_on_signals().and_then(|()| run::run(&args, &chosen, levels));
    end(verdict.map(|verdict| match verdict {
        Verdict::Pass => ExitCode::SUCCESS,
        Verdict::Fail | Verdict::Inconclusive => ExitCode::FAILURE,
    }))
}

/// The checks that were asked for, and whether the service levels were.
fn choose(args: &Args) -> (Vec<Item>, bool) {
    let mut all = catalogue::all();
    let ids: Vec<String> = all.iter().map(Item::id).collect();
    let levels: Vec<String> = LEVELS.iter().map(|level| format!("slo.{level}")).collect();
    if let Some(unknown) = args
        .check
        .iter()
        .find(|id| !ids.contains(*id) && !levels.contains(*id))
    {
        Args::command()
            .error(
                ErrorKind::InvalidValue,
                format!("there is no check {unknown}: --list names them"),
            )
            .exit();
    }
    if args.check.is_empty() && args.category.is_empty() {
        return (all, true);
    }
    all.retain(|item| {
        args.check.contains(&item.id()) || args.category.iter().any(|name| name == item.category)
    });
    let levels = args.category.iter().any(|name| name == "slo")
        || args.check.iter().any(|id| levels.contains(id));
    (all, levels)
}

fn list(chosen: &[Item], levels: bool) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    let mut line = |id: &str, name: &str| writeln!(out, "{id:<15} {name}").map_err(Failure::new);
    for item in chosen {
        line(&item.id(), item.name)?;
    }
    if levels {
        for level in LEVELS {
            line(&format!("slo.{level}"), "service level")?;
        }
    }
    Ok(())
}

fn end(result: Result<ExitCode, Failure>) -> ExitCode {
    result.unwrap_or_else(|failure| {
        run::progress(&format!("e2e: {failure}"));
        match failure {
            Failure::Missing(_) => ExitCode::from(MISSING),
            _ => ExitCode::FAILURE,
        }
    })
}
