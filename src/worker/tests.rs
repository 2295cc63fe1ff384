//! The worker, stepped by hand: a clock that moves when told, an upstream that answers when told,
//! and real clients at the other end of real regions.

use core::task::Waker;
use core::time::Duration;
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use ipc_ringbuf::error::EndReason;
use ipc_ringbuf::layout::Ring;
use ipc_ringbuf::primitive::Ordering;
use ipc_ringbuf::region::Region;
use ipc_ringbuf::spsc::RingMemory as _;
use ipc_ringbuf::sys::{Bell, BellPage};
use ipc_ringbuf::{Client, Code, Outcome, Request as Ask, SubmitError};
use proptest::prelude::*;

use super::charges::{Charges, UserLoad};
use super::cycle::Worker;
use super::mailbox::{Mail, NewSession, Notice, Post, mailbox};
use super::parts::Parts;
use super::timers::TICK;
use crate::bridge::{Admission, Admissions, Duty as _, Reply, Request, Token, Upstream};
use crate::clock::{Clock, Nanos};
use crate::metrics::worker::WorkerMetrics;
use crate::route::Route;

mod gates;

#[expect(dead_code, reason = "the tests of ringbuf use more of it")]
#[path = "../../ringbuf/tests/support/mod.rs"]
mod support;

const ENTRIES: u32 = 8;
const MESSAGE: u32 = 512;
const MAX_PAYLOAD: u32 = 300;

#[derive(Clone)]
struct Hand(Arc<Mutex<Nanos>>);

impl Clock for Hand {
    fn now(&self) -> Nanos {
        *self.0.lock().unwrap()
    }
}

struct Script {
    room: usize,
    sent: VecDeque<Request>,
    replies: VecDeque<Reply>,
    flushes: u32,
}

/// The upstream, and the test's handle to it.
#[derive(Clone)]
struct Scripted(Arc<Mutex<Script>>);

impl Scripted {
    fn script(&self) -> MutexGuard<'_, Script> {
        self.0.lock().unwrap()
    }
}

impl Upstream for Scripted {
    fn room(&self) -> usize {
        self.script().room
    }

    fn send(&mut self, request: Request) -> Result<(), Request> {
        let mut script = self.script();
        let Some(room) = script.room.checked_sub(1) else {
            return Err(request);
        };
        script.room = room;
        script.sent.push_back(request);
        Ok(())
    }

    fn flush(&mut self) {
        self.script().flushes += 1;
    }

    fn receive(&mut self) -> Option<Reply> {
        self.script().replies.pop_front()
    }

    fn has_replies(&self) -> bool {
        !self.script().replies.is_empty()
    }

    fn max_payload(&self) -> u32 {
        MAX_PAYLOAD
    }

    fn arm(&self, _: &Waker) {}

    fn disarm(&self) {}
}

struct Stage {
    worker: Worker<Scripted, Hand>,
    upstream: Scripted,
    clock: Hand,
    post: Post,
    metrics: Arc<WorkerMetrics>,
    admissions: Arc<Admissions>,
    /// Wakes nobody: the worker never sleeps here.
    _bell: Bell,
    sessions: u32,
}

impl Stage {
    fn new(burst: u32, max_in_flight: u32) -> Self {
        Self::with(burst, max_in_flight, 64, Route::decide())
    }

    /// A mailbox that is made for so many sessions.
    fn with_mailbox(burst: u32, max_in_flight: u32, sessions: usize) -> Self {
        Self::with(burst, max_in_flight, sessions, Route::decide())
    }

    fn of(burst: u32, max_in_flight: u32, route: Route) -> Self {
        Self::with(burst, max_in_flight, 64, route)
    }

    fn with(burst: u32, max_in_flight: u32, sessions: usize, route: Route) -> Self {
        let (own, bell) = (Bell::new().unwrap(), Bell::new().unwrap());
        let (post, mailbox) = mailbox(own.ringer().unwrap(), bell.ringer().unwrap(), sessions);
        let upstream = Scripted(Arc::new(Mutex::new(Script {
            room: usize::MAX,
            sent: VecDeque::new(),
            replies: VecDeque::new(),
            flushes: 0,
        })));
        let clock = Hand(Arc::new(Mutex::new(Nanos(1_000_000_000))));
        let metrics = Arc::new(WorkerMetrics::for_routes(1));
        let admissions = Arc::new(Admissions::new(1));
        let parts = Parts {
            number: 0,
            upstream: upstream.clone(),
            clock: clock.clone(),
            routes: [route].into(),
            admissions: Arc::clone(&admissions),
            metrics: Arc::clone(&metrics),
            mailbox,
            bell: own,
            page: Arc::new(BellPage::create().unwrap()),
            max_in_flight,
            burst,
            max_queue_delay: Duration::ZERO,
            slow_client_timeout: Duration::from_secs(30),
            first_generation: 7,
        };
        Self {
            worker: Worker::new(parts).unwrap(),
            upstream,
            clock,
            post,
            metrics,
            admissions,
            _bell: bell,
            sessions: 0,
        }
    }

