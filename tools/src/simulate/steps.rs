//! What can happen in a step.

use core::time::Duration;

use fastrand::Rng;
use ipc_gateway::bridge::{Admission, Token};
use ipc_gateway::worker::mailbox::Mail;
use ipc_ringbuf::doorbell;
use ipc_ringbuf::error::EndReason;

use super::fate::Mood;
use super::guest::{Guest, Nature};
use super::hostile;
use super::plan::MAX_PAYLOAD;
use super::room::{Phase, Room};
use super::violation::Checked;
use super::world::World;

/// One kind of step.
#[derive(Clone, Copy, Debug)]
enum Step {
    Work,
    WorkAll,
    Sleep,
    Broker,
    Submit,
    Nonsense,
    DropLoan,
    Take,
    ClientSleeps,
    StopClient,
    KillClient,
    ReplaceClient,
    Invite,
    Evict,
    Bury,
    Scribble,
    Tick,
    Wait,
    Jump,
    Mood,
    Cut,
    Connect,
    Stall,
    Shrink,
    Inject,
    Admit,
    MailBurst,
    Unread,
    Reload,
    Drain,
    StopWorker,
}

/// How often each comes, relative to the others.
const WEIGHTS: &[(Step, u32)] = &[
    (Step::Work, 300),
    (Step::WorkAll, 100),
    (Step::Sleep, 60),
    (Step::Broker, 220),
    (Step::Submit, 280),
    (Step::Nonsense, 4),
    (Step::DropLoan, 10),
    (Step::Take, 240),
    (Step::ClientSleeps, 20),
    (Step::StopClient, 12),
    (Step::KillClient, 6),
    (Step::ReplaceClient, 8),
    (Step::Invite, 40),
    (Step::Evict, 4),
    (Step::Bury, 30),
    (Step::Scribble, 50),
    (Step::Tick, 100),
    (Step::Wait, 16),
    (Step::Jump, 4),
    (Step::Mood, 10),
    (Step::Cut, 12),
    (Step::Connect, 10),
    (Step::Stall, 14),
    (Step::Shrink, 8),
    (Step::Inject, 20),
    (Step::Admit, 16),
    (Step::MailBurst, 4),
    (Step::Unread, 5),
    (Step::Reload, 6),
    (Step::Drain, 1),
    (Step::StopWorker, 3),
];

fn choose(rng: &mut Rng) -> Step {
    let total: u32 = WEIGHTS.iter().map(|(_, weight)| weight).sum();
    let mut at = rng.u32(..total);
    for (step, weight) in WEIGHTS {
        match at.checked_sub(*weight) {
            Some(left) => at = left,
            None => return *step,
        }
    }
    Step::Work
}

impl World {
    /// One random step.
    pub(crate) fn step(&mut self) -> Checked {
        let step = choose(&mut self.scene.rng);
        self.scene.trace.note(format_args!("{step:?}"));
        match step {
            Step::Work => {
                let at = self.scene.rng.usize(..self.rooms.len());
                if let Some(room) = self.rooms.get_mut(at) {
                    room.run(&mut self.scene)?;
                }
            }
            Step::WorkAll => self.run_workers()?,
            Step::Sleep => {
                let at = self.scene.rng.usize(..self.rooms.len());
                if let Some(room) = self.rooms.get_mut(at) {
                    room.go_to_sleep(&mut self.scene)?;
                }
            }
            Step::Broker => self.broker.turn(&mut self.scene)?,
            Step::Submit
            | Step::Nonsense
            | Step::DropLoan
            | Step::Take
            | Step::ClientSleeps
            | Step::Scribble => self.client_acts(step)?,
            Step::StopClient
            | Step::KillClient
            | Step::ReplaceClient
            | Step::Evict
            | Step::Invite => self.client_changes(step)?,
            Step::Bury => self.bury()?,
            Step::Tick | Step::Wait | Step::Jump => self.time_passes(step),
            Step::Mood
            | Step::Cut
            | Step::Connect
            | Step::Stall
            | Step::Shrink
            | Step::Inject
            | Step::Admit => self.upstream_changes(step),
            Step::MailBurst | Step::Unread | Step::Reload | Step::Drain | Step::StopWorker => {
                self.control_acts(step)?;
            }
        }
        Ok(())
    }

