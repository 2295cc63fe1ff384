//! Request-response of iceoryx2: a client, and the process that echoes. Both poll, each on a core of
//! its own; or, where they are to be asleep, wait for events, which each side sends after its
//! message.

use core::time::Duration;
use std::collections::VecDeque;
use std::io::{self, Read as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use iceoryx2::pending_response::PendingResponse;
use iceoryx2::port::listener::Listener;
use iceoryx2::port::notifier::Notifier;
use iceoryx2::prelude::*;
use iceoryx2::service::port_factory::event;
use iceoryx2::service::port_factory::request_response::PortFactory;
use ipc_ringbuf::monotonic_ns;

use super::{PATIENCE, rest};
use crate::job::{Job, Kind};
use crate::orders::{self, Report};
use crate::probe;
use crate::slots::Slots;
use ipc_tools::stage::{Failure, While as _};

/// Longest sleep of the server before it looks whether it is still wanted.
const SLICE: Duration = Duration::from_millis(100);
/// Looks in vain before a poller yields its core, which somebody else may need: tens of
/// microseconds, far more than a round trip.
const LOOKS: u32 = 2000;

type Service = PortFactory<ipc::Service, [u8], (), [u8], ()>;
type Pending = PendingResponse<ipc::Service, [u8], (), [u8], ()>;

/// What a cell needs room for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Room {
    pub(crate) clients: usize,
    pub(crate) window: usize,
    pub(crate) payload: usize,
}

fn node() -> Result<Node<ipc::Service>, Failure> {
    // It warns of having no configuration file.
    set_log_level(LogLevel::Error);
    NodeBuilder::new()
        .signal_handling_mode(SignalHandlingMode::Disabled)
        .create()
        .or_say("cannot make a node of iceoryx2")
}

fn service(node: &Node<ipc::Service>, name: &str, room: Room) -> Result<Service, Failure> {
    let name: ServiceName = name.try_into().or_say("the name of the service")?;
    node.service_builder(&name)
        .request_response::<[u8], [u8]>()
        .max_active_requests_per_client(room.window)
        .max_clients(room.clients)
        .max_nodes(room.clients + 1)
        .open_or_create()
        .or_say("cannot open the service")
}

/// The events of one direction.
fn events(
    node: &Node<ipc::Service>,
    name: &str,
    direction: &str,
) -> Result<event::PortFactory<ipc::Service>, Failure> {
    let name = format!("{name}/{direction}");
    let name: ServiceName = name.as_str().try_into().or_say("the name of the event")?;
    let service = node.service_builder(&name).event().open_or_create();
    service.or_say("cannot open the event")
}

/// Wakes the other side, and sleeps until it does the same.
#[derive(Debug)]
struct Bell {
    ring: Notifier<ipc::Service>,
    heard: Listener<ipc::Service>,
}

impl Bell {
    fn new(node: &Node<ipc::Service>, name: &str, to: &str, from: &str) -> Result<Self, Failure> {
        let ring = events(node, name, to)?.notifier_builder().create();
        let heard = events(node, name, from)?.listener_builder().create();
        Ok(Self {
            ring: ring.or_say("cannot make a notifier")?,
            heard: heard.or_say("cannot make a listener")?,
        })
    }

    fn ring(&self) -> Result<(), Failure> {
        self.ring.notify().map(drop).or_say("cannot notify")
    }

    fn sleep(&self, at_most: Duration) -> Result<(), Failure> {
        let slept = self.heard.timed_wait(|_| {}, at_most);
        slept.map(drop).or_say("cannot wait for events")
    }
}

