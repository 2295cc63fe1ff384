//! A worker with its link and its mailbox, driven as its thread drives it: cycle by cycle, asleep
//! in between until it is rung or something is due.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use core::time::Duration;
use ipc_gateway::bridge::{Duty as _, UpstreamEnd, link};
use ipc_gateway::clock::{Clock as _, Nanos};
use ipc_gateway::metrics::worker::WorkerMetrics;
use ipc_gateway::route::Subject;
use ipc_gateway::worker::cycle::Worker;
use ipc_gateway::worker::mailbox::{Mail, Post, Reload, Rights, mailbox};
use ipc_gateway::worker::parts::Parts;
use ipc_ringbuf::error::EndReason;
use ipc_ringbuf::sys::{self, Bell, BellPage};

use super::clock::Hand;
use super::guest::{Nature, Stage};
use super::scene::Scene;
use super::tap::{Record, Tap};
use super::violation::{Checked, Invariant, broken, ensure};

/// How soon a worker looks again that waits for room.
const STARVED_LOOK: Duration = Duration::from_millis(1);

/// How far a worker is on its way to its end, as the model has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Serving,
    Draining,
    Drained,
    Finished,
}

/// A mail that is on its way, as the model remembers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sent {
    Attach(u32),
    Detach(u32, EndReason),
    Reload,
    Drain,
    Stop,
}

/// A worker and what is known of it.
#[derive(Debug)]
pub(crate) struct Room {
    pub(crate) number: u8,
    pub(crate) worker: Worker<Tap, Hand>,
    pub(crate) post: Post,
    pub(crate) record: Record,
    pub(crate) metrics: Arc<WorkerMetrics>,
    pub(crate) page: Arc<BellPage>,
    /// What the control thread would sleep on.
    _control: Bell,
    /// Mails for which the mailbox had no room.
    outbox: VecDeque<Mail>,
    /// Mails that the worker takes in its next cycle.
    pub(crate) sent: Vec<Sent>,
    /// Whether a drain or a stop was asked for.
    pub(crate) is_ending: bool,
    pub(crate) is_asleep: bool,
    /// Whether the control thread does not read its notices.
    pub(crate) is_unread: bool,
    /// Cycles after which everything that the worker could not tell has been told.
    pub(crate) unsettled: u32,
    pub(crate) model: Model,
}

/// What the worker must be like.
#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) phase: Phase,
    /// Sessions that it serves.
    pub(crate) live: BTreeSet<u32>,
    /// Sessions that it was made to end and has not said so of.
    pub(crate) ended: BTreeMap<u32, EndReason>,
    /// Most sessions that it has served at once.
    pub(crate) seats: u32,
    /// Whether it took something from a ring in the last cycle.
    pub(crate) took: bool,
    /// Replies that found nothing.
    pub(crate) late: u64,
    pub(crate) accepted: u64,
    pub(crate) abandoned: u64,
    pub(crate) violations: u64,
    /// Whether it has ever served a hostile session: then some counts are only bounds.
    pub(crate) had_hostile: bool,
}

impl Room {
    /// A worker without sessions, and the other end of its link.
    pub(crate) fn new(number: u8, scene: &Scene) -> Checked<(Self, UpstreamEnd)> {
        let plan = &scene.plan;
        let (bell, control) = (Bell::new()?, Bell::new()?);
        let (post, mailbox) = mailbox(bell.ringer()?, control.ringer()?, plan.mailbox);
        let (end, other) = link(plan.max_in_flight as usize, plan.outbound, plan.held);
        let record = Record::default();
        let metrics = Arc::new(WorkerMetrics::default());
        let page = Arc::new(BellPage::create()?);
        let parts = Parts {
            number,
            upstream: Tap::new(end, record.clone()),
            clock: scene.clock.clone(),
            routes: Arc::clone(&plan.routes),
            admissions: Arc::clone(&scene.admissions),
            metrics: Arc::clone(&metrics),
            mailbox,
            bell,
            page: Arc::clone(&page),
            max_in_flight: plan.max_in_flight,
            burst: plan.burst,
            // How long answers take is not modelled, nor how long a client may rest.
            max_queue_delay: Duration::ZERO,
            slow_client_timeout: Duration::from_secs(1 << 30),
            first_generation: plan.first_generation,
        };
        let room = Self {
            number,
            worker: Worker::new(parts)?,
            post,
            record,
            metrics,
            page,
            _control: control,
            outbox: VecDeque::new(),
            sent: Vec::new(),
            is_ending: false,
            is_asleep: false,
            is_unread: false,
            unsettled: 0,
            model: Model {
                phase: Phase::Serving,
                live: BTreeSet::new(),
                ended: BTreeMap::new(),
                seats: 0,
                took: false,
                late: 0,
                accepted: 0,
                abandoned: 0,
                violations: 0,
                had_hostile: false,
            },
        };
        Ok((room, other))
    }

    /// Whether new sessions may be sent here.
    pub(crate) const fn is_open(&self) -> bool {
        !self.is_ending
    }

    /// Sends a mail, or keeps it until the mailbox has room: mails stay in order.
    pub(crate) fn mail(&mut self, mail: Mail) {
        self.is_ending |= matches!(mail, Mail::Drain | Mail::Stop);
        self.outbox.push_back(mail);
        self.send_mail();
    }

