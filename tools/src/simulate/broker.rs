//! NATS and the Router, as a model: connections that come and go, and everything that can become
//! of a message. The gateway's own answering desk stands between it and the workers' links.

use core::time::Duration;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::task::{Wake, Waker};

use bytes::Bytes;
use ipc_gateway::bridge::{Code, Reply, Token, UpstreamEnd};
use ipc_gateway::clock::{Clock as _, Nanos};
use ipc_gateway::metrics::nats::NatsMetrics;
use ipc_gateway::nats::{Desk, Held, Queue, Serial};
use ipc_gateway::route::RouteKind;
use ipc_ringbuf::primitive::{AtomicBool, Ordering};

use super::fate::{self, Fate, Mood};
use super::network::{Event, Network, Shipped};
use super::scene::Scene;
use super::violation::{Checked, Invariant, ensure};

/// Most requests taken from a link in a turn.
const BATCH: usize = 16;

/// One line to the server.
#[derive(Debug, Default)]
struct Line {
    /// Its connection, if it has one.
    serial: Option<Serial>,
    /// A connection that is gone and was not cleared up yet.
    ended: Option<Serial>,
    queue: Queue,
}

/// Whether the room was woken.
#[derive(Debug, Default)]
struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The other side.
#[derive(Debug)]
pub(crate) struct Broker {
    desk: Desk,
    pub(crate) metrics: Arc<NatsMetrics>,
    lines: Vec<Line>,
    serial: Serial,
    network: Network,
    /// The connection that each request was last sent on.
    sent_on: BTreeMap<Token, Serial>,
    pub(crate) mood: Mood,
    /// Takes nothing from the links: their room runs out.
    pub(crate) is_stalled: bool,
    flag: Arc<Flag>,
    is_asleep: bool,
    /// When a request that waits for a connection must be looked at.
    held_due: Nanos,
}

impl Broker {
    pub(crate) fn new(links: Vec<UpstreamEnd>, scene: &Scene, seed: u64) -> Self {
        let metrics = Arc::new(NatsMetrics::default());
        let routes = Arc::clone(&scene.plan.routes);
        let mut broker = Self {
            desk: Desk::new(links, routes, Arc::clone(&metrics), seed),
            metrics,
            lines: (0..scene.plan.lines).map(|_| Line::default()).collect(),
            serial: 0,
            network: Network::default(),
            sent_on: BTreeMap::new(),
            mood: Mood::Mixed,
            is_stalled: false,
            flag: Arc::default(),
            is_asleep: false,
            held_due: Nanos::NEVER,
        };
        for line in 0..broker.lines.len() {
            broker.connect(line);
        }
        broker
    }

    /// Gives a line a connection, if it has none. Returns whether it had none.
    pub(crate) fn connect(&mut self, line: usize) -> bool {
        let Some(line) = self.lines.get_mut(line) else {
            return false;
        };
        if line.serial.is_some() || line.ended.is_some() {
            return false;
        }
        self.serial += 1;
        line.serial = Some(self.serial);
        self.flag.0.store(true, Ordering::Relaxed);
        true
    }

    /// Ends a line's connection. Returns whether it had one.
    pub(crate) fn cut(&mut self, line: usize) -> bool {
        let Some(line) = self.lines.get_mut(line) else {
            return false;
        };
        let Some(serial) = line.serial.take() else {
            return false;
        };
        line.ended = Some(serial);
        self.flag.0.store(true, Ordering::Relaxed);
        true
    }

    /// Changes the largest body that the server takes.
    pub(crate) fn limit(&self, bytes: u32) {
        for link in self.desk.links() {
            link.set_max_payload(bytes);
        }
    }

    /// Puts a reply into a worker's queue past the desk: it names nothing that is open.
    pub(crate) fn inject(&mut self, token: Token) {
        let stale = Reply {
            payload: Bytes::from_static(b"stale"),
            ..Reply::bare(token, Code::Ok)
        };
        if let Some(link) = self.desk.links_mut().get_mut(usize::from(token.worker())) {
            // A full queue has refused it: that is fine for what nobody waits for.
            drop(link.answer(stale));
            link.flush();
        }
    }

    fn due(&self) -> Nanos {
        let first = self.network.due();
        first.min(self.held_due).min(self.desk.due())
    }

    fn held(&self) -> usize {
        self.lines.iter().map(|line| line.queue.len()).sum()
    }

    fn has_requests(&self) -> bool {
        self.desk.links().iter().any(UpstreamEnd::has_requests)
    }

    /// One turn, unless it sleeps and nobody has woken it.
    pub(crate) fn turn(&mut self, scene: &mut Scene) -> Checked {
        let now = scene.clock.now();
        if self.is_asleep {
            if !self.flag.0.load(Ordering::Relaxed) && self.due() > now {
                return ensure(!self.has_requests(), Invariant::Progress, || {
                    "the answering side sleeps beside requests".to_owned()
                });
            }
            self.awake();
        }
        let done = self.receive(scene, now)? + self.send(scene, now);
        self.desk.flush();
        let refused = self.metrics.answers_refused.get();
        scene.trace.note(format_args!(
            "broker did {done} at {now}, {refused} refused"
        ));
        if done == 0 && !self.is_stalled && scene.rng.bool() {
            self.sleep();
        }
        Ok(())
    }