    /// A client whose session has the next number.
    fn attach(&mut self) -> Client {
        self.attach_shared(Charges::default()).0
    }

    fn attach_with(&mut self, charges: Charges) -> Client {
        self.attach_shared(charges).0
    }

    /// The same, and a second mapping of its region.
    fn attach_shared(&mut self, charges: Charges) -> (Client, Arc<Region>) {
        let pair = support::pair(ENTRIES, MESSAGE);
        self.sessions += 1;
        let session = NewSession {
            id: self.sessions,
            port: pair.port,
            eventfd: pair.eventfd,
            routes: [true].into(),
            tenant: None,
            charges,
        };
        self.post.send(Mail::Attach(Box::new(session))).unwrap();
        self.worker.do_work();
        (pair.client, pair.shared)
    }

    fn advance(&self, by: Duration) {
        let mut now = self.clock.0.lock().unwrap();
        *now = now.after(by);
    }

    fn room(&self, room: usize) {
        self.upstream.script().room = room;
    }

    /// What has been handed over since the last call.
    fn sent(&self) -> Vec<Request> {
        self.upstream.script().sent.drain(..).collect()
    }

    fn answer(&self, token: Token, payload: Bytes) {
        let reply = Reply {
            payload,
            ..Reply::bare(token, Code::Ok)
        };
        self.upstream.script().replies.push_back(reply);
    }
}

fn submit(client: &mut Client, mark: u64, timeout: Duration) {
    let request = Ask::to(0).user_data(mark).timeout(timeout);
    client.submit(request).unwrap();
    client.flush();
}

fn take(client: &mut Client) -> Vec<(u64, Code)> {
    let mut taken = Vec::new();
    while let Some(completion) = client.poll() {
        taken.push((completion.ticket().0, completion.code()));
    }
    taken
}

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn without_room_nothing_is_taken_and_the_client_sees_full() {
    for (room, max_in_flight) in [(2, 64), (usize::MAX, 2)] {
        let mut stage = Stage::new(64, max_in_flight);
        let mut client = stage.attach();
        stage.room(room);
        for mark in 0..u64::from(ENTRIES) {
            submit(&mut client, mark, SECOND);
        }
        stage.worker.do_work();
        let sent = stage.sent();
        assert_eq!((sent.len(), stage.metrics.accepted.get()), (2, 2));
        assert!(matches!(
            client.submit(Ask::to(0)),
            Err(SubmitError::Full(_))
        ));
        assert_eq!(stage.worker.do_work(), 0);
        // Room comes back: those that waited go on.
        stage.room(64);
        for request in sent {
            stage.answer(request.token, Bytes::new());
        }
        stage.worker.do_work();
        assert!(!stage.sent().is_empty());
    }
}

#[test]
fn a_deadline_is_kept_within_a_tick_and_never_early() {
    let mut stage = Stage::new(64, 64);
    let mut client = stage.attach();
    submit(&mut client, 1, Duration::from_millis(10));
    stage.worker.do_work();
    stage.advance(Duration::from_millis(10) - Duration::from_nanos(1));
    stage.worker.do_work();
    assert_eq!(take(&mut client), []);
    stage.advance(TICK);
    stage.worker.do_work();
    assert_eq!(take(&mut client), [(1, Code::Timeout)]);
    assert_eq!(stage.worker.in_flight(), 0);
}

#[test]
fn time_in_the_ring_counts_and_what_ran_out_there_is_not_sent() {
    let mut stage = Stage::new(64, 64);
    let mut client = stage.attach();
    submit(&mut client, 1, Duration::from_secs(5));
    submit(&mut client, 2, Duration::from_secs(60));
    // The client's clock is the system's.
    *stage.clock.0.lock().unwrap() = Nanos(ipc_ringbuf::monotonic_ns());
    stage.advance(Duration::from_secs(6));
    stage.worker.do_work();
    assert_eq!(take(&mut client), [(1, Code::ExpiredUnsent)]);
    let sent = stage.sent();
    let left = sent[0].deadline.until(stage.clock.now());
    assert_eq!(sent.len(), 1);
    assert!(
        left > Duration::from_secs(40) && left <= Duration::from_secs(54),
        "{left:?}"
    );
}

