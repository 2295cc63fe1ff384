//! The hot paths for `tools/profile.sh instructions`, which counts their instructions under
//! callgrind. Unlike times, the counts repeat exactly: one thread, a hand clock, no address or
//! number that is drawn by chance.
//!
//! Each path is measured in rounds. What stands around a path, to bring it back to where it began,
//! is not counted: callgrind collects only while [`measured`] runs, and writes its counts out and
//! begins anew at [`written_out`]. For each path, in order, a line goes to the standard output:
//! `name operations`. Without callgrind this is only a test that the paths work.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark fails by panicking and says what it did"
)]

use std::cell::Cell;
use std::hint::black_box;
use std::io::Write as _;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use ipc_gateway::bridge::{self, Admissions, Reply, Token, Upstream as _};
use ipc_gateway::clock::{Clock, Nanos};
use ipc_gateway::metrics::nats::NatsMetrics;
use ipc_gateway::metrics::worker::WorkerMetrics;
use ipc_gateway::nats::{Desk, Held, Incoming, Line, Message, Out};
use ipc_gateway::route::{ReplyContract, Route};
use ipc_gateway::router_contract::{
    Decimal, Verdict, check_client_headers, classify, outgoing_headers,
};
use ipc_gateway::worker::breaker::Pass;
use ipc_gateway::worker::gate::Gates;
use ipc_gateway::worker::in_flight::{Entry, InFlight};
use ipc_gateway::worker::timers::{TICK, Timers};
use ipc_ringbuf::doorbell::{AWAKE, asleep};
use ipc_ringbuf::entry::Cqe;
use ipc_ringbuf::layout::Ring;
use ipc_ringbuf::port::{Block, Rung};
use ipc_ringbuf::spsc::{Consumer, Producer};
use ipc_ringbuf::{Code, Request, headers};
use stage::{ENTRIES, Stage};
use support::{Pair, pair};

#[path = "stage/mod.rs"]
mod stage;
#[expect(dead_code, reason = "the tests of ringbuf use more of it")]
#[path = "../ringbuf/tests/support/mod.rs"]
mod support;

/// As the program: what a hot path allocates is counted with it.
#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Rounds of each path. The first are not counted: they grow what grows.
const ROUNDS: u32 = 64;
const WARM_UP: u32 = 16;

/// The section that is counted.
#[inline(never)]
fn measured(section: &mut dyn FnMut()) {
    section();
}

/// The end of a path: callgrind writes out what it has counted.
#[inline(never)]
fn written_out() {
    // Not to be empty: calls of what does nothing are left out.
    black_box(());
}

/// Counts one round of a path, or none of those that only grow what grows.
fn round(number: u32, section: &mut dyn FnMut()) {
    if number < WARM_UP {
        section();
    } else {
        measured(section);
    }
}

/// Ends a path of so many operations a round.
fn end(name: &str, each: u32) {
    written_out();
    println!("{name} {}", ROUNDS * each);
}

/// Counts a path: in each round `prepare`, which is not counted, then `section`, which does `each`
/// operations.
fn count<T>(
    name: &str,
    each: u32,
    state: &mut T,
    mut prepare: impl FnMut(&mut T),
    mut section: impl FnMut(&mut T),
) {
    for number in 0..WARM_UP + ROUNDS {
        prepare(state);
        round(number, &mut || section(state));
    }
    end(name, each);
}

/// A clock that stands still until it is moved.
#[derive(Clone, Default)]
struct Hand(Rc<Cell<Nanos>>);

impl Hand {
    fn advance(&self, by: Duration) {
        self.0.set(self.0.get().after(by));
    }
}

impl Clock for Hand {
    fn now(&self) -> Nanos {
        self.0.get()
    }
}

