//! One duty cycle, and everything that must hold after it.

use std::collections::BTreeMap;

use ipc_gateway::bridge::{Request, Token};
use ipc_gateway::clock::{Clock as _, Nanos};
use ipc_gateway::worker::mailbox::Notice;
use ipc_ringbuf::error::EndReason;
use ipc_ringbuf::{Code, Outcome};

use super::ask::Ask;
use super::guest::Stage;
use super::oracle::Situation;
use super::room::{Phase, Room, Sent};
use super::scene::Scene;
use super::tap::Crossing;
use super::violation::{Checked, Invariant, broken, ensure};

/// Cycles without a notice after which the worker has nothing left to tell.
const SETTLING: u32 = 3;

/// What a cycle must have done, as far as is known.
#[derive(Debug, Default)]
struct Expected {
    /// Completions by session and mark, of honest clients.
    completions: BTreeMap<(u32, u64), Code>,
    /// Marks that were handed over, by session.
    sent: BTreeMap<u32, Vec<u64>>,
    /// The sessions that a stop has ended.
    stopped: Vec<u32>,
    /// Replies for requests of hostile clients, whose session may have ended before.
    doubtful: u64,
}

impl Room {
    /// Steps the worker and checks what it did.
    pub(crate) fn cycle(&mut self, scene: &mut Scene) -> Checked {
        let now = scene.clock.now();
        let mut expected = Expected::default();
        self.take_mail(&mut expected, scene);
        let hopeful = self.hopeful(scene);
        let done = self.worker.do_work();
        scene.tally.cycles += 1;
        scene
            .trace
            .note(format_args!("worker {} did {done} at {now}", self.number));
        self.model.took = false;
        for crossing in self.record.take() {
            match crossing {
                Crossing::Sent(request) => {
                    self.model.took = true;
                    self.was_sent(&request, &mut expected, scene, now)?;
                }
                Crossing::Received { token, code, bytes } => {
                    self.was_answered(token, code, bytes, &mut expected, scene)?;
                }
            }
        }
        for token in scene.ledger.due(self.number, Some(now)) {
            expect_end(token, Code::Timeout, 0, &mut expected, scene);
        }
        let violated = self.read_notices(scene)?;
        self.observe(&mut expected, scene)?;
        self.check_turns(&hopeful, scene)?;
        self.check_lost(scene)?;
        self.check_counters(&expected, violated, scene)
    }

    /// What the mails that the worker takes now do to the model.
    fn take_mail(&mut self, expected: &mut Expected, scene: &mut Scene) {
        for mail in core::mem::take(&mut self.sent) {
            match mail {
                Sent::Attach(id) => {
                    self.model.live.insert(id);
                    let seats = u32::try_from(self.model.live.len()).unwrap_or(u32::MAX);
                    self.model.seats = self.model.seats.max(seats);
                    let guest = scene.guests.get(&id);
                    self.model.had_hostile |= guest.is_some_and(|guest| !guest.is_honest());
                }
                Sent::Detach(id, reason) => {
                    if self.model.live.remove(&id) {
                        self.model.ended.insert(id, reason);
                        self.model.abandoned += scene.ledger.close(self.number, id);
                    }
                }
                Sent::Drain if self.model.phase == Phase::Serving => {
                    self.model.phase = Phase::Draining;
                }
                Sent::Drain | Sent::Reload => {}
                Sent::Stop => {
                    self.model.phase = Phase::Finished;
                    for token in scene.ledger.due(self.number, None) {
                        expect_end(token, Code::GatewayRestarted, 0, expected, scene);
                    }
                    for id in core::mem::take(&mut self.model.live) {
                        self.model.ended.insert(id, EndReason::Draining);
                        expected.stopped.push(id);
                    }
                }
            }
        }
    }

