//! Many requests in flight on one thread: submit until the ring is full, take completions as they
//! come, in any order.
//!
//!     cargo run --example pipelined [COUNT]
//!
//! The gateway's socket is `$IPC_GATEWAY_SOCKET`, else the default one. Exit code 0 if all were
//! answered OK, 1 otherwise.
#![expect(clippy::print_stdout, reason = "an example prints its result")]

use std::collections::BTreeMap;
use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

use ipc_ringbuf::{CallError, ClientBuilder, Code, Outcome, Request, SubmitError};

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let count: u64 = std::env::args().nth(1).map_or(Ok(10_000), |n| n.parse())?;
    // As many requests can be in flight as the session has entries.
    let mut client = ClientBuilder::new().entries(256).connect()?;
    let body = |mark: u64| {
        format!(
            r#"{{"tenant_id":"acme","request_id":"p-{mark}","task":{{"type":"chat","payload":{{"text":"hello"}}}}}}"#
        )
    };

    let mut codes = BTreeMap::<Code, u64>::new();
    let mut may_have_run = Vec::new();
    let (mut sent, mut refused) = (0, None);
    loop {
        while sent < count && refused.is_none() {
            let body = body(sent);
            // `user_data` is the mark that the completion carries.
            match client.submit(Request::to("decide").payload(&body).user_data(sent)) {
                Ok(_) => sent += 1,
                // Every block is in flight: completions make room.
                Err(SubmitError::Full(_)) => break,
                // Nothing more can be sent. What was is completed all the same.
                Err(error) => refused = Some(CallError::from(error)),
            }
        }
        if client.outstanding() == 0 {
            break;
        }
        // `wait` shows the gateway what was submitted, then waits; `poll` takes what is there.
        let Some(first) = client.wait(Duration::from_secs(10)) else {
            return Err("no completion in 10 seconds".into());
        };
        let mut next = Some(first);
        while let Some(completion) = next {
            *codes.entry(completion.code()).or_default() += 1;
            if completion.outcome() == Outcome::Unknown {
                may_have_run.push(completion.ticket().0);
            }
            next = client.poll();
        }
    }
    for (code, times) in &codes {
        println!("{times} {} {code}", code.outcome());
    }
    // REJECTED ones can be sent again; these only if running twice does no harm.
    println!("{} may have run without an answer", may_have_run.len());
    if let Some(error) = refused {
        return Err(error.into());
    }
    let all_ok = codes.get(&Code::Ok) == Some(&count);
    Ok(ExitCode::from(u8::from(!all_ok)))
}