fn rings() {
    let Pair { shared, .. } = pair(ENTRIES, 64);
    let mut ends = (
        Producer::new(shared.ring(Ring::Submission)),
        Consumer::new(shared.ring(Ring::Submission)),
    );
    for batch in [1, 32] {
        count(
            &format!("ring/push_publish_pop_release/{batch}"),
            batch,
            &mut ends,
            |_| {},
            |(producer, consumer)| {
                for value in 0..batch {
                    producer.push(black_box(value)).unwrap().unwrap();
                }
                producer.publish();
                for value in 0..batch {
                    assert_eq!(consumer.pop(), Ok(Some(value)));
                }
                consumer.release();
            },
        );
    }
}

/// The gateway's end as simple as can be: takes everything and completes it with its own body.
fn echo(pair: &mut Pair, body: &mut BytesMut) {
    while let Some(submission) = pair.port.pop().unwrap() {
        body.clear();
        pair.port
            .copy_body(submission.block, &submission.sqe.unwrap(), body);
        let cqe = Cqe::bare(submission.user_data, Code::Ok);
        pair.port
            .complete(submission.block, cqe, &[], body)
            .unwrap();
    }
    pair.port.publish();
    assert_eq!(pair.port.ring(), Rung::NotNeeded);
}

fn submit(pair: &mut Pair, batch: u32, payload: &[u8]) {
    for _ in 0..batch {
        let request = Request::to(0).payload(payload);
        pair.client.submit(request).unwrap();
    }
    pair.client.flush();
}

fn take(pair: &mut Pair, batch: u32) {
    for _ in 0..batch {
        assert_eq!(pair.client.poll().unwrap().code(), Code::Ok);
    }
    assert!(pair.client.poll().is_none());
}

/// The three parts of a request's way through shared memory, and all of them.
fn sessions() {
    for bytes in [64_u32, 1024] {
        let payload = vec![b'x'; bytes as usize];
        for batch in [1, 32] {
            let name = |part| format!("session/{part}/{bytes}_bytes/{batch}");
            let state = &mut (pair(ENTRIES, 1024), BytesMut::new());
            count(
                &name("submit"),
                batch,
                state,
                |(pair, body)| {
                    echo(pair, body);
                    while pair.client.poll().is_some() {}
                },
                |(pair, _)| submit(pair, batch, &payload),
            );
            count(
                &name("echo"),
                batch,
                state,
                |(pair, body)| {
                    echo(pair, body);
                    while pair.client.poll().is_some() {}
                    submit(pair, batch, &payload);
                },
                |(pair, body)| echo(pair, body),
            );
            count(
                &name("receive"),
                batch,
                state,
                |(pair, body)| {
                    while pair.client.poll().is_some() {}
                    submit(pair, batch, &payload);
                    echo(pair, body);
                },
                |(pair, _)| take(pair, batch),
            );
            count(
                &name("whole"),
                batch,
                state,
                |(pair, _)| while pair.client.poll().is_some() {},
                |(pair, body)| {
                    submit(pair, batch, &payload);
                    echo(pair, body);
                    take(pair, batch);
                },
            );
        }
    }
}

fn arena() {
    const LARGEST: u32 = 16 * 1024;
    for bytes in [64_u32, 1024, LARGEST] {
        let payload = vec![b'x'; bytes as usize];
        let mut state = pair(2, LARGEST);
        // What is counted is the loan's write alone: neither the block taken nor given back.
        for number in 0..WARM_UP + ROUNDS {
            let mut loan = state.client.loan(Request::to(0)).unwrap();
            round(number, &mut || {
                assert_eq!(loan.write(&payload).unwrap(), payload.len());
            });
        }
        end(&format!("arena/copy_in/{bytes}_bytes"), 1);

        submit(&mut state, 1, &payload);
        let submission = state.port.pop().unwrap().unwrap();
        let sqe = submission.sqe.unwrap();
        count(
            &format!("arena/copy_out/{bytes}_bytes"),
            1,
            &mut BytesMut::with_capacity(LARGEST as usize),
            BytesMut::clear,
            |body| state.port.copy_body(submission.block, &sqe, body),
        );
    }
}