    fn client_acts(&mut self, step: Step) -> Checked {
        let is_scribble = matches!(step, Step::Scribble);
        let wanted = |guest: &Guest| {
            if is_scribble {
                !guest.is_honest() && !guest.is_stopped
            } else {
                guest.acts()
            }
        };
        let Some(id) = self.scene.any_guest(wanted) else {
            return Ok(());
        };
        let shape = self
            .scene
            .guests
            .get(&id)
            .map(|guest| (guest.message_size(), guest.tenant.is_some()));
        let (size, is_bound) = shape.unwrap_or_default();
        let count = match step {
            Step::Submit => self.scene.rng.u32(1..=8),
            _ => 0,
        };
        let asks: Vec<_> = (0..count).map(|_| self.scene.ask(size, is_bound)).collect();
        let scene = &mut self.scene;
        let Some(guest) = scene.guests.get_mut(&id) else {
            return Ok(());
        };
        let (ledger, rng) = (&mut scene.ledger, &mut scene.rng);
        match step {
            Step::Submit => {
                let sent = asks
                    .iter()
                    .take_while(|ask| guest.submit(ask, ledger, rng))
                    .count();
                if rng.u8(..8) != 0 {
                    guest.flush();
                }
                scene
                    .trace
                    .note(format_args!("client {id} submits {sent} of {count}"));
            }
            Step::Nonsense => guest.submit_nonsense()?,
            Step::DropLoan => {
                guest.drop_loan();
                scene.tally.fault("loan_dropped");
            }
            Step::Take => {
                let most = if rng.bool() { u32::MAX } else { rng.u32(1..4) };
                let taken = guest.take(most, ledger)?;
                scene.trace.note(format_args!("client {id} takes {taken}"));
            }
            Step::ClientSleeps if guest.is_honest() && guest.may_sleep() => {
                // Whoever sleeps has flushed.
                guest.flush();
                guest.sleep(if rng.bool() {
                    doorbell::ASLEEP
                } else {
                    doorbell::ASLEEP_ON_SOCKET
                });
            }
            Step::Scribble => {
                let routes = u16::try_from(scene.plan.routes.len()).unwrap_or(u16::MAX);
                let what = hostile::scribble(guest, routes, rng);
                scene.tally.fault(what);
                scene
                    .trace
                    .note(format_args!("client {id} scribbles on {what}"));
            }
            _ => {}
        }
        Ok(())
    }

    fn client_changes(&mut self, step: Step) -> Checked {
        if matches!(step, Step::Invite) {
            if self.scene.present() < self.scene.plan.sessions {
                self.invite()?;
            }
            return Ok(());
        }
        let lives =
            |guest: &Guest| guest.stage == super::guest::Stage::Served && guest.client.is_some();
        let Some(id) = self.scene.any_guest(lives) else {
            return Ok(());
        };
        self.scene.trace.note(format_args!("client {id}"));
        match step {
            Step::StopClient => {
                if let Some(guest) = self.scene.guests.get_mut(&id) {
                    guest.is_stopped = !guest.is_stopped;
                    if guest.is_stopped {
                        self.scene.tally.fault("client_stopped");
                    }
                }
            }
            Step::KillClient | Step::ReplaceClient => {
                self.scene.tally.fault("client_killed");
                if let Some(guest) = self.scene.guests.get_mut(&id) {
                    guest.client = None;
                }
                // The control thread may learn of it much later.
                if matches!(step, Step::ReplaceClient) {
                    self.detach(id, EndReason::PeerDied);
                    let nature = if self.scene.rng.u8(..8) < self.scene.plan.hostile_in_eight {
                        Nature::Hostile
                    } else {
                        Nature::Honest
                    };
                    let Self { rooms, scene, .. } = self;
                    let worker = scene.guests.get(&id).map(|guest| usize::from(guest.worker));
                    if let Some(room) = worker.and_then(|at| rooms.get_mut(at))
                        && room.is_open()
                    {
                        room.attach(nature, scene)?;
                        scene.tally.fault("session_replaced");
                    }
                }
            }
            _ => {
                self.scene.tally.fault("client_evicted");
                self.detach(id, EndReason::SlowClient);
            }
        }
        Ok(())
    }

    /// Ends a session from outside.
    pub(crate) fn detach(&mut self, id: u32, reason: EndReason) {
        let Self { rooms, scene, .. } = self;
        let worker = scene.guests.get(&id).map(|guest| usize::from(guest.worker));
        if let Some(room) = worker.and_then(|at| rooms.get_mut(at)) {
            room.detach(id, reason, scene);
        }
    }

    fn time_passes(&mut self, step: Step) {
        let rng = &mut self.scene.rng;
        let by = match step {
            Step::Tick => Duration::from_micros(rng.u64(..3_000)),
            Step::Wait => Duration::from_micros(rng.u64(..30_000)),
            _ => {
                self.scene.tally.fault("clock_jump");
                match rng.u8(..4) {
                    // Nearly whole turns of the wheel.
                    0 => Duration::from_nanos((rng.u64(1..4) << 32) + rng.u64(..1 << 21)),
                    1 => Duration::from_secs(rng.u64(1..100_000)),
                    _ => Duration::from_millis(rng.u64(100..10_000)),
                }
            }
        };
        self.scene.clock.advance(by);
        self.scene.trace.note(format_args!("{by:?} pass"));
    }

