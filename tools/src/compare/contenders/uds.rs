//! A client of the Unix-socket baseline: one write for all requests of a batch.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;

use ipc_ringbuf::monotonic_ns;

use super::{PATIENCE, rest};
use crate::frames;
use crate::job::Job;
use crate::orders::{self, Report};
use crate::slots::Slots;
use ipc_tools::stage::{Failure, While as _};

/// Bytes that one read takes, at most, beside room for one whole frame.
const CHUNK: usize = 256 * 1024;

pub(super) fn run(job: &Job) -> Result<Report, Failure> {
    let mut stream = UnixStream::connect(&job.address)
        .or_say(format_args!("cannot connect to {}", job.address))?;
    stream
        .set_read_timeout(Some(PATIENCE))
        .or_say("cannot set up the connection")?;
    orders::say_ready()?;
    let interval = orders::wait_for_go()?;
    let mut slots = Slots::new(job.window, job.payload, interval)?;
    let mut out = Vec::new();
    let mut buffer = vec![0; CHUNK + frames::HEAD + job.payload];
    let mut unread = 0;
    loop {
        let now = monotonic_ns();
        if slots.goes_on(now) {
            rest(job.kind);
            let now = monotonic_ns();
            while let Some(slot) = slots.begin(now) {
                let number = u64::try_from(slot).or_say("a slot's number")?;
                frames::push(&mut out, number, slots.body(slot));
            }
        } else if slots.outstanding() == 0 {
            return slots.report();
        }
        if !out.is_empty() {
            stream.write_all(&out).or_say("cannot write requests")?;
            out.clear();
        }
        let room = buffer.get_mut(unread..).unwrap_or_default();
        let read = stream.read(room).or_say("cannot read answers")?;
        if read == 0 {
            return Err(Failure::new("the gateway is gone"));
        }
        let filled = buffer.get(..unread + read).unwrap_or_default();
        let taken = take(filled, &mut slots)?;
        buffer.copy_within(taken..unread + read, 0);
        unread = unread + read - taken;
    }
}

/// Takes all answers that have come in full; returns how many bytes they have.
fn take(bytes: &[u8], slots: &mut Slots) -> Result<usize, Failure> {
    let now = monotonic_ns();
    let mut taken = 0;
    while let Some(frame) = frames::first(bytes.get(taken..).unwrap_or_default())? {
        let slot = usize::try_from(frame.number).or_say("a slot's number")?;
        slots.finish(slot, frame.body, now)?;
        taken += frame.length;
    }
    Ok(taken)
}