/// A block as only a port hands it out.
fn block() -> Block {
    let mut pair = pair(2, 64);
    submit(&mut pair, 1, &[]);
    pair.port.pop().unwrap().unwrap().block
}

fn entry(block: Block, accepted: Nanos) -> Entry {
    Entry {
        seat: 0,
        session: 1,
        block,
        route: 0,
        pass: Pass::default(),
        user_data: 0,
        accepted,
        ring_wait_ns: 0,
        deadline: accepted.after(Duration::from_secs(5)),
    }
}

fn books() {
    const POPULATION: u32 = 1_000;
    let entry = entry(block(), Nanos(0));
    let mut slab = InFlight::new(0, 65_536, 7);
    let mut tokens: Vec<Token> = (0..POPULATION)
        .map(|_| slab.insert(entry).unwrap())
        .collect();
    count(
        "in_flight/insert_and_remove",
        32,
        &mut slab,
        |_| {},
        |slab| {
            for token in tokens.iter_mut().take(32) {
                assert!(slab.remove(*token).is_some());
                *token = slab.insert(black_box(entry)).unwrap();
            }
        },
    );

    let mut timers = Timers::new(Nanos(0));
    let deadline = Nanos(0).after(Duration::from_secs(5));
    for place in 0..POPULATION {
        timers.arm(place, deadline);
    }
    count(
        "timers/arm_and_disarm",
        32,
        &mut timers,
        |_| {},
        |timers| {
            for place in 0..32 {
                timers.disarm(black_box(place));
                timers.arm(place, deadline);
            }
        },
    );

    count(
        "timers/expire/32_of_32",
        32,
        &mut (Timers::new(Nanos(0)), Vec::with_capacity(32), Nanos(0)),
        |(timers, fired, now)| {
            fired.clear();
            for place in 0..32 {
                timers.arm(place, *now);
            }
            *now = now.after(TICK);
        },
        |(timers, fired, now)| {
            timers.expire(*now, fired);
            assert_eq!(fired.len(), 32);
        },
    );
    count(
        "timers/expire/none_of_1000",
        1,
        &mut (timers, Vec::new(), Nanos(0)),
        |(_, _, now)| *now = now.after(Duration::from_micros(1)),
        |(timers, fired, now)| {
            timers.expire(*now, fired);
            assert!(fired.is_empty());
        },
    );
}

fn gates() {
    let routes: Arc<[Route]> = [Route::decide()].into();
    let admissions = Arc::new(Admissions::new(1));
    let metrics = Arc::new(WorkerMetrics::for_routes(1));
    let limits = (Duration::from_millis(5), 65_536, 7);
    let mut gates = Gates::new(&routes, admissions, metrics, 0, limits, Nanos(0));
    let mut entry = entry(block(), Nanos(0));
    count(
        "gate/admit_and_leave",
        32,
        &mut gates,
        |_| {},
        |gates| {
            for _ in 0..32 {
                let now = Nanos(entry.accepted.0 + 1_000);
                assert!(gates.has_room(black_box(0), 1, 4, now));
                entry.pass = gates.admit(black_box(0), now).unwrap();
                entry.accepted = now;
                gates.left(black_box(&entry), Code::Ok, now);
            }
        },
    );
}

