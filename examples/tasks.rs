//! Async: one handle for all tasks of a tokio runtime. Needs ipc-ringbuf's feature `tokio`.
//!
//!     cargo run --example tasks [COUNT]
//!
//! The gateway's socket is `$IPC_GATEWAY_SOCKET`, else the default one. Exit code 0 if all were
//! answered OK, 1 otherwise.
#![expect(clippy::print_stdout, reason = "an example prints its result")]

use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

use ipc_ringbuf::{AsyncClient, CallError, ClientBuilder, Code, Outcome, Request};
use tokio::task::JoinSet;

/// Calls, and again while it is safe and makes sense: at most three times.
async fn decide(client: AsyncClient, number: u64) -> Result<Code, CallError> {
    let body = format!(
        r#"{{"tenant_id":"acme","request_id":"t-{number}","task":{{"type":"chat","payload":{{"text":"hello"}}}}}}"#
    );
    let mut tries = 0;
    loop {
        let request = Request::to("decide").payload(&body);
        let reply = client.call(request.timeout(Duration::from_secs(2))).await?;
        tries += 1;
        match reply.outcome() {
            Outcome::Rejected if tries < 3 => {
                let pause = reply.get().retry_after();
                tokio::time::sleep(pause.unwrap_or(Duration::from_millis(20))).await;
            }
            // Answered, also by a Router that says no; or unknown: it may have run.
            _ => return Ok(reply.code()),
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<ExitCode, Box<dyn Error>> {
    let count: u64 = std::env::args().nth(1).map_or(Ok(1_000), |n| n.parse())?;
    let client = ClientBuilder::new().entries(64).connect_async().await?;
    // More tasks than entries: `call` waits for a free one.
    let mut tasks: JoinSet<_> = (0..count)
        .map(|number| decide(client.clone(), number))
        .collect();
    let (mut ok, mut answered, mut rejected, mut unknown) = (0, 0, 0, 0);
    while let Some(finished) = tasks.join_next().await {
        match finished?? {
            Code::Ok => ok += 1,
            code => match code.outcome() {
                Outcome::Answered => answered += 1,
                Outcome::Rejected => rejected += 1,
                _ => unknown += 1,
            },
        }
    }
    println!("{ok} ok, {answered} answered otherwise, {rejected} rejected, {unknown} unknown");
    Ok(ExitCode::from(u8::from(ok != count)))
}
