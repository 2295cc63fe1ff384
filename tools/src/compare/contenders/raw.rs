//! A hand-written NATS client: parses all that a read brought, fills the window, writes once.

use std::io::Write as _;
use std::net::TcpStream;

use ipc_ringbuf::monotonic_ns;

use super::PATIENCE;
use crate::job::Job;
use crate::orders::{self, Report};
use crate::slots::Slots;
use crate::wire::{Event, Reader, decimal, greeting, until_greeted};
use ipc_tools::stage::{Failure, While as _};

pub(super) fn run(job: &Job) -> Result<Report, Failure> {
    let server = &job.address;
    let mut stream =
        TcpStream::connect(server).or_say(format_args!("cannot connect to {server}"))?;
    stream
        .set_nodelay(true)
        .and_then(|()| stream.set_read_timeout(Some(PATIENCE)))
        .or_say("cannot set up the connection")?;
    let inbox = format!("_INBOX.compare-{}.", std::process::id());
    stream
        .write_all(greeting("compare-raw", &format!("{inbox}*")).as_bytes())
        .or_say("cannot greet the server")?;
    let mut reader = Reader::default();
    until_greeted(&mut reader, &mut stream, server)?;
    // What stands before the body of each slot's request.
    let heads: Vec<Vec<u8>> = (0..job.window)
        .map(|slot| format!("PUB {} {inbox}{slot} {}\r\n", job.subject, job.payload).into_bytes())
        .collect();
    orders::say_ready()?;
    let interval = orders::wait_for_go()?;
    let mut slots = Slots::new(job.window, job.payload, interval)?;
    let mut out = Vec::new();
    loop {
        let now = monotonic_ns();
        if slots.goes_on(now) {
            while let Some(slot) = slots.begin(now) {
                out.extend_from_slice(heads.get(slot).map_or(&[], Vec::as_slice));
                out.extend_from_slice(slots.body(slot));
                out.extend_from_slice(b"\r\n");
            }
        } else if slots.outstanding() == 0 {
            return slots.report();
        }
        if !out.is_empty() {
            stream
                .write_all(&out)
                .or_say("cannot write to the server")?;
            out.clear();
        }
        reader
            .fill(&mut stream)
            .or_say("cannot read answers from the server")?;
        take(&mut reader, &mut slots, inbox.len(), &mut out)?;
    }
}

/// Takes all answers that have come, to subjects with a prefix of this length.
fn take(
    reader: &mut Reader,
    slots: &mut Slots,
    prefix: usize,
    out: &mut Vec<u8>,
) -> Result<(), Failure> {
    let now = monotonic_ns();
    while let Some(event) = reader.next()? {
        match event {
            Event::Message(message) => {
                let headers = message.headers;
                if headers.starts_with(b"NATS/1.0 503") {
                    return Err(Failure::new("nobody answers requests"));
                }
                let digits = message.subject.get(prefix..);
                let slot = digits.and_then(decimal);
                let slot =
                    slot.ok_or_else(|| Failure::new("an answer came to a strange subject"))?;
                slots.finish(slot, message.payload, now)?;
            }
            Event::Ping => out.extend_from_slice(b"PONG\r\n"),
            Event::Error(text) => {
                return Err(Failure::Failed(format!("the server complains: {text}")));
            }
            _ => {}
        }
    }
    Ok(())
}
