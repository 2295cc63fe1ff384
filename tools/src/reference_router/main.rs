//! `reference-router`: a NATS queue subscriber that answers decide requests as the Router's
//! contract says, and misbehaves on demand.
//!
//! ```text
//! NATS <-> serve <-> router -> request, validate, idempotency, misbehave, respond, log
//!      <-- poison (what a client library refuses to send, over plain TCP)
//! ```
//!
//! Tests, benches and the soak run it as the other side of the gateway. Each file is one noun; only
//! `serve` and `poison` speak to the network.

mod args;
mod backpressure;
mod idempotency;
mod log;
mod misbehave;
mod poison;
mod refusal;
mod request;
mod respond;
mod router;
mod serve;
mod validate;

use std::process::ExitCode;

use clap::Parser as _;

/// A message costs several small allocations in the client library; this allocator makes them
/// cheaper than the C library's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match serve::run(args::Args::parse()) {
        Ok(summary) => {
            serve::report(&summary.to_string());
            ExitCode::SUCCESS
        }
        Err(error) => {
            serve::report(&error.to_string());
            ExitCode::FAILURE
        }
    }
}
