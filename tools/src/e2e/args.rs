//! The command line.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};
use ipc_tools::stage::Hidden;

/// Runs the 33 checks of the Router contract, and the service levels, against real processes.
///
/// It starts nats-server, the reference Router, ipc-gateway and client processes, records what
/// crosses the server, and writes the evidence to `artifacts/e2e/`, in a directory named by the time.
/// A check that could not be tried has failed.
///
/// With `--router external` the Router is whatever answers at `--nats`. It cannot be told to fail,
/// to be silent, to be late or to say that it is overloaded: the checks that need that fail, and
/// say so. Name the categories or checks that it can show with --category or --check. Requests are
/// sent for the tenant that --tenant names. TLS is not spoken.
///
/// Exit status: 0 every check passed, 1 one did not, 2 the command line is wrong, 69 a program or
/// server is missing (the line says what to do), 130 interrupted.
#[derive(Clone, Debug, Parser)]
#[command(name = "e2e", version)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) hidden: Option<Hidden>,
    /// Who answers
    #[arg(long, value_enum, default_value = "reference")]
    pub(crate) router: RouterKind,
    /// Server of the external Router, `nats://USER:PASSWORD@host:port` or without a user
    #[arg(
        long,
        value_name = "URL",
        required_if_eq("router", "external"),
        env = "IPCGW_E2E_NATS"
    )]
    pub(crate) nats: Option<String>,
    /// Tenant of the requests
    #[arg(long, default_value = "acme", value_parser = tenant)]
    pub(crate) tenant: String,
    /// Run this category only; may be given more than once
    #[arg(long, value_name = "NAME", value_parser = ["subjects", "errors", "timeouts", "reconnect", "backpressure", "slo"])]
    pub(crate) category: Vec<String>,
    /// Run this check only, such as subjects.3; may be given more than once
    #[arg(long, value_name = "ID")]
    pub(crate) check: Vec<String>,
    /// List the checks and end
    #[arg(long)]
    pub(crate) list: bool,
    /// Where ipc-gateway, reference-router and fault-proxy are [default: beside this program]
    #[arg(long, value_name = "DIR")]
    pub(crate) bin_dir: Option<PathBuf>,
    /// Program of the reference Router [default: reference-router in --bin-dir]
    #[arg(long, value_name = "PATH")]
    pub(crate) reference_router: Option<PathBuf>,
    /// Where evidence goes
    #[arg(long, value_name = "DIR", default_value = ipc_tools::artifact::DEFAULT_ROOT)]
    pub(crate) artifacts: PathBuf,
    /// Requests a second while the service levels are measured
    #[arg(long, value_name = "N", default_value_t = 1000.0, value_parser = rate)]
    pub(crate) slo_rate: f64,
    /// Seconds for which they are measured
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=600))]
    pub(crate) slo_seconds: u64,
}

/// Who answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum RouterKind {
    /// The reference Router, at a nats-server that this starts
    Reference,
    /// Whatever Router is deployed
    External,
}

/// A tenant that can stand in JSON as it is.
fn tenant(text: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if text.is_empty() || !text.chars().all(plain) {
        return Err("a tenant is letters, digits, - _ .".to_owned());
    }
    Ok(text.to_owned())
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(rate) if (1.0..=1e6).contains(&rate) => Ok(rate),
        _ => Err("a rate is a number from 1 to 1000000".to_owned()),
    }
}
