//! The program: reads the command line and hands over to the subcommand.

use std::process::ExitCode;

use clap::Parser;
use ipc_gateway::cli::args::{Cli, Command};
use ipc_gateway::cli::{
    bench, call, check_config, doctor, documents, health, print_config, serve, top,
};

// A message costs several small allocations in the client library; mimalloc makes them cheaper than
// the C library does. Checkers of memory need the C library's.
#[cfg(feature = "mimalloc")]
use mimalloc::MiMalloc as Allocator;
#[cfg(not(feature = "mimalloc"))]
use std::alloc::System as Allocator;

#[cfg(not(feature = "counted"))]
#[global_allocator]
static GLOBAL: Allocator = Allocator;
/// The same, counting: without a limit.
#[cfg(feature = "counted")]
#[global_allocator]
static GLOBAL: cap::Cap<Allocator> = cap::Cap::new(Allocator, usize::MAX);

fn main() -> ExitCode {
    #[cfg(feature = "counted")]
    ipc_gateway::metrics::memory::count_by(|| GLOBAL.allocated());
    match &Cli::parse().command {
        Command::Serve(args) => serve::run(args),
        Command::Call(args) => call::run(args),
        Command::Bench(args) => bench::run(args),
        Command::BenchClient => bench::run_client(),
        Command::CheckConfig(args) => check_config::run(args),
        Command::PrintConfig(args) => print_config::run(args),
        Command::Completions(args) => documents::completions(args),
        Command::Man(args) => documents::man(args),
        Command::Doctor(args) => doctor::run(args),
        Command::Health(args) => health::run(args),
        Command::Top(args) => top::run(args),
    }
}
