//! `contract`: holds the machine-readable contract against what the gateway really does.
//!
//! | file | what it is |
//! |---|---|
//! | `document` | the contract as a document, and the rules that it must keep by itself |
//! | `bench` | the processes, and one request at a time |
//! | `headers` | subject, header names and encodings, reserved names and limits |
//! | `fields` | rules of the fields, and limits at one less, exactly and one more |
//! | `answers` | codes and statuses of errors, and payloads |
//! | `load` | the forms of backpressure |

mod answers;
mod bench;
mod document;
mod fields;
mod headers;
mod load;

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use ipc_tools::artifact::{Artifact, DEFAULT_ROOT, Programs, Verdict};
use ipc_tools::stage::{Failure, Hidden, Report, While as _, end_all_on_signals};

use crate::bench::Bench;
use crate::document::Contract;

/// A program or a file is missing.
const MISSING: u8 = 69;

/// Validates the machine-readable contract, and then the gateway against it.
///
/// It starts nats-server, the reference Router, ipc-gateway and a client process, and writes the
/// evidence to `artifacts/contract/`, in a directory named by the time.
///
/// Exit status: 0 the gateway does what the contract says, 1 it does not, 2 the command line is
/// wrong, 69 a program or the contract is missing (the line says what to do), 130 interrupted.
#[derive(Clone, Debug, Parser)]
#[command(name = "contract", version)]
struct Args {
    #[command(subcommand)]
    hidden: Option<Hidden>,
    /// The contract
    #[arg(long, value_name = "FILE", default_value = "contracts/router.v1.json")]
    contract: PathBuf,
    /// Where ipc-gateway and reference-router are [default: beside this program]
    #[arg(long, value_name = "DIR")]
    bin_dir: Option<PathBuf>,
    /// Where evidence goes
    #[arg(long, value_name = "DIR", default_value = DEFAULT_ROOT)]
    artifacts: PathBuf,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let result = match &args.hidden {
        Some(hidden) => hidden.run().map(|()| Verdict::Pass),
        None => end_all_on_signals().and_then(|()| run(&args)),
    };
    match result {
        Ok(Verdict::Pass) => ExitCode::SUCCESS,
        Ok(Verdict::Fail | Verdict::Inconclusive) => ExitCode::FAILURE,
        Err(failure) => {
            progress(&format!("contract: {failure}"));
            match failure {
                Failure::Missing(_) => ExitCode::from(MISSING),
                _ => ExitCode::FAILURE,
            }
        }
    }
}

fn run(args: &Args) -> Result<Verdict, Failure> {
    let contract = Contract::read(&args.contract)?;
    let own = std::env::current_exe().or_say("cannot find this program")?;
    let dir = args.bin_dir.clone();
    let dir = dir.unwrap_or_else(|| own.with_file_name(""));
    let programs = Programs::find_in(Some(&dir));
    let configuration = serde_json::json!({
        "contract": args.contract, "gateway": bench::CONFIGURATION,
        "profile": if cfg!(debug_assertions) { "debug" } else { "release" },
    });
    let artifact = Artifact::create_with(&args.artifacts, "contract", &programs, configuration);
    let artifact = artifact.or_say("the evidence cannot be written")?;
    progress(&format!("evidence goes to {}", artifact.path().display()));
    let mut bench = Bench::set(&programs, &dir, artifact)?;
    bench.check(
        "json.form",
        "the document keeps its own rules",
        |_, report| {
            none(report, "faults of the document", &contract.faults());
            Ok(())
        },
    )?;
    bench.check(
        "json.codes",
        "it has every code of the library",
        |_, report| {
            none(report, "differences", &contract.code_faults());
            Ok(())
        },
    )?;
    headers::check(&mut bench, &contract)?;
    fields::check(&mut bench, &contract)?;
    answers::check(&mut bench, &contract)?;
    load::check(&mut bench, &contract)?;
    bench.finish(&args.contract)
}

fn none(report: &mut Report, what: &str, found: &[String]) {
    report.equal(what, &found.join("; "), &String::new());
}

/// Says what is being done.
fn progress(what: &str) {
    // Nobody is left to tell when standard error is closed.
    writeln!(io::stderr(), "{what}").ok();
}
