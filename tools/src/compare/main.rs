//! `compare`: ipc-gateway and other ways to do the same, measured in turn in one run, interleaved,
//! so that a machine whose speed changes within minutes is the same for all of them.
//!
//! ```text
//!  compare nats                               nats-server, responder   for the whole run
//!    for each cell, round and contender:      gateway or uds-gateway   for one run
//!      probe, start, ready, go, sample, sample, report, probe
//!                                             client processes         for one run
//! ```
//!
//! | file | what it is |
//! |---|---|
//! | `args` | the command line |
//! | `nats` | `compare nats`: the cells, rounds and contenders, in turn |
//! | `local` | `compare local`: the same without NATS, and round trips spinning and asleep |
//! | `crew` | the client processes of one run |
//! | `job`, `orders` | what a client process is told, and what it says |
//! | `contenders` | what each contender's client process does |
//! | `slots` | requests in flight: checked answers, latency |
//! | `inbox` | the async-nats side of `direct-pipelined` and `uds` |
//! | `wire` | the NATS protocol by hand, for `raw` and the responder |
//! | `frames`, `uds_gateway` | the Unix-socket baseline |
//! | `responder` | answers requests |
//! | `server` | starts nats-server, the responder and the gateways |
//! | `cpu`, `probe`, `machine` | processor time, placement of the cores, what machine it is |
//! | `stats`, `figures`, `report` | medians and spread, ratios, table and JSON |
//! | `targets` | what the gateway is to reach, and whether it did |
//!
//! Every process but nats-server and the gateway is this program with a hidden subcommand. Start-up
//! and connecting do not count. Each answer must repeat its request.

mod args;
mod contenders;
mod cpu;
mod crew;
mod figures;
mod frames;
mod inbox;
mod job;
mod local;
mod machine;
mod nats;
mod orders;
mod probe;
mod report;
mod responder;
mod server;
mod slots;
mod stats;
mod targets;
mod uds_gateway;
mod wire;

use core::fmt::Display;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser as _;
use ipc_tools::artifact::{Artifact, Check, Programs, Verdict};

use crate::args::{Command, RunArgs, What};
use crate::report::Document;
use crate::uds_gateway::Upstream;
use ipc_tools::stage::{Failure, While as _};

/// The gateway has this allocator too, so that contenders differ in what they do only.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match run(Command::parse().what) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            complain(&failure);
            ExitCode::FAILURE
        }
    }
}

fn run(what: What) -> Result<(), Failure> {
    match what {
        What::Nats(args) => {
            ipc_tools::stage::end_all_on_signals()?;
            let artifact = begin("compare-nats", &args.run, Some(&args.nats_server))?;
            give(&nats::run(&args)?, artifact, &args.run)
        }
        What::Local(args) => {
            ipc_tools::stage::end_all_on_signals()?;
            let artifact = begin("compare-local", &args.run, None)?;
            give(&local::run(&args)?, artifact, &args.run)
        }
        What::Client { job } => contenders::run(&serde_json::from_str(&job).or_say("the job")?),
        What::Responder { address, subject } => responder::run(&address, &subject),
        What::UdsGateway {
            socket,
            subject,
            address,
        } => {
            let upstream = address
                .as_deref()
                .map_or(Upstream::Echo, |address| Upstream::Nats {
                    address,
                    subject: &subject,
                });
            contenders::current_thread(uds_gateway::run(&socket, upstream))
        }
        #[cfg(feature = "iceoryx2")]
        What::Iceoryx2Server {
            name,
            kind,
            clients,
            window,
            payload,
        } => {
            let room = contenders::iceoryx2::Room {
                clients,
                window,
                payload,
            };
            contenders::iceoryx2::serve(&name, kind, room)
        }
    }
}

/// Makes the directory of the run where it was asked for, before anything is measured: it says which source
/// and which programs these are.
fn begin(
    kind: &str,
    args: &RunArgs,
    nats_server: Option<&str>,
) -> Result<Option<Artifact>, Failure> {
    let Some(root) = &args.artifacts else {
        return Ok(None);
    };
    let mut programs = Programs::find();
    if let Some(gateway) = &args.gateway {
        programs.gateway = Some(gateway.clone());
    }
    programs.nats_server = nats_server.map(PathBuf::from);
    let configuration = serde_json::json!({
        "rounds": args.rounds,
        "seconds": args.seconds,
        "warmup": args.warmup,
    });
    let artifact = Artifact::create_with(root, kind, &programs, configuration);
    artifact.map(Some).or_say("cannot make the artifact")
}

/// Prints the document, and leaves it where it was asked for.
fn give(document: &Document, artifact: Option<Artifact>, args: &RunArgs) -> Result<(), Failure> {
    let json = serde_json::to_string_pretty(document).or_say("cannot write the document")?;
    let text = document.text();
    let shown = if args.json { &json } else { &text };
    writeln!(io::stdout(), "{}", shown.trim_end()).or_say("nobody reads the report")?;
    if let Some(artifact) = artifact {
        leave(document, artifact, (&json, &text)).or_say("cannot leave the artifact")?;
    }
    Ok(())
}

fn leave(
    document: &Document,
    mut artifact: Artifact,
    (json, text): (&str, &str),
) -> io::Result<()> {
    let kind = artifact.environment().kind.clone();
    artifact.file("document.json")?.write_all(json.as_bytes())?;
    for target in targets::judge(document) {
        let verdict = if target.is_inconclusive {
            Verdict::Inconclusive
        } else {
            Verdict::from(target.holds())
        };
        let check = Check::new(&target.id, kind.as_str(), &target.name, verdict);
        artifact.check(&check.detail(target.detail()))?;
    }
    progress(&format!("left in {}", artifact.path().display()));
    artifact.finish(&format!("```text\n{}\n```\n", text.trim_end()))?;
    Ok(())
}

/// Says what is being done.
fn progress(what: &str) {
    // Nobody is left to tell when standard error is closed.
    writeln!(io::stderr(), "{what}").ok();
}

/// Says what went wrong.
fn complain(what: impl Display) {
    writeln!(io::stderr(), "compare: {what}").ok();
}
