//! `check-history`: holds the histories of clients against what the Router received and what the
//! gateway counted.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use ipc_tools::history::{Books, Checker, Limits, Mark, MetricsError, Tenants, Verdict};
use thiserror::Error;

/// Holds the histories of clients against what the Router received and what the gateway counted.
///
/// Exit status: 0 when every invariant holds, 1 when one does not, 2 when something cannot be read.
#[derive(Debug, Parser)]
#[command(name = "check-history", version)]
struct Args {
    /// A client's history; may be given more than once
    #[arg(long, value_name = "FILE", required = true, num_args = 1..)]
    client: Vec<PathBuf>,
    /// A Router's log; may be given more than once
    #[arg(long, value_name = "FILE", num_args = 1..)]
    router: Vec<PathBuf>,
    /// The gateway's metrics before the first request [default: all counters were 0]
    #[arg(long, value_name = "FILE", requires = "after")]
    before: Option<PathBuf>,
    /// The gateway's metrics after the last completion
    #[arg(long, value_name = "FILE")]
    after: Option<PathBuf>,
    /// When faults began and healed, one JSON object a line
    #[arg(long, value_name = "FILE")]
    marks: Option<PathBuf>,
    /// A client that no fault has touched; may be given more than once
    #[arg(long, value_name = "NAME", num_args = 1..)]
    untouched: Vec<String>,
    /// How much later than its deadline a completion may be seen
    #[arg(long, value_name = "DURATION", default_value = "50ms")]
    epsilon: humantime::Duration,
    /// The gateway binds its users to tenants: each request must arrive with the header `tenant_id` of its
    /// client
    #[arg(long)]
    bound_tenants: bool,
    /// Print the verdict as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Error)]
enum CheckError {
    #[error("cannot read {}: {error}", path.display())]
    Read { path: PathBuf, error: io::Error },
    #[error("{} is no history: {error}", path.display())]
    Parse {
        path: PathBuf,
        error: serde_json::Error,
    },
    #[error("{} are no metrics: {error}", path.display())]
    Metrics { path: PathBuf, error: MetricsError },
}

fn main() -> ExitCode {
    let args = Args::parse();
    let verdict = match check(&args) {
        Ok(verdict) => verdict,
        Err(error) => {
            drop(writeln!(io::stderr(), "check-history: {error}"));
            return ExitCode::from(2);
        }
    };
    let text = if args.json {
        serde_json::to_string(&verdict).unwrap_or_default()
    } else {
        verdict.to_string()
    };
    match writeln!(io::stdout(), "{text}") {
        Ok(()) if verdict.holds() => ExitCode::SUCCESS,
        Ok(()) => ExitCode::FAILURE,
        Err(_) => ExitCode::from(2),
    }
}

fn check(args: &Args) -> Result<Verdict, CheckError> {
    let epsilon = args.epsilon.into();
    let tenants = if args.bound_tenants {
        Tenants::Bound
    } else {
        Tenants::Free
    };
    let mut checker = Checker::new(Limits { epsilon, tenants });
    for path in &args.client {
        let parsed = checker.client(&read(path)?);
        parsed.map_err(|error| no_history(path, error))?;
    }
    for path in &args.router {
        let parsed = checker.router(&read(path)?);
        parsed.map_err(|error| no_history(path, error))?;
    }
    if let Some(path) = &args.marks {
        for line in read(path)?.lines() {
            let mark: Result<Mark, _> = serde_json::from_str(line);
            checker.marks([mark.map_err(|error| no_history(path, error))?]);
        }
    }
    if let Some(path) = &args.after {
        let before = args
            .before
            .as_deref()
            .map_or_else(|| Ok(Books::default()), books)?;
        checker.books(books(path)?.since(&before));
    }
    for name in &args.untouched {
        checker.untouched(name);
    }
    Ok(checker.judge())
}

fn books(path: &Path) -> Result<Books, CheckError> {
    Books::parse(&read(path)?).map_err(|error| CheckError::Metrics {
        path: path.to_owned(),
        error,
    })
}

fn read(path: &Path) -> Result<String, CheckError> {
    fs::read_to_string(path).map_err(|error| CheckError::Read {
        path: path.to_owned(),
        error,
    })
}

fn no_history(path: &Path, error: serde_json::Error) -> CheckError {
    CheckError::Parse {
        path: path.to_owned(),
        error,
    }
}
