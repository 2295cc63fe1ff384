//! One process that keeps all requests in flight itself, on async-nats with its own inbox: what
//! coalescing can gain when there is no process in between.

use ipc_ringbuf::monotonic_ns;

use super::{go, in_time};
use crate::inbox::{self, Answers, Asker};
use crate::job::Job;
use crate::orders::{self, Interval, Report};
use crate::slots::Slots;
use ipc_tools::stage::Failure;

pub(super) async fn run(job: &Job) -> Result<Report, Failure> {
    let (asker, mut answers) = inbox::open(&job.address, &job.subject).await?;
    orders::say_ready()?;
    let interval = go().await?;
    in_time(interval, pump(&asker, &mut answers, job, interval)).await
}

async fn pump(
    asker: &Asker,
    answers: &mut Answers,
    job: &Job,
    interval: Interval,
) -> Result<Report, Failure> {
    let mut slots = Slots::new(job.window, job.payload, interval)?;
    loop {
        let now = monotonic_ns();
        if slots.goes_on(now) {
            while let Some(slot) = slots.begin(now) {
                asker.ask(slot, slots.body(slot).clone()).await?;
            }
        } else if slots.outstanding() == 0 {
            return slots.report();
        }
        let batch = answers.next().await?;
        let now = monotonic_ns();
        for message in batch {
            slots.finish(answers.slot_of(&message)?, &message.payload, now)?;
        }
    }
}
