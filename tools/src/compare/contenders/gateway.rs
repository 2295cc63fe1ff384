//! A client of ipc-gateway, through its library.

use ipc_ringbuf::error::EndReason;
use ipc_ringbuf::{
    Client, ClientBuilder, Code, Request, RouteId, SubmitError, WaitStrategy, monotonic_ns,
};

use super::{PATIENCE, rest};
use crate::job::{Job, Kind};
use crate::orders::{self, Report};
use crate::slots::Slots;
use ipc_tools::stage::{Failure, While as _};

/// Smallest message room that is asked for, in bytes: the library's default.
const ROOM: usize = 4032;

pub(super) fn run(job: &Job) -> Result<Report, Failure> {
    let mut client = attach(job)?;
    let route = client
        .route(&job.subject)
        .ok_or_else(|| Failure::Failed(format!("the gateway has no route {:?}", job.subject)))?;
    orders::say_ready()?;
    let interval = orders::wait_for_go()?;
    let mut slots = Slots::new(job.window, job.payload, interval)?;
    loop {
        let now = monotonic_ns();
        if slots.goes_on(now) {
            rest(job.kind);
            let now = monotonic_ns();
            fill(&mut client, route, &mut slots, now)?;
        } else if slots.outstanding() == 0 {
            return slots.report();
        }
        take(&mut client, &mut slots)?;
    }
}

fn attach(job: &Job) -> Result<Client, Failure> {
    let entries = u32::try_from(job.window).or_say("the window is too wide")?;
    let room = u32::try_from(job.payload.max(ROOM)).or_say("the payload is too large")?;
    let wait = match job.kind {
        Kind::Spinning => WaitStrategy::Spin,
        Kind::Steady | Kind::Asleep => WaitStrategy::default(),
    };
    ClientBuilder::new()
        .wait_strategy(wait)
        .socket(&job.address)
        .entries(entries.max(2))
        .message_size(room)
        .attach_timeout(PATIENCE)
        .name(format!("compare-{}", job.number))
        .connect()
        .or_say("cannot attach")
}

/// Submits until the window is full.
fn fill(client: &mut Client, route: RouteId, slots: &mut Slots, now: u64) -> Result<(), Failure> {
    while let Some(slot) = slots.begin(now) {
        let mark = u64::try_from(slot).or_say("a slot's number")?;
        let request = Request::to(route).payload(slots.body(slot)).user_data(mark);
        match client.submit(request) {
            Ok(_) => {}
            Err(SubmitError::Full(_)) => {
                slots.take_back(slot);
                return Ok(());
            }
            Err(error) => return Err(Failure::Failed(format!("cannot submit: {error}"))),
        }
    }
    Ok(())
}

/// Waits for a completion, then takes all there are.
fn take(client: &mut Client, slots: &mut Slots) -> Result<(), Failure> {
    let Some(first) = client.wait(PATIENCE) else {
        return Err(Failure::Failed(match client.end_reason() {
            Some(EndReason::PeerDied) => "the gateway is gone".to_owned(),
            Some(reason) => format!("the gateway ended the session: {reason}"),
            None => format!("nothing was completed within {PATIENCE:?}"),
        }));
    };
    let now = monotonic_ns();
    let mut next = Some(first);
    while let Some(completion) = next {
        if completion.code() != Code::Ok {
            return Err(Failure::Failed(format!(
                "a request was completed as {}",
                completion.code()
            )));
        }
        let slot = usize::try_from(completion.ticket().0).or_say("a slot's number")?;
        slots.finish(slot, completion.payload(), now)?;
        next = client.poll();
    }
    Ok(())
}
