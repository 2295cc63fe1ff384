//! The program: reads the command line and hands over to the subcommand.

use std::process::ExitCode;

use clap::Parser;
use ipc_gateway::cli::args::{Cli, Command};
use ipc_gateway::cli::{
    bench, call, check_config, doctor, documents, health, print_config, serve, top,
};

/// A message costs several small allocations in the client library; this allocator makes them
/// cheaper than the C library's. Checkers of memory need the C library's.
#[cfg(feature = "mimalloc")]
type Allocator = mimalloc::MiMalloc;
#[cfg(feature = "mimalloc")]
const ALLOCATOR: Allocator = mimalloc::MiMalloc;
#[cfg(all(feature = "counted", not(feature = "mimalloc")))]
type Allocator = std::alloc::System;
#[cfg(all(feature = "counted", not(feature = "mimalloc")))]
const ALLOCATOR: Allocator = std::alloc::System;

#[cfg(all(feature = "mimalloc", not(feature = "counted")))]
#[global_allocator]
static GLOBAL: Allocator = ALLOCATOR;
/// The same, counting: without a limit.
#[cfg(feature = "counted")]
#[global_allocator]
static GLOBAL: cap::Cap<Allocator> = cap::Cap::new(ALLOCATOR, usize::MAX);

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
