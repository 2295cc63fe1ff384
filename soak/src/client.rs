//! A client process: keeps its window full with decide requests until its input ends, checks each
//! reply against its ledger and prints the account.

use std::fmt::Write as _;
use std::io::{self, Read as _};
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::time::Duration;

use ipc_ringbuf::{AttachError, Client, ClientBuilder, Request, SubmitError};

use crate::args::Args;
use crate::ledger::{Account, Ledger};
use crate::{complain, say};

/// What a client prints once it is attached.
pub(crate) const ATTACHED: &str = "attached";
/// Longest time without any completion. The gateway completes each request at its deadline, which
/// is sooner.
const PATIENCE: Duration = Duration::from_secs(30);

/// Runs the client process of this name.
pub(crate) fn run(args: &Args, name: &str) -> ExitCode {
    let mut client = match attach(args) {
        Ok(client) => client,
        Err(error) => {
            complain(&error.to_string());
            return ExitCode::FAILURE;
        }
    };
    say(ATTACHED);
    let (alive, input) = channel::<()>();
    std::thread::spawn(move || {
        io::stdin().read_to_end(&mut Vec::new()).ok();
        drop(alive);
    });
    let account = exchange(&mut client, args, name, &input);
    match serde_json::to_string(&account) {
        Ok(text) => {
            say(&text);
            ExitCode::SUCCESS
        }
        Err(error) => {
            complain(&error.to_string());
            ExitCode::FAILURE
        }
    }
}

fn attach(args: &Args) -> Result<Client, AttachError> {
    let builder = ClientBuilder::new().entries(args.window);
    let builder = builder.message_size(args.payload.max(4032));
    builder
        .socket(args.socket.clone().unwrap_or_default())
        .connect()
}

fn exchange(client: &mut Client, args: &Args, name: &str, input: &Receiver<()>) -> Account {
    let mut ledger = Ledger::default();
    let mut body = String::new();
    let mut going_on = true;
    loop {
        going_on &= input.try_recv() != Err(TryRecvError::Disconnected);
        while going_on && client.outstanding() < args.window as usize {
            write_body(&mut body, name, ledger.next(), args.payload as usize);
            let request = Request::to("decide").payload(&body);
            match client.submit(request.user_data(ledger.next())) {
                Ok(_) => ledger.open(),
                Err(SubmitError::Full(_)) => break,
                Err(error) => {
                    complain(&format!("client {name}: {error}"));
                    going_on = false;
                }
            }
        }
        if client.outstanding() == 0 {
            break;
        }
        let Some(first) = client.wait(PATIENCE) else {
            break;
        };
        let mut next = Some(first);
        while let Some(completion) = next {
            let number = completion.ticket().0;
            ledger.close(number, completion.code(), || {
                contains(completion.payload(), &identity(name, number))
            });
            next = client.poll();
        }
    }
    ledger.finish()
}

/// What a request and its reply have in common.
fn identity(name: &str, number: u64) -> String {
    format!(r#""request_id":"{name}-{number}""#)
}

/// Writes a decide request of `bytes` bytes.
fn write_body(body: &mut String, name: &str, number: u64, bytes: usize) {
    body.clear();
    let identity = identity(name, number);
    // Writing to a String cannot fail.
    write!(
        body,
        r#"{{"tenant_id":"soak",{identity},"task":{{"type":"soak","payload":{{"text":""#
    )
    .ok();
    let tail = r#""}}}"#;
    let text = bytes.saturating_sub(body.len() + tail.len());
    body.extend(std::iter::repeat_n('x', text));
    body.push_str(tail);
}

fn contains(text: &[u8], part: &str) -> bool {
    text.windows(part.len())
        .any(|window| window == part.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_names_its_request_and_has_the_size_asked_for() {
        let mut body = String::new();
        write_body(&mut body, "c1", 7, 256);
        assert_eq!(body.len(), 256);
        let value: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!(value["request_id"], "c1-7");
        assert!(contains(body.as_bytes(), &identity("c1", 7)));
        assert!(!contains(body.as_bytes(), &identity("c1", 77)));
    }
}