    fn upstream_changes(&mut self, step: Step) {
        let Self { broker, scene, .. } = self;
        let rng = &mut scene.rng;
        match step {
            Step::Mood => {
                broker.mood = match rng.u8(..4) {
                    0 => Mood::Kind,
                    1 => Mood::Nasty,
                    _ => Mood::Mixed,
                };
            }
            Step::Cut => {
                let line = rng.usize(..scene.plan.lines);
                if broker.cut(line) {
                    scene.tally.fault("connection_lost");
                }
            }
            Step::Connect => {
                let line = rng.usize(..scene.plan.lines);
                broker.connect(line);
            }
            Step::Stall => {
                broker.is_stalled = !broker.is_stalled;
                if broker.is_stalled {
                    scene.tally.fault("no_room");
                }
            }
            Step::Shrink => {
                scene.max_payload = if rng.u8(..3) != 0 {
                    MAX_PAYLOAD
                } else {
                    scene.tally.fault("max_payload_shrinks");
                    rng.u32(16..800)
                };
                broker.limit(scene.max_payload);
            }
            Step::Inject if scene.plan.injects => {
                let worker = rng.u8(..=scene.plan.workers);
                let noise = Token::new(worker, rng.u32(..64), rng.u32(..));
                let stale = scene.ledger.stale(rng.usize(..)).filter(|_| rng.bool());
                let token = stale.unwrap_or(noise);
                if !scene.ledger.is_open(token) {
                    broker.inject(token);
                    scene.tally.fault("reply_injected");
                }
            }
            Step::Admit => {
                let routes = u16::try_from(scene.plan.routes.len()).unwrap_or(u16::MAX);
                let route = rng.u16(..routes);
                let retry_after_ms = rng.u32(..5_000);
                let admission = match rng.u8(..6) {
                    0 => Admission::Closed { retry_after_ms },
                    1 => Admission::Half { retry_after_ms },
                    _ => Admission::Open,
                };
                if admission != Admission::Open {
                    scene.tally.fault("admission_shut");
                }
                scene.admissions.set(route, admission);
                scene
                    .trace
                    .note(format_args!("route {route} is {admission:?}"));
            }
            _ => {}
        }
    }

    fn control_acts(&mut self, step: Step) -> Checked {
        match step {
            Step::MailBurst => {
                let Self { rooms, scene, .. } = self;
                let count = scene.rng.u32(1..=12);
                let open = rooms.iter_mut().filter(|room| room.is_open());
                let Some(room) = scene.rng.choice(open.collect::<Vec<_>>()) else {
                    return Ok(());
                };
                scene.tally.fault("mail_burst");
                for _ in 0..count {
                    let id = room.attach(Nature::Honest, scene)?;
                    if scene.rng.u8(..4) != 0 {
                        room.detach(id, EndReason::Detached, scene);
                    }
                    // What has ended, or was never there, is told to end as well.
                    if scene.rng.u8(..4) == 0 {
                        room.detach(scene.rng.u32(1..=id), EndReason::Detached, scene);
                    }
                }
            }
            Step::Reload => {
                let Self { rooms, scene, .. } = self;
                if let Some(room) = scene.rng.choice(rooms.iter_mut().collect::<Vec<_>>()) {
                    room.reload(scene)?;
                }
            }
            Step::Unread => {
                let at = self.scene.rng.usize(..self.rooms.len());
                if let Some(room) = self.rooms.get_mut(at) {
                    room.is_unread = !room.is_unread;
                    if room.is_unread {
                        self.scene.tally.fault("notices_unread");
                    }
                }
            }
            _ => {
                let is_drain = matches!(step, Step::Drain);
                let is_sudden = self.scene.rng.u8(..6) == 0;
                let open = self.rooms.iter().filter(|room| room.is_open()).count();
                // Somebody must be left to serve. What drains can be stopped.
                let may = |room: &&mut Room| {
                    if room.is_open() {
                        open > 1 && (is_drain || is_sudden)
                    } else {
                        !is_drain && room.model.phase != Phase::Finished
                    }
                };
                let rooms: Vec<_> = self.rooms.iter_mut().filter(may).collect();
                if let Some(room) = self.scene.rng.choice(rooms) {
                    room.mail(if is_drain { Mail::Drain } else { Mail::Stop });
                    let fault = if is_drain { "drain" } else { "stop" };
                    self.scene.tally.fault(fault);
                }
            }
        }
        Ok(())
    }
}
