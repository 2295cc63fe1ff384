#![expect(clippy::expect_used, reason = "a test fails by panicking")]

use std::collections::VecDeque;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;

struct Heap {
    tail: AtomicU64,
    head: AtomicU32,
    slots: Vec<AtomicU32>,
}

impl Heap {
    fn new(capacity: u32) -> Arc<Self> {
        let slots = (0..capacity).map(|_| AtomicU32::new(0)).collect();
        Arc::new(Self {
            tail: AtomicU64::new(0),
            head: AtomicU32::new(0),
            slots,
        })
    }
}

impl RingMemory for Arc<Heap> {
    fn tail(&self) -> &AtomicU64 {
        &self.tail
    }
    fn head(&self) -> &AtomicU32 {
        &self.head
    }
    fn slot(&self, position: u32) -> &AtomicU32 {
        self.slots
            .get(position as usize & (self.slots.len() - 1))
            .expect("masked")
    }
    fn capacity(&self) -> u32 {
        u32::try_from(self.slots.len()).expect("small")
    }
}

/// Both ends of a ring whose cursors stand at `start`.
fn ends_at(capacity: u32, start: u32) -> (Arc<Heap>, Producer<Arc<Heap>>, Consumer<Arc<Heap>>) {
    let memory = Heap::new(capacity);
    memory.tail.store(pack(0, start), Ordering::Relaxed);
    memory.head.store(start, Ordering::Relaxed);
    let mut p = Producer::new(Arc::clone(&memory));
    (p.tail, p.published, p.cached_head) = (start, start, start);
    let c = Consumer::resume(Arc::clone(&memory), start);
    (memory, p, c)
}

#[test]
fn nothing_is_seen_before_it_is_published() {
    let memory = Heap::new(4);
    let (mut p, mut c) = (Producer::new(Arc::clone(&memory)), Consumer::new(memory));
    assert_eq!(p.push(7), Ok(Ok(())));
    assert_eq!(c.pop(), Ok(None));
    assert!(p.publish());
    assert_eq!(c.pop(), Ok(Some(7)));
    assert!(!p.publish());
}

#[test]
fn what_waits_is_counted_anew_each_time() {
    let (heap, mut producer, mut consumer) = ends_at(4, u32::MAX - 1);
    assert_eq!(consumer.waiting(), Ok(0));
    for value in 1..=3 {
        producer.push(value).expect("honest").expect("room");
        producer.publish();
        // Not only what was there when the consumer looked last.
        assert_eq!(consumer.waiting(), Ok(value));
    }
    assert_eq!(consumer.pop(), Ok(Some(1)));
    assert_eq!(consumer.waiting(), Ok(2));
    heap.tail.store(pack(0, u32::MAX - 5), Ordering::Relaxed);
    consumer.waiting().expect_err("a tail that went back");
}

#[test]
fn full_ring_takes_nothing_until_the_consumer_releases() {
    let memory = Heap::new(2);
    let (mut p, mut c) = (Producer::new(Arc::clone(&memory)), Consumer::new(memory));
    assert_eq!((p.push(1), p.push(2)), (Ok(Ok(())), Ok(Ok(()))));
    assert_eq!(p.push(3), Ok(Err(Full)));
    p.publish();
    assert_eq!(c.pop(), Ok(Some(1)));
    assert_eq!(p.push(3), Ok(Err(Full)));
    c.release();
    assert_eq!(p.push(3), Ok(Ok(())));
}

#[test]
fn wild_cursors_are_misbehaviour() {
    let memory = Heap::new(4);
    let mut c = Consumer::new(Arc::clone(&memory));
    for claim in [5, u32::MAX, 1 << 31] {
        memory.tail.store(pack(0, claim), Ordering::Relaxed);
        assert_eq!(c.pop(), Err(PeerMisbehaved::Tail { claimed: claim }));
    }
    let mut p = Producer::new(Arc::clone(&memory));
    for value in 0..4 {
        assert_eq!(p.push(value), Ok(Ok(())));
    }
    p.publish();
    for claim in [5, u32::MAX] {
        memory.head.store(claim, Ordering::Relaxed);
        assert_eq!(p.push(9), Err(PeerMisbehaved::Head { claimed: claim }));
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Push(u32),
    Publish,
    Pop,
    Peek(u32),
    HasMore,
    Release,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => any::<u32>().prop_map(Step::Push),
        2 => Just(Step::Publish),
        4 => Just(Step::Pop),
        1 => (0_u32..6).prop_map(Step::Peek),
        1 => Just(Step::HasMore),
        2 => Just(Step::Release),
    ]
}