    fn sleep(&mut self) {
        self.flag.0.store(false, Ordering::Relaxed);
        let waker = Waker::from(Arc::clone(&self.flag));
        for link in self.desk.links() {
            link.arm(&waker);
        }
        self.is_asleep = true;
        if self.has_requests() {
            self.awake();
        }
    }

    fn awake(&mut self) {
        self.is_asleep = false;
        for link in self.desk.links() {
            link.disarm();
        }
    }

    fn receive(&mut self, scene: &mut Scene, now: Nanos) -> Checked<usize> {
        let mut done = 0;
        while let Some(event) = self.network.pop(now) {
            done += 1;
            self.happen(event, scene, now)?;
        }
        for line in 0..self.lines.len() {
            let ended = self.lines.get_mut(line).and_then(|line| line.ended.take());
            if let Some(serial) = ended {
                self.clear_up(serial, scene, now)?;
                done += 1;
            }
        }
        Ok(done)
    }

    fn is_current(&self, serial: Serial) -> bool {
        self.lines
            .iter()
            .any(|line| line.serial == Some(serial) || line.ended == Some(serial))
    }

    fn happen(&mut self, event: Event, scene: &mut Scene, now: Nanos) -> Checked {
        match event {
            Event::Arrival(shipped, fate) => self.arrive(shipped, fate, scene, now)?,
            Event::Reply(serial, token, message) if self.is_current(serial) => {
                self.desk.message(token, message, now);
            }
            Event::Confirmed(serial, token) if self.is_current(serial) => {
                self.desk.complete(token, Code::Sent);
            }
            Event::Reply(..) | Event::Confirmed(..) => {}
        }
        Ok(())
    }

    /// A request arrives at the server, and mostly at the Router.
    fn arrive(&mut self, shipped: Shipped, fate: Fate, scene: &mut Scene, now: Nanos) -> Checked {
        let Shipped {
            serial,
            token,
            route,
            payload,
            deadline,
        } = shipped;
        let Some(route) = scene.plan.routes.get(usize::from(route)) else {
            return Ok(());
        };
        if fate.is_seen(route.kind) {
            scene.ledger.seen(token)?;
            scene
                .trace
                .note(format_args!("seen {:#x} {fate:?}", token.bits()));
        }
        let rng = &mut scene.rng;
        let at = fate.reply_at(now, deadline, self.mood, rng);
        if route.kind == RouteKind::Publish {
            if fate.is_seen(route.kind) {
                self.network.push(at, Event::Confirmed(serial, token));
            }
            return Ok(());
        }
        match fate {
            Fate::Silence | Fate::Dropped => {}
            Fate::NoResponders => self
                .network
                .push(at, Event::Reply(serial, token, fate::no_responders())),
            Fate::Misaddressed => {
                let other = scene.ledger.stale(rng.usize(..)).filter(|_| rng.bool());
                let forged = Token::new(token.worker(), token.place(), rng.u32(..) | 1 << 31);
                let other = other.unwrap_or(forged);
                if other != token && !scene.ledger.is_open(other) {
                    let answer = fate::answer(fate, route, &payload, rng);
                    self.network.push(at, Event::Reply(serial, other, answer));
                }
            }
            Fate::Acknowledged => {
                if route.kind == RouteKind::Request {
                    self.network
                        .push(now, Event::Reply(serial, token, fate::ack(&payload)));
                }
                let answer = fate::answer(fate, route, &payload, rng);
                self.network.push(at, Event::Reply(serial, token, answer));
            }
            _ => {
                let answer = fate::answer(fate, route, &payload, rng);
                self.network
                    .push(at, Event::Reply(serial, token, answer.clone()));
                if fate == Fate::Duplicate {
                    let again = fate.reply_at(at, deadline, self.mood, rng);
                    self.network
                        .push(again, Event::Reply(serial, token, answer));
                }
            }
        }
        Ok(())
    }

