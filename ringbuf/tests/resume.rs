//! A gateway's end that goes on where another has stopped, on the same region.

use std::sync::Arc;
use std::time::Duration;

use ipc_ringbuf::entry::Cqe;
use ipc_ringbuf::layout::Ring;
use ipc_ringbuf::port::{Cursors, Port};
use ipc_ringbuf::primitive::Ordering;
use ipc_ringbuf::spsc::RingMemory as _;
use ipc_ringbuf::{Code, Request, sys};
use proptest::prelude::*;

use crate::support::{Pair, pair};

/// The gateway's end made anew; the client's socket is with the first one.
fn resume(pair: &Pair, cursors: Cursors) -> Option<(Port, Option<u64>)> {
    let (socket, _) = sys::packet_pair().unwrap();
    let (port, carried) = Port::resume(Arc::clone(&pair.shared), socket, cursors)?;
    Some((port, carried.map(|submission| submission.user_data)))
}

#[test]
fn what_was_taken_completed_and_carried_stays_so() {
    let mut pair = pair(4, 256);
    for mark in 0..4 {
        let request = Request::to("echo").payload(b"x").user_data(mark);
        pair.client.submit(request).unwrap();
    }
    pair.client.flush();
    let first = pair.port.pop().unwrap().unwrap();
    let bare = |mark, code| Cqe::bare(mark, code);
    let done = pair.port.complete(first.block, bare(0, Code::Ok), &[], &[]);
    done.unwrap();
    let second = pair.port.pop().unwrap().unwrap();
    let cursors = pair.port.suspend(Some(&second));
    assert_eq!((cursors.submission_head, cursors.completion_tail), (2, 1));
    let (socket, _) = sys::packet_pair().unwrap();
    let resumed = Port::resume(Arc::clone(&pair.shared), socket, cursors);
    let (mut port, carried) = resumed.unwrap();
    let carried = carried.unwrap();
    assert_eq!((carried.user_data, carried.sqe), (1, second.sqe));
    assert_eq!(port.held(), 1);
    let mut next = Some(carried);
    let mut order = Vec::new();
    while let Some(submission) = next {
        let mark = submission.user_data;
        order.push(mark);
        let done = port.complete(submission.block, bare(mark, Code::Sent), &[], &[]);
        done.unwrap();
        next = port.pop().unwrap();
    }
    port.publish();
    assert_eq!((order, port.held()), (vec![1, 2, 3], 0));
    let mut codes = Vec::new();
    while let Some(completion) = pair.client.wait(Duration::ZERO) {
        codes.push((completion.ticket().0, completion.code()));
    }
    let sent = |mark| (mark, Code::Sent);
    assert_eq!(codes, [(0, Code::Ok), sent(1), sent(2), sent(3)]);
}

#[test]
fn cursors_that_do_not_fit_the_region_are_refused() {
    let pair = pair(4, 256);
    let cursors = Cursors {
        submission_head: u32::MAX,
        completion_tail: 2,
        completion_head: u32::MAX - 1,
        carried: Some(3),
    };
    assert!(resume(&pair, cursors).is_some());
    let others = [
        Cursors {
            completion_tail: 3,
            ..cursors
        },
        Cursors {
            completion_head: 3,
            ..cursors
        },
        Cursors {
            carried: Some(4),
            ..cursors
        },
    ];
    for cursors in others {
        assert!(resume(&pair, cursors).is_none(), "{cursors:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Whatever the client has written meanwhile: the session goes on or is found to be corrupt,
    /// and at most as many submissions are taken as there are blocks.
    #[test]
    fn what_a_client_writes_meanwhile_is_as_little_believed_as_before(
        tail in any::<u64>(),
        head in any::<u32>(),
        near in 0..6_u32,
        slots in prop::collection::vec(prop_oneof![0..4_u32, any::<u32>()], 4),
        submission_head in any::<u32>(),
        completion_tail in any::<u32>(),
        ahead in 0..6_u32,
        carried in prop::option::of(0..6_u32),
    ) {
        let pair = pair(4, 64);
        let ring = pair.shared.ring(Ring::Submission);
        for (at, value) in (0..).zip(slots) {
            ring.slot(at).store(value, Ordering::Relaxed);
        }
        // Often a tail that is possible.
        let possible = u64::from(submission_head.wrapping_add(near));
        let tail = if near < 5 { possible | tail << 32 } else { tail };
        ring.tail().store(tail, Ordering::Release);
        pair.shared.ring(Ring::Completion).head().store(head, Ordering::Release);
        let cursors = Cursors {
            submission_head,
            completion_tail,
            completion_head: completion_tail.wrapping_sub(ahead),
            carried,
        };
        let Some((mut port, _)) = resume(&pair, cursors) else {
            prop_assert!(ahead > 4 || carried.is_some_and(|block| block > 3));
            return Ok(());
        };
        let mut taken = Vec::new();
        while let Ok(Some(submission)) = port.pop() {
            taken.push(submission);
        }
        prop_assert!(taken.len() <= 4);
        for submission in taken {
            let cqe = Cqe::bare(submission.user_data, Code::Draining);
            if port.complete(submission.block, cqe, &[], &[]).is_err() {
                break;
            }
        }
        port.publish();
    }
}
