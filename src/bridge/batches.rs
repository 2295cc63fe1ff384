//! A bounded queue between two threads that carries values by the batch.
//!
//! Values gather in a batch that only the sender sees, and reach the other end when it is flushed or
//! full; there they are taken one by one. So the two ends meet once a batch, not once a value, and a
//! few batches go round and stay in the cache: a ring with a place for each value that may ever wait
//! is as large as that, and every value goes through lines that were last touched a whole round ago.

use std::collections::VecDeque;
use std::sync::Arc;

use crossbeam_queue::{ArrayQueue, SegQueue};
use ipc_ringbuf::primitive::{AtomicUsize, Ordering};

/// Values in a full batch.
const FULL: usize = 128;
/// Empty batches that are kept for the sender; with one at either end, the ones there are at rest.
const SPARE: usize = 4;

struct Shared<T> {
    /// In order, none of them empty: their number is bounded by that of the values.
    filled: SegQueue<VecDeque<T>>,
    empty: ArrayQueue<VecDeque<T>>,
    /// Values that have been taken, ever.
    taken: AtomicUsize,
}

/// A queue for at most `capacity` values, flushed or not, and its two ends.
pub(super) fn batches<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    let shared = Arc::new(Shared {
        filled: SegQueue::new(),
        empty: ArrayQueue::new(SPARE),
        taken: AtomicUsize::new(0),
    });
    for _ in 0..SPARE {
        shared.put_back(VecDeque::with_capacity(FULL));
    }
    let sender = Sender {
        batch: VecDeque::with_capacity(FULL),
        sent: 0,
        certain: capacity,
        capacity,
        shared: Arc::clone(&shared),
    };
    let receiver = Receiver {
        batch: VecDeque::with_capacity(FULL),
        taken: 0,
        shared,
    };
    (sender, receiver)
}

impl<T> Shared<T> {
    /// Keeps an empty batch for the sender. One too many, or one that was made for a few values, is
    /// given back to the allocator, so that after any burst there are as many as before.
    fn put_back(&self, mut batch: VecDeque<T>) {
        if batch.capacity() >= FULL {
            // From its first place on again, which is still in the cache.
            batch.clear();
            self.empty.push(batch).ok();
        }
    }
}

/// The end that values are put in at.
pub(super) struct Sender<T> {
    batch: VecDeque<T>,
    /// Values that were put in, ever.
    sent: usize,
    /// `sent` up to which there is room for certain; the other end's count is looked at only beyond.
    certain: usize,
    capacity: usize,
    shared: Arc<Shared<T>>,
}

impl<T> Sender<T> {
    /// How many more values there is room for.
    pub(super) fn room(&self) -> usize {
        // A count alone: the values themselves come by `filled`. One that is behind shows less room
        // than there is.
        let taken = self.shared.taken.load(Ordering::Relaxed);
        self.capacity.saturating_sub(self.sent.wrapping_sub(taken))
    }

    /// Adds a value to the batch; gives it back when there is no room.
    pub(super) fn push(&mut self, value: T) -> Result<(), T> {
        if self.sent == self.certain {
            let room = self.room();
            if room == 0 {
                return Err(value);
            }
            self.certain = self.sent.wrapping_add(room);
        }
        self.batch.push_back(value);
        self.sent = self.sent.wrapping_add(1);
        if self.batch.len() == FULL {
            self.flush();
        }
        Ok(())
    }

    /// Lets the other end see what was put in.
    pub(super) fn flush(&mut self) {
        if !self.batch.is_empty() {
            // Where the other end is behind, batches of a few values may come to wait in any number:
            // none of them takes the room of a full one.
            let expected = if self.batch.len() == FULL { FULL } else { 0 };
            let empty = self.shared.empty.pop();
            let empty = empty.unwrap_or_else(|| VecDeque::with_capacity(expected));
            let filled = core::mem::replace(&mut self.batch, empty);
            self.shared.filled.push(filled);
        }
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        self.flush();
    }
}

/// The end that values are taken out at.
pub(super) struct Receiver<T> {
    batch: VecDeque<T>,
    taken: usize,
    shared: Arc<Shared<T>>,
}

impl<T> Receiver<T> {
    /// The next value that was flushed, in the order in which they were put in.
    pub(super) fn pop(&mut self) -> Option<T> {
        self.fetch();
        let value = self.batch.pop_front()?;
        self.took(1);
        Some(value)
    }

    /// The next values that were flushed, in their order, in place of those of `batch`, of which there
    /// should be none; none if nothing was flushed.
    pub(super) fn take(&mut self, batch: &mut VecDeque<T>) {
        self.fetch();
        batch.clear();
        if !self.batch.is_empty() {
            core::mem::swap(batch, &mut self.batch);
            self.took(batch.len());
        }
    }

    /// Fetches the next batch if this one is used up.
    fn fetch(&mut self) {
        // Mostly there is none, and a look costs less than an attempt.
        if self.batch.is_empty()
            && !self.shared.filled.is_empty()
            && let Some(filled) = self.shared.filled.pop()
        {
            let empty = core::mem::replace(&mut self.batch, filled);
            self.shared.put_back(empty);
        }
    }

    fn took(&mut self, values: usize) {
        self.taken = self.taken.wrapping_add(values);
        self.shared.taken.store(self.taken, Ordering::Relaxed);
    }

