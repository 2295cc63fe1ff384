//! The rings and the bells, model-checked: loom runs every interleaving, and every value that the
//! orderings allow a load to return.
//!
//! ```text
//! tools/proofs.sh loom
//! RUSTFLAGS="--cfg loom" cargo test -p ipc-ringbuf --test loom --release --target-dir target/loom
//! ```
//!
//! `LOOM_MAX_PREEMPTIONS` is 3 unless the environment says otherwise. Each ordering that these
//! models guard connects two threads by one store and one load, so a wrong one shows with one
//! preemption on either side; the third is margin. Without a bound the models with a loop do not
//! end in reasonable time.
//!
//! Loom has no load buffering: a load never returns a value that is stored later. So that the
//! Release of a head is checked nevertheless, the consumer leaves a word beside the ring before it
//! releases, and the producer looks for it before it uses the slot again.
//!
//! # That the models bite
//!
//! `tools/weaken.sh` weakens each ordering in a copy of the crate, one at a time, and demands that
//! a model fails. These do:
//!
//! - The store or the load of a tail made Relaxed fails all six models: a popped entry comes
//!   before its block. The submission ring's tail is that of `gateway_never_sleeps_..`, the
//!   completion ring's that of `client_never_sleeps_..`; the code is the same.
//! - The store or the load of a head made Relaxed fails `entries_cross_..` and
//!   `batches_cross_..`: an entry overwrites one that was not read.
//! - The sleeper's fence in `doorbell::arm`, or the ringer's in `doorbell::asleep`, removed or made
//!   `AcqRel` fails both `gateway_never_sleeps_..` and `client_never_sleeps_..`: loom reports a
//!   deadlock, a sleeper beside work.

#![cfg(loom)]
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use ipc_ringbuf::doorbell::{ASLEEP, AWAKE, arm, asleep, disarm};
use ipc_ringbuf::primitive::{AtomicU32, AtomicU64, Ordering};
use ipc_ringbuf::spsc::{Consumer, Producer, RingMemory};
use loom::sync::{Arc, Condvar, Mutex, Notify};
use loom::thread;

const CAPACITY: u32 = 2;

/// The words of a ring, and for each of the entries that will cross it two words beside it.
struct Heap {
    tail: AtomicU64,
    head: AtomicU32,
    slots: Vec<AtomicU32>,
    /// What the producer wrote into the entry's block.
    blocks: Vec<AtomicU32>,
    /// What the consumer wrote when it had read the entry.
    taken: Vec<AtomicU32>,
}

#[derive(Clone)]
struct Memory(Arc<Heap>);

impl Memory {
    fn new(entries: u32) -> Self {
        Self::sized(CAPACITY, entries)
    }

    fn sized(capacity: u32, entries: u32) -> Self {
        let words = |count| (0..count).map(|_| AtomicU32::new(0)).collect();
        Self(Arc::new(Heap {
            tail: AtomicU64::new(0),
            head: AtomicU32::new(0),
            slots: words(capacity),
            blocks: words(entries),
            taken: words(entries),
        }))
    }

    fn ends(&self) -> (Producer<Self>, Consumer<Self>) {
        (Producer::new(self.clone()), Consumer::new(self.clone()))
    }

    /// Writes the block that `entry` will announce.
    fn write_block(&self, entry: u32) {
        self.0.blocks[entry as usize].store(entry + 100, Ordering::Relaxed);
    }

    /// Checks that the block of a popped `entry` is what its producer wrote.
    fn read_block(&self, entry: u32) {
        let block = self.0.blocks[entry as usize].load(Ordering::Relaxed);
        assert_eq!(block, entry + 100, "entry {entry} came before its block");
        self.0.taken[entry as usize].store(1, Ordering::Relaxed);
    }