#[test]
fn an_answer_that_comes_too_late_or_again_completes_nothing() {
    let mut stage = Stage::new(64, 64);
    let mut client = stage.attach();
    submit(&mut client, 1, Duration::from_millis(5));
    stage.worker.do_work();
    let late = stage.sent().remove(0).token;
    stage.advance(SECOND);
    stage.worker.do_work();
    assert_eq!(take(&mut client), [(1, Code::Timeout)]);
    // The next request takes the same place, with another generation.
    submit(&mut client, 2, SECOND);
    stage.worker.do_work();
    let token = stage.sent().remove(0).token;
    assert_eq!(token.place(), late.place());
    for token in [late, token, token] {
        stage.answer(token, Bytes::new());
    }
    stage.worker.do_work();
    assert_eq!(take(&mut client), [(2, Code::Ok)]);
    assert_eq!(stage.metrics.late_replies.get(), 2);
}

#[test]
fn what_was_in_flight_for_a_session_never_reaches_its_successor() {
    let mut stage = Stage::new(64, 64);
    let mut first = stage.attach();
    submit(&mut first, 1, SECOND);
    stage.worker.do_work();
    let token = stage.sent().remove(0).token;
    let detach = Mail::Detach {
        session: 1,
        reason: EndReason::PeerDied,
    };
    stage.post.send(detach).unwrap();
    stage.worker.do_work();
    assert!(matches!(
        stage.post.notice(),
        Some(Notice::Ended { session: 1, .. })
    ));
    assert_eq!(stage.metrics.abandoned.get(), 1);
    let mut second = stage.attach();
    submit(&mut second, 2, SECOND);
    stage.worker.do_work();
    stage.answer(token, Bytes::new());
    stage.worker.do_work();
    assert_eq!(take(&mut second), []);
    assert_eq!(stage.worker.in_flight(), 1);
}

#[test]
fn a_notice_for_which_there_was_no_room_is_told_although_nobody_rings() {
    let mut stage = Stage::with_mailbox(64, 64, 0);
    for session in 1..=3 {
        drop(stage.attach());
        let reason = EndReason::PeerDied;
        stage.post.send(Mail::Detach { session, reason }).unwrap();
        stage.worker.do_work();
    }
    assert!(stage.worker.prepare_to_sleep());
    let ended = |session: u32| {
        let notice = stage.post.notice();
        matches!(notice, Some(Notice::Ended { session: id, .. }) if id == session)
    };
    assert!(ended(1) && ended(2));
    assert_eq!(stage.post.notice(), None);
    let due = stage.worker.next_due();
    assert!(
        due <= stage.clock.now().after(TICK),
        "it sleeps until {due}"
    );
    stage.worker.awake();
    stage.worker.do_work();
    assert!(stage.worker.prepare_to_sleep());
    assert_eq!(stage.worker.next_due(), Nanos::NEVER);
    assert!(matches!(
        stage.post.notice(),
        Some(Notice::Ended { session: 3, .. })
    ));
}

#[test]
fn a_drain_finishes_what_is_in_flight_and_a_stop_does_not_wait() {
    let mut stage = Stage::new(64, 64);
    let mut client = stage.attach();
    submit(&mut client, 1, SECOND);
    submit(&mut client, 2, SECOND);
    stage.worker.do_work();
    let sent = stage.sent();
    stage.post.send(Mail::Drain).unwrap();
    submit(&mut client, 3, SECOND);
    stage.worker.do_work();
    assert_eq!(take(&mut client), [(3, Code::Draining)]);
    assert_eq!(stage.post.notice(), None);
    stage.answer(sent[0].token, Bytes::new());
    stage.worker.do_work();
    assert_eq!(stage.post.notice(), None);
    stage.post.send(Mail::Stop).unwrap();
    stage.worker.do_work();
    let codes = take(&mut client);
    assert_eq!(codes, [(1, Code::Ok), (2, Code::GatewayRestarted)]);
    assert!(stage.worker.finished());
}

#[test]
fn a_greedy_session_does_not_keep_a_polite_one_waiting() {
    let mut stage = Stage::new(2, 64);
    let (mut greedy, mut polite) = (stage.attach(), stage.attach());
    for mark in 0..u64::from(ENTRIES) {
        submit(&mut greedy, mark, SECOND);
    }
    submit(&mut polite, 100, SECOND);
    stage.worker.do_work();
    let sessions: Vec<u32> = stage.sent().iter().map(|request| request.session).collect();
    assert_eq!(sessions.iter().filter(|session| **session == 1).count(), 2);
    assert_eq!(sessions.iter().filter(|session| **session == 2).count(), 1);
}

