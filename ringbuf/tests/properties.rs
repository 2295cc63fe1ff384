//! Random operations against a queue that is obviously right.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use bytes::BytesMut;
use ipc_ringbuf::entry::Cqe;
use ipc_ringbuf::port::Block;
use ipc_ringbuf::primitive::{AtomicU32, AtomicU64};
use ipc_ringbuf::spsc::{Consumer, Full, Producer, RingMemory};
use ipc_ringbuf::{Code, Request, SubmitError};
use proptest::prelude::*;

use crate::support::pair;

struct Heap {
    tail: AtomicU64,
    head: AtomicU32,
    slots: Vec<AtomicU32>,
}

#[derive(Clone)]
struct Memory(Arc<Heap>);

impl Memory {
    fn new(capacity: u32) -> Self {
        Self(Arc::new(Heap {
            tail: AtomicU64::new(0),
            head: AtomicU32::new(0),
            slots: (0..capacity).map(|_| AtomicU32::new(0)).collect(),
        }))
    }
}

impl RingMemory for Memory {
    fn tail(&self) -> &AtomicU64 {
        &self.0.tail
    }
    fn head(&self) -> &AtomicU32 {
        &self.0.head
    }
    fn slot(&self, position: u32) -> &AtomicU32 {
        &self.0.slots[position as usize % self.0.slots.len()]
    }
    fn capacity(&self) -> u32 {
        u32::try_from(self.0.slots.len()).unwrap()
    }
}

#[derive(Clone, Debug)]
enum RingStep {
    Push(u32),
    Publish,
    Pop,
    Release,
}

fn ring_step() -> impl Strategy<Value = RingStep> {
    prop_oneof![
        4 => any::<u32>().prop_map(RingStep::Push),
        2 => Just(RingStep::Publish),
        4 => Just(RingStep::Pop),
        2 => Just(RingStep::Release),
    ]
}

/// What the ring must do, as three queues.
#[derive(Default)]
struct Model {
    staged: VecDeque<u32>,
    published: VecDeque<u32>,
    /// Popped, but their slots are not released.
    taken: usize,
}

impl Model {
    fn used(&self) -> usize {
        self.staged.len() + self.published.len() + self.taken
    }
}

proptest! {
    #[test]
    fn a_ring_is_a_bounded_queue(
        capacity in (0_u32..6).prop_map(|bits| 1 << bits),
        steps in prop::collection::vec(ring_step(), 1..400),
    ) {
        let memory = Memory::new(capacity);
        let (mut producer, mut consumer) = (Producer::new(memory.clone()), Consumer::new(memory));
        let mut model = Model::default();
        // Values that were looked ahead at and not popped.
        let mut seen = 0_usize;
        for step in steps {
            match step {
                RingStep::Push(value) => {
                    let has_room = model.used() < capacity as usize;
                    let expected = if has_room { Ok(()) } else { Err(Full) };
                    prop_assert_eq!(producer.push(value).unwrap(), expected);
                    model.staged.extend(has_room.then_some(value));
                }
                RingStep::Publish => {
                    prop_assert_eq!(producer.publish(), !model.staged.is_empty());
                    model.published.append(&mut model.staged);
                }
                RingStep::Pop => {
                    prop_assert_eq!(consumer.has_more().unwrap(), !model.published.is_empty());
                    // What is looked ahead at is what comes.
                    consumer.look_ahead(2, |value| {
                        assert_eq!(model.published.get(seen), Some(&value));
                        seen += 1;
                    });
                    prop_assert!(seen <= 2 && (seen > 0 || model.published.is_empty()));
                    seen = seen.saturating_sub(1);
                    let expected = model.published.pop_front();
                    prop_assert_eq!(consumer.pop().unwrap(), expected);
                    model.taken += usize::from(expected.is_some());
                }
                RingStep::Release => {
                    consumer.release();
                    model.taken = 0;
                }
            }
            prop_assert_eq!(producer.staged() as usize, model.staged.len());
        }
    }
}

#[derive(Clone, Debug)]
enum SessionStep {
    /// The client submits so many bytes, copied or written in place.
    Submit {
        bytes: usize,
        loan: bool,
    },
    /// The client takes a loan and gives it back.
    GiveUp,
    Flush,
    /// The gateway takes a submission.
    Take,
    /// The gateway completes one of those that it has, with so many bytes.
    Complete {
        which: prop::sample::Index,
        bytes: usize,
    },
    Publish,
    /// The client takes a completion.
    Poll,
}

const ENTRIES: u32 = 8;
const MESSAGE: u32 = 256;

fn session_step() -> impl Strategy<Value = SessionStep> {
    let bytes = || 0..=MESSAGE as usize;
    prop_oneof![
        5 => (bytes(), any::<bool>()).prop_map(|(bytes, loan)| SessionStep::Submit { bytes, loan }),
        1 => Just(SessionStep::GiveUp),
        2 => Just(SessionStep::Flush),
        4 => Just(SessionStep::Take),
        4 => (any::<prop::sample::Index>(), bytes())
            .prop_map(|(which, bytes)| SessionStep::Complete { which, bytes }),
        2 => Just(SessionStep::Publish),
        5 => Just(SessionStep::Poll),
    ]
}