    /// Checks that the consumer was done with the slot that `entry` has just been pushed to.
    fn check_slot_was_free(&self, entry: u32) {
        if let Some(before) = entry.checked_sub(self.capacity()) {
            let taken = self.0.taken[before as usize].load(Ordering::Relaxed);
            assert_eq!(taken, 1, "entry {entry} overwrote entry {before}");
        }
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
        &self.0.slots[(position % self.capacity()) as usize]
    }
    fn capacity(&self) -> u32 {
        u32::try_from(self.0.slots.len()).unwrap()
    }
}

/// Runs the model with the bound of this file. Loom says which interleaving failed.
fn check(model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(3));
    builder.check(model);
}

/// The next entry, however long it takes.
fn next(consumer: &mut Consumer<Memory>) -> u32 {
    loop {
        match consumer.pop().unwrap() {
            Some(entry) => return entry,
            None => thread::yield_now(),
        }
    }
}

/// Sends `entries` in batches and takes them on another thread.
fn cross(entries: u32, batch: u32) {
    check(move || {
        let memory = Memory::new(entries);
        let (mut producer, mut consumer) = memory.ends();
        let beside = memory.clone();
        let sender = thread::spawn(move || {
            for entry in 0..entries {
                beside.write_block(entry);
                while producer.push(entry).unwrap().is_err() {
                    producer.publish();
                    thread::yield_now();
                }
                beside.check_slot_was_free(entry);
                if producer.staged() == batch {
                    producer.publish();
                }
            }
            producer.publish();
        });
        for entry in 0..entries {
            assert_eq!(next(&mut consumer), entry);
            memory.read_block(entry);
            consumer.release();
        }
        assert_eq!(consumer.pop(), Ok(None));
        sender.join().unwrap();
    });
}

#[test]
fn entries_cross_once_and_in_order_with_their_blocks() {
    cross(4, 1);
}

#[test]
fn batches_cross_once_and_in_order_with_their_blocks() {
    cross(4, 2);
}

/// A session with one block, which goes there and back. Neither end ever finds a ring full: each
/// releases what it has popped before it publishes, so whoever sees the tail sees the head too.
#[test]
fn block_that_came_back_has_room_in_both_rings() {
    const ROUNDS: u32 = 3;
    check(|| {
        let (submission, completion) = (Memory::sized(1, ROUNDS), Memory::sized(1, ROUNDS));
        let (mut submit, mut take) = submission.ends();
        let (mut complete, mut reap) = completion.ends();
        let (requests, replies) = (submission.clone(), completion.clone());
        let gateway = thread::spawn(move || {
            for round in 0..ROUNDS {
                assert_eq!(next(&mut take), round);
                requests.read_block(round);
                replies.write_block(round);
                assert_eq!(complete.push(round), Ok(Ok(())));
                take.release();
                complete.publish();
            }
        });
        for round in 0..ROUNDS {
            submission.write_block(round);
            assert_eq!(submit.push(round), Ok(Ok(())));
            reap.release();
            submit.publish();
            assert_eq!(next(&mut reap), round);
            completion.read_block(round);
        }
        gateway.join().unwrap();
    });
}

/// Client to gateway: the worker's word, and an eventfd that stays rung until it is taken.
#[test]
fn gateway_never_sleeps_beside_a_submission() {
    check(|| {
        let memory = Memory::new(2);
        let (mut producer, mut consumer) = memory.ends();
        let word = Arc::new(AtomicU32::new(AWAKE));
        let eventfd = Arc::new(Notify::new());
        let client = {
            let (beside, word, eventfd) = (memory.clone(), Arc::clone(&word), Arc::clone(&eventfd));
            thread::spawn(move || {
                for entry in 0..2 {
                    beside.write_block(entry);
                    assert_eq!(producer.push(entry), Ok(Ok(())));
                    producer.publish();
                    if asleep(&word) != AWAKE {
                        eventfd.notify();
                    }
                }
            })
        };
        let mut taken = 0;
        loop {
            while let Some(entry) = consumer.pop().unwrap() {
                assert_eq!(entry, taken);
                memory.read_block(entry);
                taken += 1;
            }
            consumer.release();
            if taken == 2 {
                break;
            }
            arm(&word, ASLEEP);
            if !consumer.has_more().unwrap() {
                // A lost wake-up is a deadlock here, and loom reports it.
                eventfd.wait();
            }
            disarm(&word);
        }
        client.join().unwrap();
    });
}

