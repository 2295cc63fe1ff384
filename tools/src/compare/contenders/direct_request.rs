//! What most users do today: a connection of its own in each process, `request()` one at a time in
//! as many tasks as the window is wide.

use std::cell::RefCell;
use std::rc::Rc;

use ipc_ringbuf::monotonic_ns;

use super::{go, in_time};
use crate::inbox;
use crate::job::Job;
use crate::orders::{self, Report};
use crate::slots::Slots;
use ipc_tools::stage::{Failure, While as _};

pub(super) async fn run(job: &Job) -> Result<Report, Failure> {
    let client = inbox::connect(&job.address).await?;
    orders::say_ready()?;
    let interval = go().await?;
    let slots = Rc::new(RefCell::new(Slots::new(job.window, job.payload, interval)?));
    let tasks: Vec<_> = (0..job.window)
        .map(|_| {
            tokio::task::spawn_local(ask(client.clone(), job.subject.clone(), Rc::clone(&slots)))
        })
        .collect();
    in_time(interval, async {
        for task in tasks {
            task.await.or_say("a task has ended")??;
        }
        Ok(())
    })
    .await?;
    let mut slots = slots.borrow_mut();
    slots.report()
}

/// One request after the other.
async fn ask(
    client: async_nats::Client,
    subject: String,
    slots: Rc<RefCell<Slots>>,
) -> Result<(), Failure> {
    let subject = async_nats::Subject::from(subject);
    loop {
        let now = monotonic_ns();
        let (slot, body) = {
            let mut slots = slots.borrow_mut();
            if !slots.goes_on(now) {
                return Ok(());
            }
            let Some(slot) = slots.begin(now) else {
                return Ok(());
            };
            (slot, slots.body(slot).clone())
        };
        #[expect(
            clippy::disallowed_methods,
            reason = "this is what the gateway is compared with; every request is answered here"
        )]
        let answer = client.request(subject.clone(), body).await;
        let answer = answer.or_say("a request failed")?;
        let mut slots = slots.borrow_mut();
        slots.finish(slot, &answer.payload, monotonic_ns())?;
    }
}