/// Positions from which a sequence of steps crosses an edge, and any others.
fn start() -> impl Strategy<Value = u32> {
    prop_oneof![
        Just(0),
        (0_u32..64).prop_map(|before| u32::MAX - before),
        (0_u32..64).prop_map(|before| (1 << 31) - before),
        any::<u32>(),
    ]
}

proptest! {
    /// Against a model of three queues: staged, published, and popped but not released.
    #[test]
    fn ring_behaves_as_a_bounded_queue(
        capacity in prop::sample::select(vec![1_u32, 2, 4, 64]),
        start in start(),
        steps in prop::collection::vec(step(), 0..400),
    ) {
        let (memory, mut p, mut c) = ends_at(capacity, start);
        let (mut staged, mut published, mut popped) = (VecDeque::new(), VecDeque::new(), 0);
        let mut position = start;
        // Published values that were looked ahead at and not popped.
        let mut looked = 0_usize;
        for step in steps {
            match step {
                Step::Push(value) => {
                    let full = staged.len() + published.len() + popped == capacity as usize;
                    let expected = if full { Err(Full) } else { Ok(()) };
                    prop_assert_eq!(p.push(value), Ok(expected));
                    if !full {
                        staged.push_back(value);
                    }
                }
                Step::Publish => {
                    prop_assert_eq!(p.staged() as usize, staged.len());
                    prop_assert_eq!(p.publish(), !staged.is_empty());
                    if let Some(newest) = staged.back() {
                        position = position.wrapping_add(u32::try_from(staged.len()).expect("small"));
                        // The newest value is in the high half, the position in the low half.
                        let word = u64::from(*newest) * (1 << 32) + u64::from(position);
                        prop_assert_eq!(memory.tail.load(Ordering::Relaxed), word);
                    }
                    published.append(&mut staged);
                }
                Step::Pop => {
                    let expected = published.pop_front();
                    prop_assert_eq!(c.pop(), Ok(expected));
                    popped += usize::from(expected.is_some());
                    looked = looked.saturating_sub(usize::from(expected.is_some()));
                }
                Step::Peek(distance) => {
                    let before = looked;
                    let known = c.has_more();
                    c.look_ahead(distance, |value| {
                        assert_eq!(published.get(looked), Some(&value));
                        looked += 1;
                    });
                    prop_assert!(looked <= before.max(distance as usize));
                    prop_assert!(looked > 0 || distance == 0 || known == Ok(false));
                    c.look_ahead(distance, |_| looked = usize::MAX);
                    prop_assert!(looked <= published.len(), "each once");
                }
                Step::HasMore => prop_assert_eq!(c.has_more(), Ok(!published.is_empty())),
                Step::Release => {
                    c.release();
                    popped = 0;
                }
            }
        }
    }

    /// Whatever the producer's word says: an error, or as many values as it claims and no more
    /// than the ring holds.
    #[test]
    fn any_tail_is_an_error_or_a_claim_that_the_ring_can_hold(start in start(), word in any::<u64>(), near in 0_u32..10) {
        for word in [word, pack(7, start.wrapping_add(near)), pack(7, start.wrapping_sub(near))] {
            let (memory, _, mut c) = ends_at(4, start);
            memory.tail.store(word, Ordering::Relaxed);
            let (_, claimed) = unpack(word);
            let waiting = claimed.wrapping_sub(start);
            if waiting > 4 {
                prop_assert_eq!(c.pop(), Err(PeerMisbehaved::Tail { claimed }));
                prop_assert_eq!(c.has_more(), Err(PeerMisbehaved::Tail { claimed }));
            } else {
                for _ in 0..waiting {
                    prop_assert!(matches!(c.pop(), Ok(Some(_))));
                }
                prop_assert_eq!(c.pop(), Ok(None));
            }
        }
    }

    /// Whatever the consumer's word says: an error, or room for as much as it claims to have read.
    #[test]
    fn any_head_is_an_error_or_a_claim_of_what_was_published(start in start(), word in any::<u32>(), near in 0_u32..10) {
        for claimed in [word, start.wrapping_add(near), start.wrapping_sub(near)] {
            let (memory, mut p, _) = ends_at(4, start);
            for value in 0..4 {
                prop_assert_eq!(p.push(value), Ok(Ok(())));
            }
            p.publish();
            memory.head.store(claimed, Ordering::Relaxed);
            let read = claimed.wrapping_sub(start);
            if read > 4 {
                prop_assert_eq!(p.push(9), Err(PeerMisbehaved::Head { claimed }));
            } else {
                for _ in 0..read {
                    prop_assert_eq!(p.push(9), Ok(Ok(())));
                }
                prop_assert_eq!(p.push(9), Ok(Err(Full)));
            }
        }
    }
}