#[test]
fn what_was_handed_over_before_the_session_broke_is_announced() {
    let mut stage = Stage::new(64, 64);
    let (mut client, shared) = stage.attach_shared(Charges::default());
    submit(&mut client, 1, SECOND);
    submit(&mut client, 2, SECOND);
    // The second entry names a block that does not exist.
    shared
        .ring(Ring::Submission)
        .tail()
        .store((u64::from(u32::MAX) << 32) | 2, Ordering::Release);
    assert_eq!(stage.worker.do_work(), 1);
    let violations: u64 = stage.metrics.violations().map(|(_, count)| count).sum();
    assert_eq!(violations, 1);
    assert_eq!(stage.sent().len(), 1);
    // Whoever takes requests from the link sleeps until it is told of them.
    assert_eq!(stage.upstream.script().flushes, 1);
}

#[test]
fn room_that_comes_every_other_cycle_goes_to_each_session_in_turn() {
    let mut stage = Stage::new(1, 1);
    let mut clients = [stage.attach(), stage.attach()];
    for mark in 0..u64::from(ENTRIES) {
        for client in &mut clients {
            submit(client, mark, SECOND);
        }
    }
    let mut served = Vec::new();
    for _ in 0..4 {
        stage.worker.do_work();
        stage.worker.do_work();
        for request in stage.sent() {
            served.push(request.session);
            stage.answer(request.token, Bytes::new());
        }
    }
    served.sort_unstable();
    assert_eq!(served, [1, 1, 2, 2]);
}

#[test]
fn what_may_not_pass_is_rejected_at_once_with_its_code() {
    let mut stage = Stage::new(64, 64);
    let mut client = stage.attach();
    let large = [b'x'; MAX_PAYLOAD as usize + 1];
    let asks = [
        (Ask::to(9), Code::BadRoute),
        (Ask::to(0).payload(&large), Code::TooLarge),
        (Ask::to(0).header("ipcgw-x", "y"), Code::BadHeader),
    ];
    for (ask, code) in asks {
        client.submit(ask.user_data(1)).unwrap();
        client.flush();
        stage.worker.do_work();
        assert_eq!(take(&mut client), [(1, code)]);
        assert_eq!(code.outcome(), Outcome::Rejected);
    }
    let retry_after_ms = 1500;
    stage
        .admissions
        .set(0, Admission::Closed { retry_after_ms });
    submit(&mut client, 2, SECOND);
    stage.worker.do_work();
    let completion = client.poll().unwrap();
    assert_eq!(completion.code(), Code::Overloaded);
    assert_eq!(completion.retry_after(), Some(Duration::from_millis(1500)));
    assert!(stage.sent().is_empty());
}

#[derive(Clone, Debug)]
enum Step {
    Submit {
        client: bool,
        timeout_ms: u64,
    },
    Work,
    Answer(prop::sample::Index),
    /// Answers one that was answered, timed out or abandoned.
    AnswerAgain(prop::sample::Index),
    Advance(u64),
    Room(usize),
    Take {
        client: bool,
    },
    /// The client goes, and another comes.
    Replace {
        client: bool,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let index = any::<prop::sample::Index>;
    prop_oneof![
        6 => (any::<bool>(), 1..50_u64)
            .prop_map(|(client, timeout_ms)| Step::Submit { client, timeout_ms }),
        6 => Just(Step::Work),
        4 => index().prop_map(Step::Answer),
        1 => index().prop_map(Step::AnswerAgain),
        2 => (0..30_u64).prop_map(Step::Advance),
        1 => (0..6_usize).prop_map(Step::Room),
        3 => any::<bool>().prop_map(|client| Step::Take { client }),
        1 => any::<bool>().prop_map(|client| Step::Replace { client }),
    ]
}

/// A client and the marks for which it has no completion yet.
struct Seat {
    client: Client,
    session: u32,
    open: HashSet<u64>,
}

impl Seat {
    fn new(stage: &mut Stage) -> Self {
        let client = stage.attach();
        Self {
            client,
            session: stage.sessions,
            open: HashSet::new(),
        }
    }

