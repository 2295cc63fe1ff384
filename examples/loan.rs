//! Zero copy: the serialiser writes straight into shared memory.
//!
//!     cargo run --example loan
//!
//! The gateway's socket is `$IPC_GATEWAY_SOCKET`, else the default one. Exit code 0 if the Router
//! decided, 1 otherwise.
#![expect(clippy::print_stdout, reason = "an example prints its result")]

use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

use ipc_ringbuf::{CallError, ClientBuilder, Outcome, Request};
use serde::Serialize;

#[derive(Serialize)]
struct Decide<'a> {
    tenant_id: &'a str,
    request_id: &'a str,
    task: Task<'a>,
}

#[derive(Serialize)]
struct Task<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    payload: Payload<'a>,
}

#[derive(Serialize)]
struct Payload<'a> {
    text: &'a str,
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let mut client = ClientBuilder::new().message_size(16 * 1024).connect()?;
    let payload = Payload { text: "hello" };
    let decide = Decide {
        tenant_id: "acme",
        request_id: "loan-1",
        task: Task {
            kind: "chat",
            payload,
        },
    };

    // A block of the session; everything but the payload is said by the request.
    let request = Request::to("decide").timeout(Duration::from_secs(2));
    let mut loan = client.loan(request).map_err(CallError::from)?;
    // Dropping the loan instead of submitting it gives the block back: a failure here sends nothing.
    serde_json::to_writer(&mut loan, &decide)?;
    println!("{} bytes written in place", loan.len());
    let ticket = loan.submit();

    // The reply comes back in the same block.
    let Some(reply) = client.wait(Duration::from_secs(5)) else {
        return Err("no completion in 5 seconds".into());
    };
    assert_eq!(reply.ticket(), ticket);
    match reply.outcome() {
        Outcome::Answered => println!("answered {}", reply.code()),
        Outcome::Rejected => println!("rejected {}: send it again", reply.code()),
        _ => println!("unknown {}: it may have run", reply.code()),
    }
    Ok(ExitCode::from(u8::from(!reply.code().is_success())))
}
