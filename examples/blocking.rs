//! One request at a time: `call` submits and waits.
//!
//!     cargo run --example blocking
//!
//! The gateway's socket is `$IPC_GATEWAY_SOCKET`, else the default one. Exit code 0 if the Router
//! decided, 1 otherwise.
#![expect(clippy::print_stdout, reason = "an example prints its result")]

use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

use ipc_ringbuf::decide::{DecideRequest, Task};
use ipc_ringbuf::{ClientBuilder, Outcome, Request};
use serde_json::json;

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let mut client = ClientBuilder::new().name("blocking").connect()?;

    // The builder refuses what the Router would refuse, before anything is sent.
    let task = Task::new("chat").payload(json!({"text": "hello"}));
    let decide = DecideRequest::new("acme", "request-1", task).build()?;
    let request = Request::decide(&decide).timeout(Duration::from_secs(2));

    let reply = client.call(request)?;
    let text = String::from_utf8_lossy(reply.payload());
    match reply.outcome() {
        Outcome::Answered if reply.code().is_success() => println!("decided: {text}"),
        // The Router said no, or nobody listens (NO_RESPONDERS). The request is settled.
        Outcome::Answered => println!("answered {}: {text}", reply.code()),
        // It never left the gateway: it can be sent again, best after `retry_after`.
        Outcome::Rejected => println!("rejected {}: {:?}", reply.code(), reply.retry_after()),
        // It may have run: send it again only if running twice does no harm.
        _ => println!("unknown {}: it may have run", reply.code()),
    }
    Ok(ExitCode::from(u8::from(!reply.code().is_success())))
}
