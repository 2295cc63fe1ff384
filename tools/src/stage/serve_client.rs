//! What a client process does: it follows orders from its input, one at a time.

use core::time::Duration;
use std::io::{self, BufRead as _, Write as _};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

use clap::{Args, Subcommand};
use ipc_ringbuf::{Client, ClientBuilder, Completion, Request};
use serde::Serialize;

use super::failure::{Failure, While as _};
use super::flow;
use super::orders::{Ask, Got, Order};

/// Bytes of headers and payload: more than any check sends, and 1,024 entries of them fit a quota.
const MESSAGE_BYTES: u32 = 32 * 1024;

/// What a program that starts a [`Client`](super::Client) understands besides: the subcommand
/// `client`, which its help does not show.
#[derive(Clone, Debug, Subcommand)]
#[non_exhaustive]
pub enum Hidden {
    /// A client process
    #[command(hide = true)]
    Client(ClientArgs),
}

impl Hidden {
    /// Does what this process was started for: attaches, says `attached`, and follows orders until
    /// its input ends.
    ///
    /// # Errors
    /// It cannot attach, or an order is not one.
    pub fn run(&self) -> Result<(), Failure> {
        match self {
            Self::Client(args) => serve_client(args),
        }
    }
}

/// Who a client process is.
#[derive(Clone, Debug, Args)]
#[non_exhaustive]
pub struct ClientArgs {
    /// The gateway's socket
    #[arg(long)]
    pub socket: PathBuf,
    /// What it calls itself
    #[arg(long)]
    pub name: String,
    /// Entries of its rings
    #[arg(long)]
    pub entries: u32,
}

fn serve_client(args: &ClientArgs) -> Result<(), Failure> {
    let builder = ClientBuilder::new().socket(&args.socket).name(&args.name);
    let mut client = builder
        .entries(args.entries)
        .message_size(MESSAGE_BYTES)
        .connect()
        .or_say("cannot attach to the gateway")?;
    say(&"attached")?;
    let orders = orders();
    while let Ok(order) = orders.recv() {
        match order? {
            Order::Call(ask) => say(&call(&mut client, &ask))?,
            Order::Flow(order) => say(&flow::run(&mut client, order, &orders))?,
            Order::Stop => return Err(Failure::new("there is nothing to stop")),
        }
    }
    Ok(())
}

/// The orders, as they come.
fn orders() -> Receiver<Result<Order, Failure>> {
    let (tell, orders) = channel();
    std::thread::spawn(move || {
        for line in io::stdin().lock().lines().map_while(Result::ok) {
            let order = serde_json::from_str(&line).or_say(format_args!("order {line:?}"));
            if tell.send(order).is_err() {
                return;
            }
        }
    });
    orders
}

fn say(what: &impl Serialize) -> Result<(), Failure> {
    let line = serde_json::to_string(what).or_say("an answer")?;
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")
        .and_then(|()| out.flush())
        .or_say("nobody listens")
}

fn call(client: &mut Client, ask: &Ask) -> Got {
    let mut request = Request::to(ask.route.as_str()).payload(&ask.payload);
    for (name, value) in &ask.headers {
        request = request.header(name, value);
    }
    if let Some(timeout) = ask.timeout_ms {
        request = request.timeout(Duration::from_millis(timeout));
    }
    let began = Instant::now();
    match client.call(request) {
        Ok(completion) => got(&completion, micros(began.elapsed())),
        Err(error) => Got {
            code: "NOT_SENT".to_owned(),
            outcome: String::new(),
            status: 0,
            retry_after_ms: 0,
            headers: Vec::new(),
            payload: Vec::new(),
            elapsed_us: micros(began.elapsed()),
            error: Some(error.to_string()),
        },
    }
}

fn got(completion: &Completion<'_>, elapsed_us: u64) -> Got {
    let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    let retry_after = completion.retry_after().unwrap_or_default();
    Got {
        code: completion.code().name().to_owned(),
        outcome: completion.outcome().name().to_owned(),
        status: completion.status(),
        retry_after_ms: u64::try_from(retry_after.as_millis()).unwrap_or(u64::MAX),
        headers: completion.headers().map(owned).collect(),
        payload: completion.payload().to_vec(),
        elapsed_us,
        error: None,
    }
}

pub(super) fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
