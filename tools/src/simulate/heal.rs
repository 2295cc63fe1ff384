//! After the chaos: everything is put right, and then everything must go on, and come to rest.

use core::time::Duration;

use ipc_gateway::bridge::{Admission, Duty as _};
use ipc_gateway::clock::Nanos;
use ipc_gateway::worker::mailbox::Mail;
use ipc_ringbuf::error::EndReason;
use ipc_ringbuf::{Client, Code};

use super::ask::Ask;
use super::guest::{Guest, Nature, Stage};
use super::hostile;
use super::ledger::State;
use super::plan::{MAX_PAYLOAD, MAX_TIMEOUT};
use super::room::Phase;
use super::violation::{Checked, Invariant, ensure};
use super::world::World;

/// What passes in each round in which old requests run out.
const LONG: Duration = Duration::from_secs(2);
/// What passes in each round in which new requests must succeed.
const SHORT: Duration = Duration::from_millis(1);
/// Rounds within which every new request must have succeeded.
const ROUNDS: u32 = 40;
/// Rounds within which workers that were told to end have ended.
const LAST_ROUNDS: u32 = 8;

impl World {
    /// Puts everything right, and demands that what was asked is completed and that new requests
    /// succeed soon.
    pub(crate) fn heal(&mut self) -> Checked {
        self.put_right()?;
        let long_enough = MAX_TIMEOUT.as_secs() / LONG.as_secs() + 5;
        for _ in 0..long_enough {
            self.round(LONG)?;
        }
        // With everything in order, those that waited for room go on one after the other.
        for _ in 0..ROUNDS + 4 * self.outstanding() {
            if self.outstanding() == 0 {
                break;
            }
            self.round(SHORT)?;
        }
        for guest in self.scene.guests.values().filter(|guest| guest.is_honest()) {
            let left = guest.client.as_ref().map_or(0, Client::outstanding);
            ensure(left == 0, Invariant::InTime, || {
                format!("client {} waits for {left} long after their time", guest.id)
            })?;
        }
        self.ask_anew()
    }

    /// Requests that honest clients wait for.
    fn outstanding(&self) -> u32 {
        let guests = self.scene.guests.values().filter(|guest| guest.is_honest());
        let clients = guests.filter_map(|guest| guest.client.as_ref());
        let left: usize = clients.map(Client::outstanding).sum();
        u32::try_from(left).unwrap_or(u32::MAX)
    }

    fn put_right(&mut self) -> Checked {
        let Self {
            rooms,
            broker,
            scene,
        } = self;
        broker.heal();
        scene.max_payload = MAX_PAYLOAD;
        broker.limit(MAX_PAYLOAD);
        for (route, _) in (0..).zip(scene.plan.routes.iter()) {
            scene.admissions.set(route, Admission::Open);
        }
        for room in rooms.iter_mut() {
            room.is_unread = false;
        }
        let mut dead = Vec::new();
        for guest in scene.guests.values_mut() {
            guest.is_stopped = false;
            if guest.client.is_none() && guest.stage == Stage::Served {
                dead.push(guest.id);
            }
        }
        // Everybody who serves has somebody to serve.
        for room in rooms.iter_mut().filter(|room| room.is_open()) {
            room.attach(Nature::Honest, scene)?;
        }
        for id in dead {
            self.detach(id, EndReason::PeerDied);
        }
        Ok(())
    }

    /// Everybody gets to do everything once; then time passes.
    fn round(&mut self, by: Duration) -> Checked {
        super::progress::next_step();
        let routes = u16::try_from(self.scene.plan.routes.len()).unwrap_or(u16::MAX);
        for guest in self.scene.guests.values_mut().filter(|guest| guest.acts()) {
            guest.flush();
            // Those who are hostile do not stop for that.
            if !guest.is_honest() {
                let what = hostile::scribble(guest, routes, &mut self.scene.rng);
                self.scene.tally.fault(what);
            }
        }
        self.run_workers()?;
        // There and back.
        for _ in 0..2 {
            self.broker.turn(&mut self.scene)?;
            self.scene.clock.advance(SHORT);
        }
        self.broker.turn(&mut self.scene)?;
        self.run_workers()?;
        for guest in self.scene.guests.values_mut() {
            if guest.stage != Stage::Ended {
                guest.take(u32::MAX, &mut self.scene.ledger)?;
            }
        }
        self.bury()?;
        self.scene.clock.advance(by);
        Ok(())
    }