    /// Whether nothing that was flushed is left.
    pub(super) fn is_empty(&self) -> bool {
        self.batch.is_empty() && self.shared.filled.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_is_kept_whatever_is_flushed_when() {
        let (mut sender, mut receiver) = batches(10 * FULL);
        let mut next = 0..;
        let mut taken = 0..;
        for round in 0..2000_usize {
            for value in next.by_ref().take(round * 7 % 700) {
                sender.push(value).unwrap();
            }
            if round % 3 > 0 {
                sender.flush();
            }
            for _ in 0..round * 11 % 800 {
                match receiver.pop() {
                    Some(value) => assert_eq!(Some(value), taken.next()),
                    None => break,
                }
            }
            while sender.room() < 1000
                && let Some(value) = receiver.pop()
            {
                assert_eq!(Some(value), taken.next());
            }
        }
        drop(sender);
        for value in core::iter::from_fn(|| receiver.pop()) {
            assert_eq!(Some(value), taken.next());
        }
        assert_eq!(taken.next(), next.next());
    }

    #[test]
    fn what_is_not_flushed_is_not_seen_but_counted() {
        let (mut sender, mut receiver) = batches(3);
        for value in 0..3 {
            sender.push(value).unwrap();
        }
        assert_eq!((sender.push(3), sender.room()), (Err(3), 0));
        assert!(receiver.is_empty() && receiver.pop().is_none());
        sender.flush();
        assert!(!receiver.is_empty());
        assert_eq!((receiver.pop(), sender.room()), (Some(0), 1));
        assert!(!receiver.is_empty());
        sender.push(3).unwrap();
        assert_eq!((receiver.pop(), receiver.pop()), (Some(1), Some(2)));
        assert!(receiver.is_empty());
    }

    #[test]
    fn a_batch_is_taken_as_a_whole_and_goes_round() {
        let (mut sender, mut receiver) = batches(3 * FULL);
        let mut batch = VecDeque::with_capacity(FULL);
        receiver.take(&mut batch);
        assert!(batch.is_empty());
        for round in 0..3 * SPARE {
            for value in 0..FULL + 2 {
                sender.push(round + value).unwrap();
            }
            sender.flush();
            receiver.take(&mut batch);
            assert!(batch.iter().copied().eq(round..round + FULL));
            assert_eq!(sender.room(), 3 * FULL - 2);
            // What one value was taken of is given as it is.
            assert_eq!(receiver.pop(), Some(round + FULL));
            receiver.take(&mut batch);
            assert!(batch.iter().copied().eq([round + FULL + 1]));
            assert_eq!((sender.room(), receiver.is_empty()), (3 * FULL, true));
            receiver.take(&mut batch);
            assert!(batch.is_empty());
        }
        // With the sender's, the receiver's and this one, all there were.
        let kept = core::iter::from_fn(|| receiver.shared.empty.pop());
        let kept: Vec<_> = kept.collect();
        assert_eq!(kept.len(), SPARE);
        let is_full = |batch: &VecDeque<_>| batch.capacity() >= FULL;
        assert!(kept.iter().all(is_full) && is_full(&batch));
    }

    #[test]
    fn a_full_batch_needs_no_flush() {
        let (mut sender, mut receiver) = batches(2 * FULL);
        for value in 0..=FULL {
            sender.push(value).unwrap();
        }
        let seen = core::iter::from_fn(|| receiver.pop());
        assert!(seen.eq(0..FULL));
    }

    #[test]
    fn after_a_burst_as_many_batches_are_kept_as_before() {
        let (mut sender, mut receiver) = batches(100 * FULL);
        assert_eq!(sender.shared.empty.len(), SPARE);
        for value in 0..100 * FULL {
            sender.push(value).unwrap();
        }
        assert_eq!(sender.shared.empty.len(), 0);
        assert!(core::iter::from_fn(|| receiver.pop()).eq(0..100 * FULL));
        // The last one is still at the receiver, which has none of its own instead.
        assert_eq!(sender.shared.empty.len(), SPARE);
        assert_eq!(receiver.batch.capacity(), FULL);
        assert_eq!(sender.batch.capacity(), FULL);
    }

    #[test]
    fn batches_of_a_few_that_wait_take_little() {
        let (mut sender, mut receiver) = batches(100 * FULL);
        for value in 0..10 * SPARE {
            sender.push(value).unwrap();
            sender.flush();
        }
        sender.push(10 * SPARE).unwrap();
        assert!(sender.batch.capacity() < FULL / 8);
        sender.flush();
        assert!(core::iter::from_fn(|| receiver.pop()).eq(0..=10 * SPARE));
        let kept = core::iter::from_fn(|| sender.shared.empty.pop());
        let kept: Vec<_> = kept.collect();
        assert_eq!(kept.len(), SPARE);
        assert!(kept.iter().all(|batch| batch.capacity() >= FULL));
    }

    #[test]
    fn two_threads_exchange_everything_in_order() {
        const VALUES: usize = if cfg!(miri) { 2_000 } else { 500_000 };
        let (mut sender, mut receiver) = batches(1000);
        std::thread::scope(|scope| {
            scope.spawn(move || {
                for value in 0..VALUES {
                    let mut value = value;
                    while let Err(back) = sender.push(value) {
                        value = back;
                        sender.flush();
                        std::thread::yield_now();
                    }
                    if value % 37 == 0 {
                        sender.flush();
                    }
                }
            });
            for value in 0..VALUES {
                let taken = loop {
                    match receiver.pop() {
                        Some(taken) => break taken,
                        None => std::thread::yield_now(),
                    }
                };
                assert_eq!(taken, value);
            }
        });
        assert!(receiver.is_empty());
    }
}