    /// The worker has handed a request over: it must be what its client has asked for, and it must
    /// have been right to take it.
    fn was_sent(
        &self,
        request: &Request,
        expected: &mut Expected,
        scene: &mut Scene,
        now: Nanos,
    ) -> Checked {
        let id = request.session;
        let Scene { guests, ledger, .. } = scene;
        let guest = guests.get(&id).filter(|_| self.model.live.contains(&id));
        let Some(guest) = guest else {
            return Err(broken(
                Invariant::Isolation,
                format!("a request of session {id}, which has ended, was handed over"),
            ));
        };
        let route = scene.plan.routes.get(usize::from(request.route));
        let may_repeat = request.idempotent && route.is_some_and(|route| route.idempotent);
        let situation = Situation {
            is_draining: self.model.phase != Phase::Serving,
            routes: &scene.plan.routes,
            rights: &guest.rights,
            admissions: &scene.admissions,
            max_payload: scene.max_payload,
        };
        ensure(
            request.token.worker() == self.number && request.tenant == guest.tenant,
            Invariant::Isolation,
            || format!("{request:?} is not of session {id}"),
        )?;
        scene.trace.note(format_args!(
            "worker {} sends {:#x} of session {id}",
            self.number,
            request.token.bits()
        ));
        if !guest.is_honest() {
            let allowed = guest.rights.get(usize::from(request.route)) == Some(&true);
            ensure(
                allowed && !situation.is_draining,
                Invariant::Isolation,
                || format!("{request:?} of a hostile client may not pass"),
            )?;
            return ledger.sent(request, None, may_repeat);
        }
        let payload = request.payload();
        let mark = Ask::mark_of(&payload);
        let Some((mark, asked)) = mark.and_then(|mark| Some((mark, ledger.asked(mark)?))) else {
            return Err(broken(
                Invariant::Isolation,
                format!("session {id} has never asked for {request:?}"),
            ));
        };
        let same = asked.session == id
            && asked.payload == payload
            && asked.headers == request.headers()
            && asked.route == request.route
            && asked.idempotent == request.idempotent;
        ensure(same, Invariant::Isolation, || {
            format!("{request:?} is not what {asked:?} says")
        })?;
        let verdict = situation.judge(asked);
        ensure(verdict.accepts(), Invariant::ExactlyOnce, || {
            format!("{mark} was handed over, {verdict:?} is right")
        })?;
        let deadline = situation.deadline(asked, now);
        ensure(
            deadline == Some(request.deadline),
            Invariant::InTime,
            || {
                format!(
                    "{mark} has deadline {}, {deadline:?} is right",
                    request.deadline
                )
            },
        )?;
        expected.sent.entry(id).or_default().push(mark);
        ledger.sent(request, Some(mark), may_repeat)
    }

    fn was_answered(
        &mut self,
        token: Token,
        code: Code,
        bytes: u64,
        expected: &mut Expected,
        scene: &mut Scene,
    ) -> Checked {
        let answers = scene.ledger.answered(token);
        // What is put past the desk comes again.
        ensure(
            answers <= 1 || scene.plan.injects,
            Invariant::ExactlyOnce,
            || format!("{:#x} was answered {answers} times", token.bits()),
        )?;
        if !expect_end(token, code, bytes, expected, scene) {
            self.model.late += 1;
        }
        Ok(())
    }

