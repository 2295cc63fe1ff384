//! `ipc-gateway call`: one JSON object a line for each completion.

use std::io::Read;
use std::process::ExitCode;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ipc_ringbuf::{Client, ClientBuilder, Completion, Request, SubmitError};
use serde_json::{Value, json};

use super::args::{CallArgs, Payload};
use super::exit::Exit;
use super::output::{complain, print_line};
use crate::config::socket_path;

/// Longest wait before looking again; the gateway completes every request at its deadline.
const WAIT: Duration = Duration::from_secs(1);

/// Sends the requests and prints their completions.
#[must_use]
pub fn run(args: &CallArgs) -> ExitCode {
    let socket = match socket_path(args.socket.as_deref()) {
        Ok(socket) => socket,
        Err(error) => {
            complain(&error);
            return Exit::from(&error).into();
        }
    };
    let payload = match read(args.payload.as_ref()) {
        Ok(payload) => payload,
        Err(error) => {
            complain(format_args!("cannot read the payload: {error}"));
            return Exit::Usage.into();
        }
    };
    let builder = ClientBuilder::new().socket(socket).entries(args.window);
    match builder.message_size(args.message_size).connect() {
        Ok(mut client) => exchange(&mut client, args, &payload)
            .unwrap_or_else(|exit| exit)
            .into(),
        Err(error) => {
            complain(&error);
            Exit::from(&error).into()
        }
    }
}

fn read(payload: Option<&Payload>) -> std::io::Result<Vec<u8>> {
    match payload {
        None => Ok(Vec::new()),
        Some(Payload::Text(text)) => Ok(text.clone().into_bytes()),
        Some(Payload::File(path)) => std::fs::read(path),
        Some(Payload::Stdin) => {
            let mut bytes = Vec::new();
            std::io::stdin().lock().read_to_end(&mut bytes)?;
            Ok(bytes)
        }
    }
}

fn exchange(client: &mut Client, args: &CallArgs, payload: &[u8]) -> Result<Exit, Exit> {
    let (mut sent, mut exit, mut refused) = (0, Exit::Ok, None);
    loop {
        while refused.is_none() && sent < args.count && client.outstanding() < args.window as usize
        {
            match client.submit(request(args, payload)) {
                Ok(_) => sent += 1,
                Err(SubmitError::Full(_)) => break,
                // What was submitted before it is completed all the same, and may have run.
                Err(error) => refused = Some(error),
            }
        }
        if client.outstanding() == 0 {
            break;
        }
        if let Some(completion) = client.wait(WAIT) {
            if !completion.code().is_success() {
                exit = Exit::Failure;
            }
            print_line(describe(&completion))?;
        }
    }
    let Some(error) = refused else {
        return Ok(exit);
    };
    match client.last_attach_error() {
        Some(why) if !client.is_attached() => complain(format_args!("{error}: {why}")),
        _ => complain(&error),
    }
    Err(match error {
        SubmitError::Detached(_) => Exit::Unavailable,
        _ => Exit::Failure,
    })
}

fn request<'a>(args: &'a CallArgs, payload: &'a [u8]) -> Request<'a> {
    let mut request = Request::to(&args.route).payload(payload);
    for (name, value) in &args.headers {
        request = request.header(name, value);
    }
    match args.timeout {
        Some(timeout) => request.timeout(timeout),
        None => request,
    }
}

/// A completion as JSON.
fn describe(completion: &Completion<'_>) -> Value {
    let headers: serde_json::Map<_, _> = completion
        .headers()
        .map(|(name, value)| (name.to_owned(), value.into()))
        .collect();
    let timing = completion.timing();
    let mut object = json!({
        "outcome": completion.outcome().name(),
        "code": completion.code().name(),
        "status": completion.status(),
        "headers": headers,
        "timing_us": {
            "ring_wait": micros(timing.ring_wait),
            "upstream": micros(timing.upstream),
        },
    });
    let (key, text) = match core::str::from_utf8(completion.payload()) {
        Ok(text) => ("payload", text.to_owned()),
        Err(_) => ("payload_base64", STANDARD.encode(completion.payload())),
    };
    if let Some(object) = object.as_object_mut() {
        object.insert(key.to_owned(), text.into());
    }
    object
}

/// Microseconds with three decimals: nanoseconds, exactly.
#[expect(clippy::cast_precision_loss, reason = "exact up to a hundred days")]
fn micros(time: Duration) -> f64 {
    time.as_nanos() as f64 / 1e3
}