    /// A connection is gone: what was on it has arrived or has not, and answers that had come
    /// count.
    fn clear_up(&mut self, serial: Serial, scene: &mut Scene, now: Nanos) -> Checked {
        let routes = Arc::clone(&scene.plan.routes);
        let kind = |shipped: &Shipped| {
            let route = routes.get(usize::from(shipped.route));
            route.map_or(RouteKind::Request, |route| route.kind)
        };
        for event in self.network.cut(serial) {
            match event {
                Event::Arrival(shipped, fate)
                    if fate.is_seen(kind(&shipped)) && scene.rng.bool() =>
                {
                    scene.ledger.seen(shipped.token)?;
                    scene
                        .trace
                        .note(format_args!("seen {:#x} and lost", shipped.token.bits()));
                }
                Event::Reply(_, token, message) if scene.rng.bool() => {
                    self.desk.message(token, message, now);
                }
                _ => {}
            }
        }
        self.desk.lost(serial, now);
        // With a queue full of noise the answer may have had no room.
        let lost = self.sent_on.extract_if(.., |_, on| *on == serial);
        let ends = |token: &Token| !scene.plan.injects && !scene.ledger.may_repeat(*token);
        scene.lost.extend(lost.map(|(token, _)| token).filter(ends));
        self.held_due = now;
        Ok(())
    }

    fn send(&mut self, scene: &mut Scene, now: Nanos) -> usize {
        let mut done = 0;
        for line in 0..self.lines.len() {
            while let Some(held) = self.lines.get_mut(line).and_then(|line| line.queue.pop()) {
                if let Err(held) = self.try_send(line, held, scene, now) {
                    if let Some(line) = self.lines.get_mut(line) {
                        line.queue.put_back(held);
                    }
                    break;
                }
                done += 1;
            }
        }
        while let Some(held) = self.desk.take_resend(now) {
            scene.tally.fault("sent_again");
            done += 1;
            self.send_or_hold(held, scene, now);
        }
        for link in 0..self.desk.links().len() {
            for _ in 0..BATCH {
                let is_full = self.held() >= scene.plan.held;
                let takes = !self.is_stalled && !is_full;
                let next = self.desk.links_mut().get_mut(link).filter(|_| takes);
                let Some(request) = next.and_then(UpstreamEnd::pop) else {
                    break;
                };
                done += 1;
                self.send_or_hold(Held::new(request, now), scene, now);
            }
        }
        self.expire_held(scene.plan.fail_fast, now);
        done
    }

    fn expire_held(&mut self, fail_fast: Duration, now: Nanos) {
        let is_up = self.lines.iter().any(|line| line.serial.is_some());
        let fail_fast = (!is_up).then_some(fail_fast);
        let Self { lines, desk, .. } = self;
        self.held_due = lines.iter_mut().fold(Nanos::NEVER, |next, line| {
            let due = line
                .queue
                .expire(now, fail_fast, |held, code| desk.reject(&held, code));
            next.min(due)
        });
    }

    fn line_of(&self, session: u32) -> usize {
        usize::try_from(session).unwrap_or(0) % self.lines.len().max(1)
    }

    fn send_or_hold(&mut self, held: Held, scene: &mut Scene, now: Nanos) {
        let line = self.line_of(held.request.session);
        let must_wait = self
            .lines
            .get(line)
            .is_some_and(|line| !line.queue.is_empty());
        let back = if must_wait {
            Err(held)
        } else {
            self.try_send(line, held, scene, now)
        };
        if let Err(held) = back
            && let Some(line) = self.lines.get_mut(line)
        {
            line.queue.push(held);
        }
    }

    /// Sends a request or answers it; gives it back when it has to wait.
    fn try_send(
        &mut self,
        line: usize,
        held: Held,
        scene: &mut Scene,
        now: Nanos,
    ) -> Result<(), Held> {
        if held.request.deadline <= now {
            self.desk.reject(&held, Code::ExpiredUnsent);
            return Ok(());
        }
        let up = |line: &&Line| line.serial.is_some();
        let chosen = self.lines.iter().cycle().skip(line).take(self.lines.len());
        let Some(serial) = chosen.clone().find(up).and_then(|line| line.serial) else {
            return Err(held);
        };
        if self.mood != Mood::Kind && scene.rng.u8(..32) == 0 {
            scene.tally.fault("connection_full");
            return Err(held);
        }
        if held.request.body.len() as u64 > u64::from(scene.max_payload) {
            self.desk.reject(&held, Code::TooLarge);
            return Ok(());
        }
        let fate = Fate::of(self.mood, &mut scene.rng);
        if let Some(fault) = fate.fault() {
            scene.tally.fault(fault);
        }
        let shipped = Shipped {
            serial,
            token: held.request.token,
            route: held.request.route,
            payload: held.request.payload(),
            deadline: held.request.deadline,
        };
        let way = Duration::from_micros(scene.rng.u64(..200));
        self.network
            .push(now.after(way), Event::Arrival(shipped, fate));
        self.sent_on.insert(held.request.token, serial);
        self.desk.sent(held, serial, now);
        Ok(())
    }

    /// Nothing is wrong any more.
    pub(crate) fn heal(&mut self) {
        self.mood = Mood::Kind;
        self.is_stalled = false;
        for line in &mut self.lines {
            // A connection that has just ended is cleared up in the next turn.
            if line.serial.is_none() {
                self.serial += 1;
                line.serial = Some(self.serial);
            }
        }
        self.flag.0.store(true, Ordering::Relaxed);
    }
}
