//! `readiness`: whether the gateway may be run, from what its tests and measurements have left
//! behind and from nothing else.
//!
//! Two axes: Core, the gateway by itself, and System, the gateway between clients, nats-server and
//! Router. Each is the mean of its areas, each area the mean of its lines, each line the part of its
//! checks that passed. What is missing, failed to decide, is shorter or lighter than the line says, or
//! is about other code counts nothing. A run that failed, however short, makes its line fail until a
//! later one of the same code that is enough passes; one of some checks does not take the place of one
//! of all.
//!
//! | file | what it is |
//! |---|---|
//! | `plan` | every line: what must be shown, and by what |
//! | `need` | what must be so of a run, besides its verdict |
//! | `evidence` | what the runs left, and whether it is about this code |
//! | `score` | lines, areas, axes and the two gates |
//! | `report` | the same as Markdown |
//! | `record` | runs a command and leaves evidence of it |
//! | `last` | what came out of the last run of a kind |

mod evidence;
mod last;
mod need;
mod plan;
mod record;
mod report;
mod score;

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};
use ipc_tools::artifact::{DEFAULT_ROOT, Verdict, now_rfc3339, timestamp_ms};

use crate::evidence::{Found, Revisions};
use crate::report::Report;
use crate::score::Score;

/// The exit status of what could not be decided, as that of `ipc-soak`.
const INCONCLUSIVE: u8 = 3;

/// Says whether the gateway may be run, from artifacts only.
///
/// Exit status: 0 when the report was made and the gate that was asked for is open, 1 when it is
/// closed or the recorded command or the last run failed, 2 when something cannot be read, written or
/// started, 3 when the last run was inconclusive.
#[derive(Debug, Parser)]
#[command(name = "readiness", version, args_conflicts_with_subcommands = true)]
struct Command {
    #[command(subcommand)]
    what: Option<What>,
    #[command(flatten)]
    report: ReportArgs,
}

#[derive(Debug, Args)]
struct ReportArgs {
    /// Where runs have left their directories; may be given more than once [default: artifacts and
    /// docs/evidence]
    #[arg(long, value_name = "DIR")]
    artifacts: Vec<PathBuf>,
    /// The revision that is judged
    #[arg(long, default_value = "HEAD", value_name = "REVISION")]
    revision: String,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
    /// Exit with 1 unless this gate is open
    #[arg(long)]
    gate: Option<GateName>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum GateName {
    /// What must hold before it runs where it can do no harm
    Staging,
    /// Everything
    Production,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Run a command and leave an artifact that says whether it ended with 0
    Record {
        /// What kind of evidence it is: loom, asan, asan-gateway, valgrind, fuzz, simulate, faults,
        /// instructions
        kind: String,
        /// Where the directory is made
        #[arg(long, default_value = DEFAULT_ROOT, value_name = "DIR")]
        artifacts: PathBuf,
        /// The command
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
    /// Say what came out of the last run of a kind, and what did not pass
    Last {
        /// What kind of evidence it is: e2e, contract, soak, soak-events, compare-nats, loom and so on
        kind: String,
        /// Where the runs are
        #[arg(long, default_value = DEFAULT_ROOT, value_name = "DIR")]
        artifacts: PathBuf,
    },
}

fn main() -> ExitCode {
    let command = Command::parse();
    let done = match command.what {
        Some(What::Record {
            kind,
            artifacts,
            command,
        }) => record::record(&artifacts, &kind, &command).map_err(|error| error.to_string()),
        Some(What::Last { kind, artifacts }) => {
            last::last(&artifacts, &kind).and_then(|(verdict, text)| {
                let said = writeln!(io::stdout(), "{text}");
                said.map(|()| verdict).map_err(|error| error.to_string())
            })
        }
        None => report(&command.report).map(Verdict::from),
    };
    match done {
        Ok(Verdict::Pass) => ExitCode::SUCCESS,
        Ok(Verdict::Fail) => ExitCode::FAILURE,
        Ok(Verdict::Inconclusive) => ExitCode::from(INCONCLUSIVE),
        Err(error) => {
            // Nobody is left to tell when standard error is closed.
            writeln!(io::stderr(), "readiness: {error}").ok();
            ExitCode::from(2)
        }
    }
}

/// Prints the report; `false` when the gate that was asked for is closed.
fn report(args: &ReportArgs) -> Result<bool, String> {
    let roots = if args.artifacts.is_empty() {
        vec![DEFAULT_ROOT.into(), "docs/evidence".into()]
    } else {
        args.artifacts.clone()
    };
    let revisions = Revisions::look(&args.revision)?;
    let found = Found::below(&roots);
    let now = timestamp_ms() / 1000;
    let report = Report {
        schema: 1,
        revision: revisions.head().to_owned(),
        dirty: revisions.is_dirty(),
        date: now_rfc3339(),
        score: Score::new(&found.evidence, &revisions, now),
        unusable: found.unusable,
    };
    let text = if args.json {
        serde_json::to_string_pretty(&report).map_err(|error| error.to_string())?
    } else {
        report.markdown()
    };
    writeln!(io::stdout(), "{}", text.trim_end()).map_err(|error| error.to_string())?;
    Ok(match args.gate {
        None => true,
        Some(GateName::Staging) => report.score.staging.open,
        Some(GateName::Production) => report.score.production.open,
    })
}