    fn ask_anew(&mut self) -> Checked {
        let marks: Vec<u64> = self.submit_everywhere(1, Duration::from_secs(5));
        let is_done = |world: &Self| {
            marks.iter().all(|mark| {
                let asked = world.scene.ledger.asked(*mark);
                asked.is_some_and(|asked| asked.state == State::Taken(Code::Ok))
            })
        };
        for _ in 0..ROUNDS {
            if is_done(self) {
                return Ok(());
            }
            self.round(SHORT)?;
        }
        ensure(is_done(self), Invariant::Progress, || {
            let ledger = &self.scene.ledger;
            let states = marks.iter().map(|mark| (mark, ledger.asked(*mark)));
            format!("all is healed, and yet: {:?}", states.collect::<Vec<_>>())
        })
    }

    /// Every honest client whose worker serves asks for something simple; the marks.
    fn submit_everywhere(&mut self, count: u32, timeout: Duration) -> Vec<u64> {
        let Self { rooms, scene, .. } = self;
        let mut marks = Vec::new();
        for guest in scene.guests.values_mut() {
            let room = rooms.get(usize::from(guest.worker));
            let serves = room.is_some_and(|room| room.model.phase == Phase::Serving);
            if !serves || !guest.is_honest() || !guest.acts() || guest.stage != Stage::Served {
                continue;
            }
            for _ in 0..count {
                let mark = scene.ledger.next_mark();
                if guest.submit(&Ask::plain(timeout), &mut scene.ledger, &mut scene.rng) {
                    marks.push(mark);
                }
            }
            guest.flush();
        }
        marks
    }

    /// Ends everything, in one of three ways, and demands that nothing is left.
    pub(crate) fn rest(&mut self) -> Checked {
        let way = self.scene.rng.u8(..3);
        self.scene.trace.note(format_args!("end {way}"));
        if way == 0 {
            let ids: Vec<u32> = self.scene.guests.keys().copied().collect();
            for id in ids {
                self.detach(id, EndReason::Detached);
            }
            for _ in 0..LAST_ROUNDS {
                self.round(SHORT)?;
            }
            self.check_rest()?;
        } else {
            self.submit_everywhere(4, Duration::from_millis(20));
            self.run_workers()?;
        }
        if way < 2 {
            self.tell_all(|| Mail::Drain);
            for _ in 0..LAST_ROUNDS {
                self.round(Duration::from_millis(10))?;
            }
            // A hostile client's request may ask for more time than that.
            self.round(MAX_TIMEOUT)?;
            self.round(SHORT)?;
            for room in &self.rooms {
                let ended = matches!(room.model.phase, Phase::Drained | Phase::Finished);
                ensure(ended, Invariant::Progress, || {
                    format!("worker {} does not get drained", room.number)
                })?;
            }
        }
        self.tell_all(|| Mail::Stop);
        for _ in 0..LAST_ROUNDS {
            self.round(SHORT)?;
        }
        for room in &self.rooms {
            ensure(room.worker.finished(), Invariant::Progress, || {
                format!("worker {} does not end", room.number)
            })?;
        }
        self.check_rest()?;
        ensure(self.scene.guests.is_empty(), Invariant::Rest, || {
            let left = self.scene.guests.values().map(|guest: &Guest| guest.id);
            format!("sessions {:?} are left", left.collect::<Vec<_>>())
        })?;
        let load = self.scene.load.get();
        ensure(load == 0, Invariant::Rest, || {
            format!("{load} requests are still counted for their user")
        })?;
        if let Some((mark, asked)) = self.scene.ledger.untaken().next() {
            return ensure(false, Invariant::ExactlyOnce, || {
                format!("{mark} was never completed: {asked:?}")
            });
        }
        // What is put past the desk takes room that is reckoned for its answers.
        let refused = self.broker.metrics.answers_refused.get();
        ensure(
            refused == 0 || self.scene.plan.injects,
            Invariant::ExactlyOnce,
            || format!("{refused} answers found no room"),
        )
    }

    fn tell_all(&mut self, mail: impl Fn() -> Mail) {
        for room in &mut self.rooms {
            if room.model.phase != Phase::Finished {
                room.mail(mail());
            }
        }
    }

    /// No sessions, nothing in flight, no timers.
    fn check_rest(&mut self) -> Checked {
        for room in &mut self.rooms {
            let sessions = room.metrics.sessions.get();
            let in_flight = room.worker.in_flight();
            // This looks for work once more, and forgets that room was waited for.
            let idle = room.worker.prepare_to_sleep();
            // To one that has ended answers may still come, which nobody takes.
            let has_ended = !idle && room.worker.finished();
            room.worker.awake();
            room.is_asleep = false;
            let due = room.worker.next_deadline();
            ensure(
                sessions == 0 && in_flight == 0 && (has_ended || idle && due == Nanos::NEVER),
                Invariant::Rest,
                || {
                    format!(
                        "worker {}: {sessions} sessions, {in_flight} in flight, a timer at {due}, \
                         idle: {idle}",
                        room.number
                    )
                },
            )?;
        }
        Ok(())
    }
}