/// Whole cycles: each completes what the one before has taken, and takes as much again.
fn workers() {
    for bytes in [64, 1024] {
        for batch in [1, 32] {
            let payload = vec![b'x'; bytes];
            let clock = Hand::default();
            count(
                &format!("worker/cycle/{bytes}_bytes/{batch}"),
                batch,
                &mut Stage::new(clock.clone(), 1024),
                |stage| {
                    stage.take();
                    stage.submit(batch, &payload);
                    clock.advance(Duration::from_micros(10));
                },
                |stage| {
                    let _ = stage.worker.do_work();
                },
            );
        }
    }
    for idle in [0, 1, 10, 100, 1_000] {
        let clock = Hand::default();
        let mut stage = Stage::new(clock.clone(), 64);
        stage.seat_idle(idle);
        count(
            &format!("worker/cycle_beside_idle_sessions/{idle}"),
            1,
            &mut stage,
            |stage| {
                stage.take();
                stage.submit(1, &[b'x'; 64]);
                clock.advance(Duration::from_micros(10));
            },
            |stage| {
                let _ = stage.worker.do_work();
            },
        );
        count(
            &format!("worker/empty_cycle/{}_sessions", idle + 1),
            1,
            &mut stage,
            |stage| {
                stage.worker.do_work();
                stage.take();
                clock.advance(Duration::from_micros(10));
            },
            |stage| assert_eq!(stage.worker.do_work(), 0),
        );
    }
}

fn bells() {
    count(
        "bell/awake/ask_worker",
        1,
        &mut pair(2, 64),
        |_| {},
        |pair| assert_eq!(asleep(black_box(pair.page.word())), AWAKE),
    );
    count(
        "bell/awake/ask_client",
        1,
        &mut pair(2, 64),
        |_| {},
        |pair| assert_eq!(black_box(&pair.port).ring(), Rung::NotNeeded),
    );
}

fn request(token: Token) -> bridge::Request {
    bridge::Request {
        token,
        route: 0,
        session: 1,
        idempotent: false,
        accepted: Nanos(0),
        deadline: Nanos(0).after(Duration::from_secs(5)),
        body: Bytes::from_static(&[b'x'; 64]),
        header_len: 0,
        tenant: None,
    }
}

/// The hinge between the two threads, without and with the desk of the NATS side.
fn bridges() {
    let (worker, upstream) = bridge::link(1024, 1024, 0);
    count(
        "bridge/send_pop_answer_receive/32",
        32,
        &mut (worker, upstream),
        |_| {},
        |(worker, upstream)| {
            for place in 0..32 {
                worker.send(request(Token::new(0, place, 7))).unwrap();
            }
            worker.flush();
            while let Some(request) = upstream.pop() {
                let reply = Reply {
                    payload: request.payload(),
                    ..Reply::bare(request.token, Code::Ok)
                };
                upstream.answer(reply).unwrap();
            }
            upstream.flush();
            while let Some(reply) = worker.receive() {
                assert_eq!(black_box(reply).code, Code::Ok);
            }
        },
    );

    let (worker, upstream) = bridge::link(1024, 1024, 0);
    let route = Route {
        contract: ReplyContract::Opaque,
        ..Route::decide()
    };
    let metrics = Arc::new(NatsMetrics::default());
    let desk = Desk::new(vec![upstream], [route].into(), metrics, 7);
    count(
        "nats/desk/sent_and_answered/32",
        32,
        &mut (worker, desk, Vec::new(), 0),
        |(_, _, messages, generation)| {
            *generation += 1;
            let message = || Message {
                headers: Bytes::new(),
                payload: Bytes::from_static(&[b'x'; 64]),
            };
            messages.extend((0..32).map(|_| message()));
        },
        |(worker, desk, messages, generation)| {
            for place in 0..32 {
                let request = request(Token::new(0, place, *generation));
                desk.sent(Held::new(request, Nanos(1)), 1, Nanos(1));
            }
            for (place, message) in (0..).zip(messages.drain(..)) {
                desk.message(Token::new(0, place, *generation), message, Nanos(2));
            }
            desk.flush();
            let mut answers = 0;
            while let Some(reply) = worker.receive() {
                assert_eq!(black_box(reply).code, Code::Ok);
                answers += 1;
            }
            assert_eq!(answers, 32);
        },
    );
}