/// Two clients ring one worker: each has a ring and an eventfd, the worker has one word.
#[test]
fn gateway_never_sleeps_beside_either_of_two_clients() {
    check(|| {
        let word = Arc::new(AtomicU32::new(AWAKE));
        let eventfd = Arc::new(Notify::new());
        let memories = [Memory::new(1), Memory::new(1)];
        let mut consumers = Vec::new();
        let mut clients = Vec::new();
        for memory in &memories {
            let (mut producer, consumer) = memory.ends();
            consumers.push(consumer);
            let (beside, word, eventfd) = (memory.clone(), Arc::clone(&word), Arc::clone(&eventfd));
            clients.push(thread::spawn(move || {
                beside.write_block(0);
                assert_eq!(producer.push(0), Ok(Ok(())));
                producer.publish();
                if asleep(&word) != AWAKE {
                    eventfd.notify();
                }
            }));
        }
        let mut taken = 0;
        loop {
            for (memory, consumer) in memories.iter().zip(&mut consumers) {
                if let Some(entry) = consumer.pop().unwrap() {
                    memory.read_block(entry);
                    taken += 1;
                }
            }
            if taken == 2 {
                break;
            }
            arm(&word, ASLEEP);
            let mut more = false;
            for (memory, consumer) in memories.iter().zip(&mut consumers) {
                // As `port::Watch` looks at a session that rests: the fence in `arm` must do for this
                // load too.
                let [p0, p1, p2, p3, ..] = memory.tail().load(Ordering::Relaxed).to_le_bytes();
                let is_still = u32::from_le_bytes([p0, p1, p2, p3]) == consumer.position();
                more |= !is_still && consumer.has_more().unwrap();
            }
            if !more {
                eventfd.wait();
            }
            disarm(&word);
        }
        for client in clients {
            client.join().unwrap();
        }
    });
}

/// The kernel's side of a futex: comparing and going to sleep are one step under a lock, and a
/// wake that finds nobody is lost.
struct Futex {
    word: AtomicU32,
    bucket: Mutex<()>,
    queue: Condvar,
}

impl Futex {
    fn new() -> Self {
        Self {
            word: AtomicU32::new(AWAKE),
            bucket: Mutex::new(()),
            queue: Condvar::new(),
        }
    }

    fn wait(&self, expected: u32) {
        let bucket = self.bucket.lock().unwrap();
        if self.word.load(Ordering::Relaxed) == expected {
            drop(self.queue.wait(bucket).unwrap());
        }
    }

    fn wake(&self) {
        let bucket = self.bucket.lock().unwrap();
        self.queue.notify_all();
        drop(bucket);
    }
}

/// Gateway to client: the client sleeps on the word itself; the gateway clears it and wakes.
#[test]
fn client_never_sleeps_beside_a_completion() {
    check(|| {
        let memory = Memory::new(2);
        let (mut producer, mut consumer) = memory.ends();
        let futex = Arc::new(Futex::new());
        let gateway = {
            let (beside, futex) = (memory.clone(), Arc::clone(&futex));
            thread::spawn(move || {
                for entry in 0..2 {
                    beside.write_block(entry);
                    assert_eq!(producer.push(entry), Ok(Ok(())));
                    producer.publish();
                    if asleep(&futex.word) != AWAKE {
                        disarm(&futex.word);
                        futex.wake();
                    }
                }
            })
        };
        let mut taken = 0;
        loop {
            while let Some(entry) = consumer.pop().unwrap() {
                assert_eq!(entry, taken);
                memory.read_block(entry);
                taken += 1;
            }
            consumer.release();
            if taken == 2 {
                break;
            }
            arm(&futex.word, ASLEEP);
            if !consumer.has_more().unwrap() {
                futex.wait(ASLEEP);
            }
            disarm(&futex.word);
        }
        gateway.join().unwrap();
    });
}
