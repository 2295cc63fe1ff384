//! `simulate`: the gateway's core under random operations and faults, one seed after another.
//!
//! ```text
//!  guest, hostile ==== region ==== worker ---- link ---- desk ---- broker, fate
//!  (real clients, scribblers)      (real)     (real)    (real)    (a model of NATS)
//! ```
//!
//! Real: client library, rings, ports, workers, slab, timing wheel, mailboxes, bells, links and the
//! answering desk with its re-sends. Models: the clock, the network, the server, the Router and the
//! control thread. One thread runs it all, and every choice comes from the seed.
//!
//! | file | what it is |
//! |---|---|
//! | `args` | the command line |
//! | `run`, `progress` | one seed; where it is, for the report of a panic |
//! | `plan`, `world`, `scene` | what a seed's world is made of |
//! | `steps`, `heal` | what can happen; what must be possible afterwards |
//! | `room`, `cycle`, `fairness` | a worker, and what must hold after each of its cycles |
//! | `tap`, `clock`, `joined` | a watched link, a hand clock, both ends of a session |
//! | `guest`, `ask`, `hostile` | clients, what they ask for, what they should not do |
//! | `broker`, `network`, `fate` | NATS and the Router |
//! | `ledger`, `oracle` | what was asked and what has become of it; what must become of it |
//! | `violation`, `tally`, `trace` | what is reported |

mod args;
mod ask;
mod broker;
mod clock;
mod cycle;
mod fairness;
mod fate;
mod guest;
mod heal;
mod hostile;
mod joined;
mod ledger;
mod network;
mod oracle;
mod plan;
mod progress;
mod room;
mod run;
mod scene;
mod steps;
mod tally;
mod tap;
mod trace;
mod violation;
mod world;

#[cfg(test)]
mod tests;

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;

use args::Args;
use tally::Tally;
use violation::{Failure, Invariant, broken};

fn main() -> ExitCode {
    progress::watch_panics(report_and_exit);
    match run_all(Args::parse()) {
        Ok(tally) => {
            say(&tally.to_string());
            ExitCode::SUCCESS
        }
        Err(failure) => {
            say(&failure.to_string());
            ExitCode::FAILURE
        }
    }
}

fn run_all(args: Args) -> Result<Tally, Failure> {
    let mut tally = Tally::default();
    let before = descriptors();
    for seed in args.from..args.from.saturating_add(args.seeds) {
        let run = run::run(seed, args.steps, args.trace)?;
        tally.add(&run.tally);
        let after = descriptors();
        if after != before {
            let what = format!("{after:?} descriptors are open, before it were {before:?}");
            return Err(progress::failed(broken(Invariant::Rest, what)));
        }
        if args.trace {
            say(&format!("seed {seed}: trace {:016x}", run.hash));
        }
    }
    Ok(tally)
}

/// How many descriptors this process has open, where that can be known.
fn descriptors() -> Option<usize> {
    Some(std::fs::read_dir("/proc/self/fd").ok()?.count())
}

fn say(line: &str) {
    // A reader that is gone does not want to know.
    drop(writeln!(std::io::stdout().lock(), "{line}"));
}

/// Reports a panic where it cannot be caught.
#[expect(
    clippy::exit,
    reason = "a panic of a build that aborts must end with status 1 too"
)]
fn report_and_exit(failure: &Failure) {
    say(&failure.to_string());
    std::process::exit(1);
}
