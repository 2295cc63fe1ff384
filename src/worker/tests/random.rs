//! Random operations in random order: every request completes once, and the books balance.

use core::time::Duration;
use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use ipc_ringbuf::error::EndReason;
use ipc_ringbuf::{Client, Code, Request as Ask};
use proptest::prelude::*;

use super::super::mailbox::Mail;
use super::stage::Stage;
use crate::bridge::{Request, Token};

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