    /// Takes the worker's notices; returns whether a session has ended for its own fault.
    pub(crate) fn read_notices(&mut self, scene: &mut Scene) -> Checked<bool> {
        let mut violated = false;
        if self.is_unread {
            self.unsettled = SETTLING;
            return Ok(true);
        }
        let mut read = 0;
        while let Some(notice) = self.post.notice() {
            read += 1;
            // There may be more that had no room.
            if self.unsettled > 0 || read > 3 * scene.plan.mailbox {
                self.unsettled = SETTLING;
            }
            scene.trace.note(format_args!("{notice:?}"));
            match notice {
                Notice::Ended {
                    session,
                    reason,
                    fault,
                } => {
                    let is_honest = scene
                        .guests
                        .get(&session)
                        .is_some_and(super::guest::Guest::is_honest);
                    if self.model.live.remove(&session) {
                        ensure(
                            !is_honest && reason == EndReason::RingCorrupt && fault.is_some(),
                            Invariant::Isolation,
                            || format!("session {session} was ended: {reason}, {fault:?}"),
                        )?;
                        violated = true;
                        self.model.violations += 1;
                        self.model.abandoned += scene.ledger.close(self.number, session);
                    } else {
                        let told = self.model.ended.remove(&session);
                        // It may have ended by itself just before it was made to.
                        let agrees = told == Some(reason)
                            || (told.is_some() && !is_honest && fault.is_some());
                        ensure(agrees, Invariant::Isolation, || {
                            format!("session {session} ended with {reason}, not {told:?}")
                        })?;
                        self.model.violations += u64::from(fault.is_some());
                    }
                    if let Some(guest) = scene.guests.get_mut(&session) {
                        guest.stage = Stage::Ended;
                    }
                }
                Notice::Reloaded { .. } | Notice::Shown { .. } => {}
                Notice::HandedOver { session, .. } => {
                    ensure(false, Invariant::Isolation, || {
                        format!("session {session} was handed over, which nobody asked for")
                    })?;
                }
                Notice::Drained { .. } => {
                    let open = scene.ledger.in_flight(self.number);
                    let is_due = self.model.phase == Phase::Draining && open == 0;
                    ensure(is_due || self.unsettled > 0, Invariant::Rest, || {
                        format!("worker {} says drained with {open} in flight", self.number)
                    })?;
                    if self.model.phase == Phase::Draining {
                        self.model.phase = Phase::Drained;
                    }
                }
            }
        }
        Ok(violated)
    }

    /// Looks into the rings of honest clients: what has been completed is what must be, and was
    /// rightly rejected or taken in order.
    fn observe(&mut self, expected: &mut Expected, scene: &mut Scene) -> Checked {
        let ids = self.model.live.iter().chain(&expected.stopped);
        for id in ids {
            let Some(guest) = scene.guests.get_mut(id).filter(|g| g.is_honest()) else {
                continue;
            };
            let mut taken = expected.sent.remove(id).unwrap_or_default();
            let seen = guest.observe()?;
            if guest.sleeps && !seen.is_empty() {
                ensure(guest.was_woken(), Invariant::Progress, || {
                    format!("client {id} sleeps beside {} completions", seen.len())
                })?;
                guest.sleeps = false;
            }
            let is_draining = self.model.phase != Phase::Serving;
            for completion in seen {
                let (mark, code) = (completion.mark, completion.code);
                scene
                    .trace
                    .note(format_args!("session {id}: {mark} {code}"));
                match expected.completions.remove(&(*id, mark)) {
                    Some(right) => ensure(code == right, Invariant::ExactlyOnce, || {
                        format!("{mark} completed with {code}, {right} is right")
                    })?,
                    None => {
                        let situation = Situation {
                            is_draining,
                            routes: &scene.plan.routes,
                            rights: &guest.rights,
                            admissions: &scene.admissions,
                            max_payload: scene.max_payload,
                        };
                        let verdict = scene.ledger.asked(mark).map(|asked| situation.judge(asked));
                        ensure(
                            verdict.is_some_and(|verdict| verdict.rejects(code)),
                            Invariant::ExactlyOnce,
                            || format!("{mark} completed with {code}, {verdict:?} is right"),
                        )?;
                        taken.push(mark);
                    }
                }
                scene.ledger.completed(*id, mark, code)?;
            }
            taken.sort_unstable();
            let first = guest.accept(taken.len());
            ensure(first == taken, Invariant::ExactlyOnce, || {
                format!("session {id}: taken were {taken:?}, {first:?} came first")
            })?;
            let most = scene.plan.burst as usize * if expected.stopped.is_empty() { 1 } else { 2 };
            ensure(taken.len() <= most, Invariant::Isolation, || {
                format!("session {id}: {} were taken at once", taken.len())
            })?;
            self.model.took |= !taken.is_empty();
            self.model.accepted += taken.len() as u64;
        }
        for id in &expected.stopped {
            scene.ledger.lose(*id);
        }
        match expected.completions.first_key_value() {
            Some(((id, mark), code)) => Err(broken(
                Invariant::InTime,
                format!("session {id}: {mark} should have completed with {code}"),
            )),
            None => Ok(()),
        }
    }

