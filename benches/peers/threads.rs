//! What two threads of one process reach: the cache line, the ring of another crate, the copy floor.

use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ipc_ringbuf::sys::monotonic_ns;

use super::cores::{Cores, on_both};
use super::looks::Looks;
use super::{BUFFERS, PAYLOAD, SLOTS};

/// Nanoseconds in which a cache line goes from one core to the other and back.
pub(crate) fn line_round_trip(cores: Cores, trips: u64) -> f64 {
    #[repr(align(128))]
    struct Line(AtomicU64);
    let line = &Line(AtomicU64::new(0));
    // Odd when it is the second side's turn.
    let turns = |own: u64| {
        let mut looks = Looks::new();
        for trip in 0..trips {
            while line.0.load(Ordering::Acquire) != 2 * trip + own {
                looks.pause();
            }
            line.0.store(2 * trip + own + 1, Ordering::Release);
        }
    };
    let time = on_both(
        cores,
        || turns(0),
        || {
            turns(1);
            monotonic_ns()
        },
    );
    time.as_nanos() as f64 / trips as f64
}

/// Values in a ring of the crate `rtrb`, pushed and popped one by one.
pub(crate) fn rtrb(cores: Cores, count: u64) -> Duration {
    let (mut producer, mut consumer) = rtrb::RingBuffer::<[u64; 8]>::new(SLOTS as usize);
    on_both(
        cores,
        || {
            let mut looks = Looks::new();
            for number in 0..count {
                while producer.push([number; 8]).is_err() {
                    looks.pause();
                }
            }
        },
        || {
            let mut looks = Looks::new();
            for number in 0..count {
                let value = loop {
                    match consumer.pop() {
                        Ok(value) => break value,
                        Err(_) => looks.pause(),
                    }
                };
                assert_eq!(black_box(value), [number; 8]);
            }
            monotonic_ns()
        },
    )
}

/// Buffers that go round between two threads: the first fills them from its own memory, the second
/// copies them to its own. What hands them over is a ring of pointers.
pub(crate) fn floor(cores: Cores, count: u64) -> Duration {
    let (mut filled, mut to_copy) = rtrb::RingBuffer::<Box<[u8]>>::new(BUFFERS as usize);
    let (mut copied, mut to_fill) = rtrb::RingBuffer::<Box<[u8]>>::new(BUFFERS as usize);
    for _ in 0..BUFFERS {
        copied.push(vec![0; PAYLOAD].into_boxed_slice()).unwrap();
    }
    on_both(
        cores,
        || {
            let (payload, mut looks) = (vec![b'x'; PAYLOAD], Looks::new());
            for _ in 0..count {
                let mut buffer = loop {
                    match to_fill.pop() {
                        Ok(buffer) => break buffer,
                        Err(_) => looks.pause(),
                    }
                };
                buffer.copy_from_slice(black_box(&payload));
                filled.push(buffer).unwrap();
            }
        },
        || {
            let (mut body, mut looks) = (vec![0; PAYLOAD], Looks::new());
            for _ in 0..count {
                let buffer = loop {
                    match to_copy.pop() {
                        Ok(buffer) => break buffer,
                        Err(_) => looks.pause(),
                    }
                };
                body.copy_from_slice(&buffer);
                black_box(&body);
                copied.push(buffer).unwrap();
            }
            monotonic_ns()
        },
    )
}