    /// Sends what was kept.
    pub(crate) fn send_mail(&mut self) {
        while let Some(mail) = self.outbox.pop_front() {
            let sent = match &mail {
                Mail::Attach(new) => Sent::Attach(new.id),
                Mail::Detach { session, reason } => Sent::Detach(*session, *reason),
                Mail::Reload(_) => Sent::Reload,
                Mail::Drain => Sent::Drain,
                Mail::Stop => Sent::Stop,
                // No other gateway comes in the simulation, and nobody looks.
                Mail::Pause | Mail::HandOver | Mail::Show(_) => return,
            };
            if let Err(back) = self.post.send(mail) {
                self.outbox.push_front(back);
                return;
            }
            self.sent.push(sent);
        }
    }

    /// Attaches a new client.
    pub(crate) fn attach(&mut self, nature: Nature, scene: &mut Scene) -> Checked<u32> {
        let new = scene.invite(self.number, nature, &self.page)?;
        let id = new.id;
        self.mail(Mail::Attach(Box::new(new)));
        Ok(id)
    }

    /// The configuration is read again: routes lead elsewhere, which their gates take note of, and
    /// requests are counted for their user from now on, or no longer.
    pub(crate) fn reload(&mut self, scene: &mut Scene) -> Checked {
        let mut routes = scene.plan.routes.to_vec();
        for route in &mut routes {
            if scene.rng.bool() {
                let elsewhere = format!("{}.{}", route.subject, scene.rng.u8(..));
                route.subject = Subject::try_from(elsewhere)
                    .map_err(|error| broken(Invariant::Isolation, error.to_string()))?;
            }
        }
        let is_counted = scene.rng.bool();
        let mine = scene
            .guests
            .values()
            .filter(|guest| guest.worker == self.number);
        let rights = mine.map(|guest| {
            let load = Arc::clone(&scene.load);
            let rights = Rights {
                routes: Arc::clone(&guest.rights),
                tenant: guest.tenant.clone(),
                in_flight: is_counted.then_some((load, u32::MAX)),
            };
            (guest.id, rights)
        });
        let rights = rights.collect();
        scene.tally.fault("reload");
        self.mail(Mail::Reload(Box::new(Reload {
            routes: routes.into(),
            rights,
        })));
        Ok(())
    }

    /// Ends a session from outside.
    pub(crate) fn detach(&mut self, session: u32, reason: EndReason, scene: &mut Scene) {
        if let Some(guest) = scene.guests.get_mut(&session)
            && guest.stage == Stage::Served
            && guest.worker == self.number
        {
            guest.stage = Stage::Leaving;
        }
        self.mail(Mail::Detach { session, reason });
    }

    /// What the worker's thread does when it gets to run.
    pub(crate) fn run(&mut self, scene: &mut Scene) -> Checked {
        if self.model.phase == Phase::Finished && self.worker.finished() {
            // It has nothing more to do, but may not have been heard to the end.
            return self.read_notices(scene).map(drop);
        }
        self.send_mail();
        let now = scene.clock.now();
        if self.is_asleep {
            let is_called = sys::is_readable(self.worker.bell()) || self.worker.next_due() <= now;
            if !is_called {
                // What it said before may have been left unread.
                self.read_notices(scene)?;
                return self.check_sleep(scene, now);
            }
            self.is_asleep = false;
            self.worker.awake();
        }
        self.cycle(scene)
    }

    /// A worker that sleeps must have nothing to do. One that waits for room is not rung when that
    /// comes, and one with a hostile client may have been given work in silence.
    fn check_sleep(&mut self, scene: &Scene, now: Nanos) -> Checked {
        if self.worker.next_due() <= now.after(STARVED_LOOK) || self.has_hostile(scene) {
            return Ok(());
        }
        let untold = self.model.ended.len();
        ensure(untold == 0 || self.is_unread, Invariant::Progress, || {
            format!("worker {} sleeps on {untold} untold ends", self.number)
        })?;
        let slept_on = self.worker.prepare_to_sleep();
        ensure(slept_on, Invariant::Progress, || {
            format!("worker {} sleeps beside work", self.number)
        })
    }

    pub(crate) fn has_hostile(&self, scene: &Scene) -> bool {
        let is_hostile = |id: &u32| scene.guests.get(id).is_some_and(|guest| !guest.is_honest());
        self.model.live.iter().any(is_hostile)
    }

    /// Lets the worker sleep if it finds that it may.
    pub(crate) fn go_to_sleep(&mut self, scene: &mut Scene) -> Checked {
        if self.is_asleep || self.model.phase == Phase::Finished {
            return Ok(());
        }
        let now = scene.clock.now();
        self.is_asleep = self.worker.prepare_to_sleep();
        scene.trace.note(format_args!(
            "worker {} sleeps: {}",
            self.number, self.is_asleep
        ));
        if !self.is_asleep {
            return Ok(());
        }
        let due = self.worker.next_due();
        let is_shown = |id: &u32| {
            let guest = scene.guests.get(id);
            guest.is_some_and(|guest| guest.is_honest() && guest.shown() > 0)
        };
        let waits_for_room = due <= now.after(STARVED_LOOK);
        let overslept = !waits_for_room && self.model.live.iter().any(is_shown);
        ensure(!overslept, Invariant::Progress, || {
            format!("worker {} goes to sleep beside submissions", self.number)
        })?;
        match scene.ledger.first_due(self.number) {
            _ if self.unsettled > 0 => Ok(()),
            Some(first) => ensure(
                due <= first.max(now.after(STARVED_LOOK)),
                Invariant::InTime,
                || {
                    format!(
                        "worker {} sleeps until {due}, a deadline is at {first}",
                        self.number
                    )
                },
            ),
            None => ensure(
                self.worker.next_deadline() == Nanos::NEVER,
                Invariant::Rest,
                || {
                    format!(
                        "worker {} has nothing in flight and a timer at {}",
                        self.number,
                        self.worker.next_deadline()
                    )
                },
            ),
        }
    }
}