    fn check_counters(&mut self, expected: &Expected, violated: bool, scene: &Scene) -> Checked {
        let number = self.number;
        let metrics = &self.metrics;
        let completed: u64 = Code::ALL
            .iter()
            .map(|code| metrics.completions(*code))
            .sum();
        let (accepted, abandoned) = (metrics.accepted.get(), metrics.abandoned.get());
        let held = u64::from(self.worker.in_flight());
        ensure(
            accepted == completed + held + abandoned,
            Invariant::Books,
            || format!("worker {number}: {accepted} = {completed} + {held} + {abandoned} is wrong"),
        )?;
        ensure(metrics.in_flight.get() == held, Invariant::Books, || {
            format!("worker {number}: {held} are in flight, the gauge says otherwise")
        })?;
        if self.unsettled > 0 {
            self.unsettled -= 1;
            self.model.late = metrics.late_replies.get();
            return Ok(());
        }
        let open = scene.ledger.in_flight(number) as u64;
        ensure(held == open, Invariant::Books, || {
            format!("worker {number}: {held} are in flight, {open} is right")
        })?;
        let sessions = (metrics.sessions.get(), self.model.live.len() as u64);
        ensure(sessions.0 == sessions.1, Invariant::Books, || {
            format!(
                "worker {number}: {} sessions, {} is right",
                sessions.0, sessions.1
            )
        })?;
        ensure(self.model.ended.is_empty(), Invariant::Rest, || {
            format!(
                "worker {number} has not said that {:?} ended",
                self.model.ended
            )
        })?;
        let untold = self.model.phase == Phase::Draining && open == 0;
        ensure(!untold, Invariant::Progress, || {
            format!("worker {number} is drained and has not said so")
        })?;
        let violations = metrics.violations().map(|(_, count)| count).sum::<u64>();
        ensure(
            violations == self.model.violations,
            Invariant::Books,
            || format!("worker {number}: {violations} violations are counted, not all were told"),
        )?;
        let late = metrics.late_replies.get();
        let doubtful = if violated { expected.doubtful } else { 0 };
        ensure(
            (self.model.late..=self.model.late + doubtful).contains(&late),
            Invariant::Books,
            || {
                format!(
                    "worker {number}: {late} late replies, {} is right",
                    self.model.late
                )
            },
        )?;
        self.model.late = late;
        if !self.model.had_hostile {
            let model = (self.model.accepted, self.model.abandoned);
            ensure((accepted, abandoned) == model, Invariant::Books, || {
                format!("worker {number}: {accepted}, {abandoned} abandoned: {model:?} is right")
            })?;
        }
        Ok(())
    }
}

/// A request ends now with this code, if it is open: its completion is expected. Returns whether it
/// was open.
fn expect_end(
    token: Token,
    code: Code,
    bytes: u64,
    expected: &mut Expected,
    scene: &mut Scene,
) -> bool {
    let Some(flight) = scene.ledger.end(token, code) else {
        return false;
    };
    let Some(mark) = flight.mark else {
        expected.doubtful += 1;
        return true;
    };
    let fits = scene
        .guests
        .get(&flight.session)
        .is_none_or(|guest| bytes <= u64::from(guest.message_size()));
    let code = if fits { code } else { Code::BadReply };
    debug_assert!(code.outcome() != Outcome::Rejected || bytes == 0, "no body");
    expected.completions.insert((flight.session, mark), code);
    true
}