    /// Each completion is for a request that waits for one, and carries that request's own bytes.
    fn take(&mut self) {
        while let Some(completion) = self.client.poll() {
            let mark = completion.ticket().0;
            assert!(self.open.remove(&mark), "{mark} completed twice");
            if completion.code() == Code::Ok {
                assert_eq!(completion.payload(), mark.to_le_bytes());
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Whatever happens in whatever order, every accepted request completes exactly once or is
    /// abandoned with its session, and the books balance.
    #[test]
    fn every_accepted_request_completes_exactly_once(
        steps in prop::collection::vec(step(), 1..200),
    ) {
        let mut stage = Stage::new(3, 10);
        let mut seats = [Seat::new(&mut stage), Seat::new(&mut stage)];
        let mut waiting: Vec<Request> = Vec::new();
        let mut past: Vec<Token> = Vec::new();
        let mut asked: HashMap<u64, u32> = HashMap::new();
        let mut next = 0;
        for step in steps {
            match step {
                Step::Submit { client, timeout_ms } => {
                    let seat = &mut seats[usize::from(client)];
                    let payload = u64::to_le_bytes(next);
                    let request = Ask::to(0).user_data(next).payload(&payload);
                    let request = request.timeout(Duration::from_millis(timeout_ms));
                    if seat.client.submit(request).is_ok() {
                        seat.client.flush();
                        seat.open.insert(next);
                        asked.insert(next, seat.session);
                        next += 1;
                    }
                }
                Step::Work => {
                    stage.worker.do_work();
                }
                Step::Answer(which) if !waiting.is_empty() => {
                    let request = waiting.swap_remove(which.index(waiting.len()));
                    stage.answer(request.token, request.payload());
                    past.push(request.token);
                }
                Step::AnswerAgain(which) if !past.is_empty() => {
                    stage.answer(past[which.index(past.len())], Bytes::from_static(b"stale"));
                }
                Step::Answer(_) | Step::AnswerAgain(_) => {}
                Step::Advance(ms) => stage.advance(Duration::from_millis(ms)),
                Step::Room(room) => stage.room(room),
                Step::Take { client } => seats[usize::from(client)].take(),
                Step::Replace { client } => {
                    let session = seats[usize::from(client)].session;
                    let reason = EndReason::PeerDied;
                    stage.post.send(Mail::Detach { session, reason }).unwrap();
                    seats[usize::from(client)] = Seat::new(&mut stage);
                }
            }
            for request in stage.sent() {
                let mark = u64::from_le_bytes(request.payload()[..].try_into().unwrap());
                prop_assert_eq!(asked.get(&mark), Some(&request.session));
                waiting.push(request);
            }
            let held = stage.worker.in_flight();
            prop_assert!(held <= 10);
        }
        // Time heals everything: with room again, all are taken and all run out.
        stage.room(usize::MAX);
        for _ in 0..100 {
            stage.worker.do_work();
            stage.advance(Duration::from_millis(60));
        }
        for seat in &mut seats {
            seat.take();
            prop_assert!(seat.open.is_empty(), "{:?} never completed", seat.open);
        }
        let metrics = &stage.metrics;
        let completed: u64 = Code::ALL.iter().map(|code| metrics.completions(*code)).sum();
        prop_assert_eq!(metrics.accepted.get(), completed + metrics.abandoned.get());
        prop_assert_eq!(stage.worker.in_flight(), 0);
    }
}

#[test]
fn a_user_has_no_more_in_flight_than_it_may_and_nothing_stays_charged() {
    let mut stage = Stage::new(64, 64);
    let load = Arc::new(UserLoad::default());
    let mut clients: Vec<Client> = (0..2)
        .map(|_| stage.attach_with(Charges::new(Arc::clone(&load), 3)))
        .collect();
    for client in &mut clients {
        for mark in 0..4 {
            submit(client, mark, SECOND);
        }
    }
    stage.worker.do_work();
    let sent = stage.sent();
    assert_eq!((sent.len(), load.get()), (3, 3));
    assert_eq!(stage.metrics.completions(Code::Quota), 5);
    // Answered, timed out, and left behind by its session.
    stage.answer(sent[0].token, Bytes::new());
    stage.worker.do_work();
    assert_eq!(load.get(), 2);
    stage.advance(2 * SECOND);
    stage.worker.do_work();
    assert_eq!(load.get(), 0);
    clients.iter_mut().for_each(|client| drop(take(client)));
    submit(&mut clients[0], 9, SECOND);
    submit(&mut clients[1], 9, SECOND);
    stage.worker.do_work();
    assert_eq!(load.get(), 2);
    for session in [1, 2] {
        let reason = EndReason::PeerDied;
        stage.post.send(Mail::Detach { session, reason }).unwrap();
    }
    stage.worker.do_work();
    assert_eq!(load.get(), 0);
    assert_eq!(stage.metrics.abandoned.get(), 2);
}
