//! Fan-in: many threads call through one session. A `Client` for each thread is faster and takes a
//! session each; one `SharedClient` is right where threads are many and calls are few.
//!
//!     cargo run --example fan_in [THREADS [CALLS]]
//!
//! The gateway's socket is `$IPC_GATEWAY_SOCKET`, else the default one. Exit code 0 if all were
//! answered OK, 1 otherwise.
#![expect(clippy::print_stdout, reason = "an example prints its result")]

use std::error::Error;
use std::process::ExitCode;
use std::thread;

use ipc_ringbuf::{CallError, ClientBuilder, Outcome, Request, SharedClient};

#[derive(Default)]
struct Tally {
    ok: u64,
    answered: u64,
    rejected: u64,
    unknown: u64,
}

fn produce(client: &SharedClient, thread: u64, calls: u64) -> Result<Tally, CallError> {
    let mut tally = Tally::default();
    for call in 0..calls {
        let body = format!(
            r#"{{"tenant_id":"acme","request_id":"f-{thread}-{call}","task":{{"type":"chat","payload":{{"text":"hello"}}}}}}"#
        );
        // Blocks this thread only; a completion finds the thread that it belongs to.
        let reply = client.call(Request::to("decide").payload(&body))?;
        match reply.outcome() {
            Outcome::Answered if reply.code().is_success() => tally.ok += 1,
            Outcome::Answered => tally.answered += 1,
            Outcome::Rejected => tally.rejected += 1,
            _ => tally.unknown += 1,
        }
    }
    Ok(tally)
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let mut numbers = std::env::args().skip(1);
    let threads: u64 = numbers.next().map_or(Ok(32), |n| n.parse())?;
    let calls: u64 = numbers.next().map_or(Ok(50), |n| n.parse())?;
    let client = ClientBuilder::new().entries(64).connect_shared()?;

    let tallies = thread::scope(|scope| {
        let client = &client;
        let spawn = |thread| scope.spawn(move || produce(client, thread, calls));
        let running: Vec<_> = (0..threads).map(spawn).collect();
        let join = |thread: thread::ScopedJoinHandle<'_, _>| thread.join();
        running.into_iter().map(join).collect::<Vec<_>>()
    });
    let mut all = Tally::default();
    for tally in tallies {
        let tally = tally.map_err(|_| "a thread has panicked")??;
        all.ok += tally.ok;
        all.answered += tally.answered;
        all.rejected += tally.rejected;
        all.unknown += tally.unknown;
    }
    let Tally { ok, answered, .. } = all;
    let (rejected, unknown) = (all.rejected, all.unknown);
    println!("{ok} ok, {answered} answered otherwise, {rejected} rejected, {unknown} unknown");
    Ok(ExitCode::from(u8::from(ok != threads * calls)))
}