/// Requests written as they go to a server, and answers cut from what comes back.
fn wire() {
    const REPLY: &str = "_INBOX.aaaaaaaaaaaaaaaaaaaaaa.1.rAAAAAAAAAAAbbbbbb";
    let payload = Bytes::from_static(&[b'x'; 64]);
    count(
        "nats/wire/write/32",
        32,
        &mut Out::default(),
        |_| {},
        |out| {
            for _ in 0..32 {
                out.message(b"router.decide", REPLY.as_bytes(), b"", &payload);
            }
            let mut cx = Context::from_waker(Waker::noop());
            assert!(out.poll_flush(&mut tokio::io::sink(), &mut cx).is_ready());
        },
    );
    let message = format!("MSG {REPLY} 1 64\r\n{}\r\n", "x".repeat(64));
    let messages = message.repeat(32);
    count(
        "nats/wire/read/32",
        32,
        &mut Incoming::default(),
        |_| {},
        |incoming| {
            let mut cx = Context::from_waker(Waker::noop());
            let read = incoming.poll_read(&mut messages.as_bytes(), &mut cx);
            assert!(matches!(read, Poll::Ready(Ok(bytes)) if bytes == messages.len()));
            let mut taken = 0;
            while let Ok(Some(Line::Message(head))) = incoming.pop() {
                black_box(incoming.subject(&head));
                black_box(incoming.take(&head));
                taken += 1;
            }
            assert_eq!(taken, 32);
        },
    );
}

/// Headers and bodies, as far as no connection is needed.
fn codecs() {
    let given = [
        ("trace_id", "0af7651916cd43dd8448eb211c80319c"),
        ("idempotency_key", "7f9c2ba4e88f827d616045507605853e"),
        ("x-model", "small"),
    ];
    let mut block = Vec::with_capacity(256);
    count(
        "headers/encode/3_headers",
        1,
        &mut block,
        Vec::clear,
        |block| {
            for (name, value) in given {
                headers::encode(name, value, block).unwrap();
            }
        },
    );
    let block = &mut block;
    count(
        "headers/check/3_headers",
        1,
        block,
        |_| {},
        |block| assert_eq!(check_client_headers(block, Some("acme")), Ok(())),
    );
    count(
        "headers/outgoing/router_3_headers",
        1,
        block,
        |_| {},
        |block| {
            let remain = Decimal::new(black_box(4_999));
            let all = outgoing_headers(block, Some("acme"), ReplyContract::Router, &remain);
            assert_eq!(black_box(all).count(), 6);
        },
    );
    count(
        "headers/outgoing/router_none",
        1,
        &mut (),
        |()| {},
        |()| {
            let remain = Decimal::new(black_box(4_999));
            let all = outgoing_headers(&[], None, ReplyContract::Router, &remain);
            assert_eq!(black_box(all).count(), 2);
        },
    );
    let replies = [
        (
            "ok_130_bytes",
            ReplyContract::Router,
            r#"{"ok":true,"decision":{"provider_id":"openai:gpt-4o","priority":50,"expected_latency_ms":850},"context":{"request_id":"demo-1"}}"#,
            Verdict::Answer(Code::Ok),
        ),
        (
            "error",
            ReplyContract::Router,
            r#"{"ok":false,"error":{"code":"rate_limit_exceeded","message":"later"},"context":{"request_id":"demo-1"}}"#,
            Verdict::Answer(Code::RouterRateLimitExceeded),
        ),
        (
            "opaque_text",
            ReplyContract::Opaque,
            "no object at all",
            Verdict::Answer(Code::Ok),
        ),
    ];
    for (name, contract, body, verdict) in replies {
        count(
            &format!("reply/classify/{name}"),
            1,
            &mut (),
            |()| {},
            |()| assert_eq!(classify(contract, black_box(body.as_bytes())), verdict),
        );
    }
}

fn main() {
    rings();
    sessions();
    arena();
    books();
    gates();
    workers();
    bells();
    bridges();
    wire();
    codecs();
}
