//! Submits, takes completions and writes both down.

use core::time::Duration;
use std::io::{self, Read as _, Write as _};
use std::sync::mpsc::{Receiver, TryRecvError, channel};

use ipc_ringbuf::{
    AttachError, Client, ClientBuilder, Completion, Reattach, Request, SubmitError, monotonic_ns,
};
use ipc_tools::history::Recorder;
use thiserror::Error;

use crate::args::Args;

/// Longest wait before the next look at the clock and the input.
const LOOK: Duration = Duration::from_millis(5);
/// Least message size of a session: what the gateway gives at least.
const MESSAGE: u32 = 4032;

#[derive(Debug, Error)]
pub(crate) enum ExchangeError {
    #[error(transparent)]
    Attach(#[from] AttachError),
    #[error("cannot write the history: {0}")]
    History(#[from] io::Error),
}

/// Runs the client to its end.
pub(crate) fn run(args: &Args) -> Result<(), ExchangeError> {
    let reattach = args
        .reattach
        .map_or(Reattach::Try, |time| Reattach::Wait(time.into()));
    let mut client = ClientBuilder::new()
        .socket(&args.socket)
        .reattach(reattach)
        .entries(args.window)
        .message_size(args.payload.saturating_add(1024).max(MESSAGE))
        .connect()?;
    let recorder = Recorder::create(&args.history, &args.name, &args.tenant)?;
    let mut out = io::stdout().lock();
    writeln!(out, "attached")?;
    out.flush()?;
    let mut exchange = Exchange {
        args,
        recorder,
        start: monotonic_ns(),
        sent: 0,
        body: String::new(),
    };
    let input = until_input_ends();
    loop {
        let ends = input.try_recv() == Err(TryRecvError::Disconnected);
        let ends = ends || args.count.is_some_and(|count| exchange.sent >= count);
        if ends && client.outstanding() == 0 {
            break;
        }
        if !ends {
            exchange.submit(&mut client)?;
        }
        exchange.take(&mut client)?;
    }
    Ok(exchange.recorder.end()?)
}

/// What is disconnected when standard input ends.
fn until_input_ends() -> Receiver<()> {
    let (alive, input) = channel();
    std::thread::spawn(move || {
        io::stdin().read_to_end(&mut Vec::new()).ok();
        drop(alive);
    });
    input
}

struct Exchange<'a> {
    args: &'a Args,
    recorder: Recorder,
    start: u64,
    sent: u64,
    body: String,
}

impl Exchange<'_> {
    /// Submits what is due.
    fn submit(&mut self, client: &mut Client) -> io::Result<()> {
        let args = self.args;
        let due = match args.rate {
            None => u64::MAX,
            Some(rate) => due(monotonic_ns() - self.start, rate),
        };
        let most = due.min(args.count.unwrap_or(u64::MAX));
        while self.sent < most && client.outstanding() < args.window as usize {
            let n = self.sent;
            write_body(&mut self.body, args, n);
            let key = format!("{}-{n}", args.name);
            let timeout: Duration = args.timeout.into();
            let mut request = Request::to(args.route.as_str())
                .payload(&self.body)
                .timeout(timeout)
                .user_data(n);
            if args.idempotent {
                request = request.idempotency_key(&key);
            }
            self.recorder
                .submit(n, timeout, args.idempotent, self.body.as_bytes())?;
            let submitted = client.submit(request);
            self.sent += 1;
            match submitted {
                Ok(_) => {}
                Err(error) => {
                    let is_full = matches!(error, SubmitError::Full(_));
                    self.recorder.refused(n)?;
                    if !is_full {
                        // Not attached at the moment: the completions come first.
                        break;
                    }
                }
            }
        }
        client.flush();
        Ok(())
    }

    /// Takes what has come, or waits a little for it.
    fn take(&mut self, client: &mut Client) -> io::Result<()> {
        let mut next = client.wait(LOOK);
        while let Some(completion) = next {
            let names_it = names(&completion, &self.args.name);
            self.recorder.complete(&completion, names_it)?;
            next = client.poll();
        }
        Ok(())
    }
}

/// Requests due so long after the start.
fn due(elapsed_ns: u64, rate: u32) -> u64 {
    let due = u128::from(elapsed_ns) * u128::from(rate) / 1_000_000_000;
    u64::try_from(due).unwrap_or(u64::MAX)
}

/// Whether a reply names its request; only a success has to.
fn names(completion: &Completion<'_>, name: &str) -> bool {
    let id = format!(r#""request_id":"{name}-{}""#, completion.ticket().0);
    let (text, id) = (completion.payload(), id.as_bytes());
    !completion.code().is_success() || text.windows(id.len()).any(|window| window == id)
}

/// Writes decide request number `n`.
fn write_body(body: &mut String, args: &Args, n: u64) {
    body.clear();
    let (tenant, name) = (&args.tenant, &args.name);
    body.push_str(&format!(
        r#"{{"tenant_id":"{tenant}","request_id":"{name}-{n}","task":{{"type":"chat","payload":{{"text":""#
    ));
    let tail = r#""}}}"#;
    let text = (args.payload as usize).saturating_sub(body.len() + tail.len());
    body.extend(std::iter::repeat_n('x', text.max(1)));
    body.push_str(tail);
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[test]
    fn a_body_is_json_of_the_size_asked_for() {
        let args = Args::parse_from(["x", "--socket", "s", "--history", "h", "--payload", "300"]);
        let mut body = String::new();
        write_body(&mut body, &args, 7);
        assert_eq!(body.len(), 300);
        let value: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!(value["request_id"], "c0-7");
    }

    #[test]
    fn a_rate_is_a_number_of_requests_a_second() {
        assert_eq!(due(1_500_000_000, 10), 15);
        assert_eq!(due(0, 10), 0);
    }
}