/// Bytes that only this mark and direction have.
fn body(mark: u64, bytes: usize, answer: bool) -> Vec<u8> {
    let seed = mark.wrapping_mul(31).wrapping_add(u64::from(answer) * 17);
    (0..bytes)
        .map(|at| seed.wrapping_add(at as u64).to_le_bytes()[0])
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    /// Both ends of a session against queues: what is submitted arrives once, in order and intact;
    /// what is completed comes back once, in the order of completion and intact; there is room for
    /// as many as there are blocks.
    #[test]
    fn a_session_carries_every_request_and_every_answer_once(
        steps in prop::collection::vec(session_step(), 1..300),
    ) {
        let mut pair = pair(ENTRIES, MESSAGE);
        let mut next = 0_u64;
        // (mark, bytes) on its way to the gateway, and how many of those are shown.
        let mut on_the_way: VecDeque<(u64, usize)> = VecDeque::new();
        let mut in_flight: Vec<(Block, u64)> = Vec::new();
        let mut answers: VecDeque<(u64, usize)> = VecDeque::new();
        let mut lengths: HashMap<u64, usize> = HashMap::new();
        for step in steps {
            let outstanding = on_the_way.len() + in_flight.len() + answers.len();
            prop_assert_eq!(pair.client.outstanding(), outstanding);
            match step {
                SessionStep::Submit { bytes, loan } => {
                    let payload = body(next, bytes, false);
                    let request = Request::to(0).user_data(next);
                    let full = if loan {
                        match pair.client.loan(request) {
                            Ok(mut loan) => {
                                std::io::Write::write_all(&mut loan, &payload).unwrap();
                                prop_assert_eq!(loan.submit().0, next);
                                false
                            }
                            Err(SubmitError::Full(_)) => true,
                            Err(error) => panic!("{error}"),
                        }
                    } else {
                        match pair.client.submit(request.payload(&payload)) {
                            Ok(ticket) => {
                                prop_assert_eq!(ticket.0, next);
                                false
                            }
                            Err(SubmitError::Full(_)) => true,
                            Err(error) => panic!("{error}"),
                        }
                    };
                    prop_assert_eq!(full, outstanding == ENTRIES as usize);
                    if !full {
                        on_the_way.push_back((next, bytes));
                        next += 1;
                    }
                }
                SessionStep::GiveUp => drop(pair.client.loan(Request::to(0))),
                SessionStep::Flush => pair.client.flush(),
                SessionStep::Take => {
                    if let Some(submission) = pair.port.pop().unwrap() {
                        let (mark, bytes) = on_the_way.pop_front().expect("only what was sent");
                        prop_assert_eq!(submission.user_data, mark);
                        let sqe = submission.sqe.unwrap();
                        let mut copy = BytesMut::new();
                        pair.port.copy_body(submission.block, &sqe, &mut copy);
                        prop_assert_eq!(&copy[..], &body(mark, bytes, false)[..]);
                        in_flight.push((submission.block, mark));
                    }
                }
                SessionStep::Complete { which, bytes } => {
                    if !in_flight.is_empty() {
                        let (block, mark) = in_flight.remove(which.index(in_flight.len()));
                        let cqe = Cqe::bare(mark, Code::Ok);
                        let payload = body(mark, bytes, true);
                        pair.port.complete(block, cqe, &[], &payload).unwrap();
                        answers.push_back((mark, bytes));
                        lengths.insert(mark, bytes);
                    }
                }
                SessionStep::Publish => {
                    pair.port.publish();
                }
                SessionStep::Poll => {
                    if let Some(completion) = pair.client.poll() {
                        let (mark, bytes) = answers.pop_front().expect("only what was completed");
                        prop_assert_eq!(completion.ticket().0, mark);
                        prop_assert_eq!(completion.payload(), &body(mark, bytes, true)[..]);
                    }
                }
            }
            prop_assert_eq!(pair.port.held() as usize, in_flight.len());
        }
        // Everything that is left comes out.
        pair.client.flush();
        while let Some(submission) = pair.port.pop().unwrap() {
            on_the_way.pop_front().expect("only what was sent");
            in_flight.push((submission.block, submission.user_data));
        }
        prop_assert!(on_the_way.is_empty());
        for (block, mark) in in_flight.drain(..) {
            pair.port.complete(block, Cqe::bare(mark, Code::Ok), &[], &[]).unwrap();
            answers.push_back((mark, 0));
        }
        pair.port.publish();
        while let Some(completion) = pair.client.poll() {
            let (mark, _) = answers.pop_front().expect("only what was completed");
            prop_assert_eq!(completion.ticket().0, mark);
        }
        prop_assert!(answers.is_empty());
        prop_assert_eq!(pair.client.outstanding(), 0);
    }
}