/// A client process.
pub(super) fn run(job: &Job) -> Result<Report, Failure> {
    if job.kind == Kind::Steady {
        probe::pin(probe::Side::Client)?;
    }
    let node = node()?;
    let room = Room {
        clients: job.number + 1,
        window: job.window,
        payload: job.payload,
    };
    let service = service(&node, &job.address, room)?;
    let client = service
        .client_builder()
        .initial_max_slice_len(job.payload)
        .create()
        .or_say("cannot make a client")?;
    let bell = match job.kind {
        Kind::Asleep => Some(Bell::new(&node, &job.address, "requests", "answers")?),
        Kind::Steady | Kind::Spinning => None,
    };
    orders::say_ready()?;
    let interval = orders::wait_for_go()?;
    let mut slots = Slots::new(job.window, job.payload, interval)?;
    // Answers come in the order of requests.
    let mut pending: VecDeque<(usize, Pending)> = VecDeque::new();
    loop {
        let now = monotonic_ns();
        if slots.goes_on(now) {
            rest(job.kind);
            let now = monotonic_ns();
            while let Some(slot) = slots.begin(now) {
                let body = slots.body(slot);
                let request = client.loan_slice_uninit(body.len()).or_say("cannot loan")?;
                let sent = request.write_from_slice(body).send();
                pending.push_back((slot, sent.or_say("cannot send")?));
            }
            bell.as_ref().map_or(Ok(()), Bell::ring)?;
        } else if slots.outstanding() == 0 {
            return slots.report();
        }
        wait(&pending, bell.as_ref())?;
        take(&mut pending, &mut slots)?;
    }
}

/// Waits until the oldest request is answered.
fn wait(pending: &VecDeque<(usize, Pending)>, bell: Option<&Bell>) -> Result<(), Failure> {
    let Some((_, oldest)) = pending.front() else {
        return Ok(());
    };
    let give_up = monotonic_ns().saturating_add(u64::try_from(PATIENCE.as_nanos()).unwrap_or(0));
    let mut looks = 0;
    while !oldest.has_response() {
        let goes_on = match bell {
            Some(bell) => {
                bell.sleep(PATIENCE)?;
                monotonic_ns() < give_up
            }
            None => look_again(&mut looks) || monotonic_ns() < give_up,
        };
        if !goes_on {
            return Err(Failure::Failed(format!(
                "there was no answer within {PATIENCE:?}"
            )));
        }
    }
    Ok(())
}

/// Spins, or yields after many looks in vain; whether it has spun.
fn look_again(looks: &mut u32) -> bool {
    *looks += 1;
    if *looks < LOOKS {
        core::hint::spin_loop();
        true
    } else {
        *looks = 0;
        thread::yield_now();
        false
    }
}

/// Takes all answers that have come.
fn take(pending: &mut VecDeque<(usize, Pending)>, slots: &mut Slots) -> Result<(), Failure> {
    let now = monotonic_ns();
    while let Some((slot, oldest)) = pending.front() {
        let Some(answer) = oldest.receive().or_say("cannot receive")? else {
            return Ok(());
        };
        slots.finish(*slot, answer.payload(), now)?;
        drop(answer);
        pending.pop_front();
    }
    Ok(())
}

/// The process that echoes, until standard input ends.
///
/// # Errors
/// iceoryx2's.
pub(crate) fn serve(name: &str, kind: Kind, room: Room) -> Result<(), Failure> {
    if kind != Kind::Asleep {
        probe::pin(probe::Side::Server)?;
    }
    let node = node()?;
    let service = service(&node, name, room)?;
    let server = service
        .server_builder()
        .initial_max_slice_len(room.payload)
        .create()
        .or_say("cannot make a server")?;
    let bell = match kind {
        Kind::Asleep => Some(Bell::new(&node, name, "answers", "requests")?),
        Kind::Steady | Kind::Spinning => None,
    };
    orders::say_ready()?;
    static ENDS: AtomicBool = AtomicBool::new(false);
    thread::spawn(|| {
        io::copy(&mut io::stdin().lock().by_ref(), &mut io::sink()).ok();
        ENDS.store(true, Ordering::Relaxed);
    });
    let mut looks = 0;
    while !ENDS.load(Ordering::Relaxed) {
        let mut answered = false;
        while let Some(request) = server.receive().or_say("cannot receive")? {
            let body = request.payload();
            let answer = request
                .loan_slice_uninit(body.len())
                .or_say("cannot loan")?;
            answer.write_from_slice(body).send().or_say("cannot send")?;
            answered = true;
        }
        match &bell {
            Some(bell) if answered => bell.ring()?,
            Some(bell) => bell.sleep(SLICE)?,
            None if answered => looks = 0,
            None => {
                look_again(&mut looks);
            }
        }
    }
    Ok(())
}
