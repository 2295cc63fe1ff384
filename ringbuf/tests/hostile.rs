//! Either side writes what it should not. The other gets a typed error, or the completion that the
//! fault deserves; it never panics, and a second session does not notice.

use std::os::fd::AsFd as _;

use ipc_ringbuf::entry::{Cqe, DESCRIPTOR_WORDS, MAX_HEADER_BYTES, Opcode, Sqe, SqeError, Words};
use ipc_ringbuf::error::PeerMisbehaved;
use ipc_ringbuf::handshake::{RouteInfo, Welcome, farewell};
use ipc_ringbuf::headers::{self, HeaderError};
use ipc_ringbuf::layout::{Geometry, Layout, Ring};
use ipc_ringbuf::primitive::Ordering;
use ipc_ringbuf::spsc::RingMemory as _;
use ipc_ringbuf::sys::{self, BellPage};
use ipc_ringbuf::{AttachError, ClientBuilder, Code, EndReason, Outcome, Request};

use crate::support::{Pair, SOON, attach, pair};

const ENTRIES: u32 = 8;
const MESSAGE: u32 = 256;

fn tail(newest: u32, position: u32) -> u64 {
    (u64::from(newest) << 32) | u64::from(position)
}

const fn sqe() -> Sqe {
    Sqe {
        user_data: 7,
        opcode: Opcode::Call,
        idempotent: false,
        route: 0,
        header_len: 0,
        payload_len: 0,
        timeout_ns: 0,
        submitted_ns: 0,
    }
}

/// Puts a block's index at a position of the submission ring, as a client would.
fn submit_raw(pair: &Pair, position: u32, block: u32, words: &Words) {
    pair.shared.store_descriptor(block, words);
    let ring = pair.shared.ring(Ring::Submission);
    ring.slot(position).store(block, Ordering::Relaxed);
    ring.tail()
        .store(tail(block, position + 1), Ordering::Release);
}

#[test]
fn an_impossible_submission_tail_ends_the_session_and_no_other() {
    let mut other = pair(ENTRIES, MESSAGE);
    for claim in [ENTRIES + 1, 1 << 31, u32::MAX] {
        let mut pair = pair(ENTRIES, MESSAGE);
        let ring = pair.shared.ring(Ring::Submission);
        ring.tail().store(tail(0, claim), Ordering::Release);
        let fault = PeerMisbehaved::Tail { claimed: claim };
        assert_eq!(pair.port.pop().err(), Some(fault));
        assert_eq!(pair.port.has_submissions().err(), Some(fault));
    }
    other.client.submit(Request::to(0).payload(b"x")).unwrap();
    other.client.flush();
    let submission = other.port.pop().unwrap().unwrap();
    let cqe = Cqe::bare(submission.user_data, Code::Ok);
    other
        .port
        .complete(submission.block, cqe, &[], b"y")
        .unwrap();
    other.port.publish();
    assert_eq!(other.client.poll().unwrap().payload(), b"y");
}

#[test]
fn a_submission_tail_that_goes_back_is_seen() {
    let mut pair = pair(ENTRIES, MESSAGE);
    submit_raw(&pair, 0, 3, &sqe().to_words());
    assert!(pair.port.pop().unwrap().is_some());
    let ring = pair.shared.ring(Ring::Submission);
    ring.tail().store(tail(0, 0), Ordering::Release);
    let fault = PeerMisbehaved::Tail { claimed: 0 };
    assert_eq!(pair.port.pop().err(), Some(fault));
}

#[test]
fn a_block_that_does_not_exist_is_refused() {
    for block in [ENTRIES, ENTRIES + 1, u32::MAX] {
        let mut pair = pair(ENTRIES, MESSAGE);
        submit_raw(&pair, 0, block, &sqe().to_words());
        let fault = PeerMisbehaved::NoSuchBlock(block);
        assert_eq!(pair.port.pop().err(), Some(fault));
        assert_eq!(pair.port.held(), 0);
    }
}

#[test]
fn a_block_that_is_in_flight_is_refused() {
    let mut pair = pair(ENTRIES, MESSAGE);
    submit_raw(&pair, 0, 5, &sqe().to_words());
    assert!(pair.port.pop().unwrap().is_some());
    submit_raw(&pair, 1, 5, &sqe().to_words());
    assert_eq!(
        pair.port.pop().err(),
        Some(PeerMisbehaved::BlockInFlight(5))
    );
    assert_eq!(pair.port.held(), 1);
}

#[test]
fn a_bad_descriptor_is_a_fault_of_its_request_only() {
    let with = |at: usize, value: u64| {
        let mut words = sqe().to_words();
        words[at] = value;
        words
    };
    let (header, payload) = (MAX_HEADER_BYTES + 1, u64::from(MESSAGE) + 1);
    let head = sqe().to_words()[1];
    let cases: [(Words, SqeError); 8] = [
        ([0; DESCRIPTOR_WORDS], SqeError::Opcode(0)),
        (with(1, 0xff), SqeError::Opcode(0xff)),
        (with(1, head | 0x8000), SqeError::Flags(0x80)),
        (with(5, 1), SqeError::Reserved),
        (with(7, u64::MAX), SqeError::Reserved),
        (
            with(1, head | (u64::from(header) << 32)),
            SqeError::HeaderLength(header),
        ),
        (
            with(2, payload),
            SqeError::TooLarge {
                bytes: payload,
                limit: MESSAGE,
            },
        ),
        (
            with(2, u64::from(u32::MAX)),
            SqeError::TooLarge {
                bytes: u64::from(u32::MAX),
                limit: MESSAGE,
            },
        ),
    ];
    let mut pair = pair(ENTRIES, MESSAGE);
    for (position, (words, fault)) in (0_u32..).zip(cases) {
        submit_raw(&pair, position, position, &words);
        let submission = pair.port.pop().unwrap().expect("it is taken");
        assert_eq!(submission.sqe, Err(fault));
        assert_eq!(submission.user_data, words[0]);
        // It is completed like any other.
        let cqe = Cqe::bare(submission.user_data, fault.code());
        pair.port.complete(submission.block, cqe, &[], &[]).unwrap();
    }
}

#[test]
fn a_descriptor_that_changes_after_it_was_taken_changes_nothing() {
    let mut pair = pair(ENTRIES, MESSAGE);
    let honest = Sqe {
        payload_len: 4,
        ..sqe()
    };
    submit_raw(&pair, 0, 2, &honest.to_words());
    let submission = pair.port.pop().unwrap().unwrap();
    let greedy = Sqe {
        payload_len: u32::MAX,
        ..sqe()
    };
    pair.shared.store_descriptor(2, &greedy.to_words());
    let mut body = bytes::BytesMut::new();
    let parsed = submission.sqe.unwrap();
    pair.port.copy_body(submission.block, &parsed, &mut body);
    assert_eq!((parsed, body.len()), (honest, 4));
}

/// Submits and completes one request more than the completion ring holds, and takes no completion;
/// returns what the last one met.
fn overfill(pair: &mut Pair) -> Option<PeerMisbehaved> {
    let mut fault = None;
    for position in 0..=ENTRIES {
        submit_raw(pair, position, position % ENTRIES, &sqe().to_words());
        let submission = pair.port.pop().unwrap().unwrap();
        let cqe = Cqe::bare(7, Code::Ok);
        fault = pair.port.complete(submission.block, cqe, &[], &[]).err();
    }
    fault
}

#[test]
fn an_impossible_completion_head_ends_the_session() {
    for claim in [1, ENTRIES + 1, 1 << 31, u32::MAX] {
        let mut pair = pair(ENTRIES, MESSAGE);
        let ring = pair.shared.ring(Ring::Completion);
        ring.head().store(claim, Ordering::Release);
        // Nobody needs the head before the ring is full; then it is looked at.
        assert_eq!(
            overfill(&mut pair),
            Some(PeerMisbehaved::Head { claimed: claim })
        );
    }
}

#[test]
fn a_completion_ring_that_is_never_drained_is_not_overrun() {
    let mut pair = pair(ENTRIES, MESSAGE);
    assert_eq!(
        overfill(&mut pair),
        Some(PeerMisbehaved::CompletionRingFull)
    );
}

#[test]
fn malformed_headers_reach_the_gateway_as_bytes_and_are_refused_there() {
    let cases: [(&[u8], HeaderError); 6] = [
        (&[1], HeaderError::Truncated),
        (&[1, 0, 1, 0, b'a'], HeaderError::Truncated),
        (&[0xff; 64], HeaderError::Truncated),
        (&[0, 0, 0, 0], HeaderError::Name),
        (&[1, 0, 0, 0, b':'], HeaderError::Name),
        (&[1, 0, 1, 0, b'a', b'\n'], HeaderError::Value),
    ];
    let mut pair = pair(ENTRIES, MESSAGE);
    for (position, (block, fault)) in (0_u32..).zip(cases) {
        let sqe = Sqe {
            header_len: u32::try_from(block.len()).unwrap(),
            ..sqe()
        };
        // An honest client cannot write such headers, so they go out as a payload.
        let request = Request::to(0).payload(block);
        pair.client.submit(request).unwrap();
        pair.shared.store_descriptor(position, &sqe.to_words());
        pair.client.flush();
        let submission = pair.port.pop().unwrap().unwrap();
        let mut body = bytes::BytesMut::new();
        let parsed = submission.sqe.unwrap();
        pair.port.copy_body(submission.block, &parsed, &mut body);
        assert_eq!(headers::decode(&body).last(), Some(Err(fault)));
    }
}

/// What a client makes of completions that a gateway should not write: its requests come back as
/// unknown, once each.
fn distrusts(scribble: impl Fn(&Pair)) {
    let mut pair = pair(ENTRIES, MESSAGE);
    for mark in 0..3 {
        pair.client.submit(Request::to(0).user_data(mark)).unwrap();
    }
    pair.client.flush();
    scribble(&pair);
    let mut marks = Vec::new();
    while let Some(completion) = pair.client.wait(SOON) {
        assert_eq!(completion.outcome(), Outcome::Unknown);
        assert_eq!(completion.code(), Code::GatewayRestarted);
        marks.push(completion.ticket().0);
    }
    marks.sort_unstable();
    assert_eq!(marks, [0, 1, 2]);
    assert!(!pair.client.is_attached());
    assert_eq!(pair.client.end_reason(), Some(EndReason::RingCorrupt));
}

#[test]
fn a_client_gives_a_session_up_whose_completions_are_impossible() {
    for position in [ENTRIES + 1, u32::MAX] {
        distrusts(|pair| {
            let ring = pair.shared.ring(Ring::Completion);
            ring.tail().store(tail(0, position), Ordering::Release);
        });
    }
    // A block that does not exist, and one that is not on its way.
    for block in [ENTRIES, u32::MAX, ENTRIES - 1] {
        distrusts(|pair| {
            let ring = pair.shared.ring(Ring::Completion);
            ring.slot(0).store(block, Ordering::Relaxed);
            ring.tail().store(tail(block, 1), Ordering::Release);
        });
    }
    // A block on its way with a descriptor that is none.
    for words in [
        [u64::MAX; DESCRIPTOR_WORDS],
        Cqe {
            payload_len: MESSAGE + 1,
            ..Cqe::bare(0, Code::Ok)
        }
        .to_words(),
    ] {
        distrusts(|pair| {
            for block in 0..3 {
                pair.shared.store_descriptor(block, &words);
            }
            let ring = pair.shared.ring(Ring::Completion);
            ring.slot(0).store(0, Ordering::Relaxed);
            ring.tail().store(tail(0, 1), Ordering::Release);
        });
    }
}

/// The gateway gives memory back when it has ended a session; the client may be behind.
#[test]
fn memory_that_was_given_back_is_no_answer() {
    let mut pair = pair(ENTRIES, MESSAGE);
    for mark in 0..4 {
        pair.client.submit(Request::to(0).user_data(mark)).unwrap();
    }
    pair.client.flush();
    let mut taken: Vec<_> = core::iter::from_fn(|| pair.port.pop().unwrap()).collect();
    // Zeros name block 0, which is completed last.
    while let Some(submission) = taken.pop() {
        let cqe = Cqe::bare(submission.user_data, Code::Ok);
        pair.port
            .complete(submission.block, cqe, &[], b"y")
            .unwrap();
    }
    pair.port.publish();
    assert_eq!(pair.client.poll().unwrap().payload(), b"y");
    // As the gateway does it: it says why, and closes later.
    let reason = EndReason::SlowClient;
    sys::send_packet(pair.port.socket(), &farewell(reason), &[]).unwrap();
    let bytes = pair.shared.layout().region_bytes();
    sys::give_back(pair.memfd.as_fd(), bytes).unwrap();
    let mut marks = Vec::new();
    while let Some(completion) = pair.client.wait(SOON) {
        assert_eq!(completion.code(), Code::GatewayRestarted);
        marks.push(completion.ticket().0);
    }
    marks.sort_unstable();
    assert_eq!(marks, [0, 1, 2]);
    assert!(!pair.client.is_attached());
    assert_eq!(pair.client.end_reason(), Some(reason));
}

/// The client looks at the submission ring's head only when the ring may be full, which is never
/// before a lap.
#[test]
fn a_client_gives_a_session_up_whose_submission_head_is_impossible() {
    for claim in [ENTRIES + 1, 1 << 31, u32::MAX] {
        let mut pair = pair(ENTRIES, MESSAGE);
        let head = |claim| {
            let ring = pair.shared.ring(Ring::Submission);
            ring.head().store(claim, Ordering::Release);
        };
        for mark in 0..u64::from(ENTRIES) {
            pair.client.submit(Request::to(0).user_data(mark)).unwrap();
            pair.client.flush();
            let submission = pair.port.pop().unwrap().unwrap();
            let cqe = Cqe::bare(mark, Code::Ok);
            pair.port.complete(submission.block, cqe, &[], &[]).unwrap();
            pair.port.publish();
            head(claim);
            assert_eq!(pair.client.poll().unwrap().ticket().0, mark);
        }
        // It is accepted, so it is completed, once.
        pair.client.submit(Request::to(0).user_data(77)).unwrap();
        let completion = pair.client.wait(SOON).unwrap();
        assert_eq!(completion.ticket().0, 77);
        assert_eq!(completion.code(), Code::GatewayRestarted);
        assert_eq!(pair.client.outstanding(), 0);
        assert!(!pair.client.is_attached());
    }
}

#[test]
fn a_client_skips_reply_headers_that_are_malformed() {
    let mut pair = pair(ENTRIES, MESSAGE);
    for block in [&[0xff; 64][..], &[1], &[1, 0, 1, 0, b'a', b'\r']] {
        pair.client.submit(Request::to(0)).unwrap();
        pair.client.flush();
        let submission = pair.port.pop().unwrap().unwrap();
        let cqe = Cqe::bare(submission.user_data, Code::Ok);
        pair.port
            .complete(submission.block, cqe, block, b"reply")
            .unwrap();
        pair.port.publish();
        let completion = pair.client.poll().unwrap();
        assert_eq!(completion.headers().count(), 0);
        assert_eq!(completion.payload(), b"reply");
    }
}

#[test]
fn a_client_ignores_the_mark_that_a_gateway_writes() {
    let mut pair = pair(ENTRIES, MESSAGE);
    pair.client.submit(Request::to(0).user_data(41)).unwrap();
    pair.client.flush();
    let submission = pair.port.pop().unwrap().unwrap();
    let cqe = Cqe::bare(999, Code::Ok);
    pair.port.complete(submission.block, cqe, &[], &[]).unwrap();
    pair.port.publish();
    assert_eq!(pair.client.poll().unwrap().ticket().0, 41);
}

fn welcome(geometry: Geometry) -> Vec<u8> {
    let route = RouteInfo {
        id: 0,
        name: "echo".to_owned(),
        timeout_ms: 1,
    };
    let welcome = Welcome {
        session: 1,
        geometry,
        routes: vec![route],
    };
    welcome.encode().unwrap()
}

#[test]
fn a_client_refuses_memory_that_could_vanish_under_it() {
    let geometry = Geometry::default();
    let bytes = Layout::try_from(geometry).unwrap().region_bytes();
    let refused = |memory: std::fs::File| {
        let (client, ()) = attach(ClientBuilder::new(), |socket, _| {
            let page = BellPage::create().unwrap();
            let eventfd = sys::eventfd().unwrap();
            let fds = [memory.as_fd(), page.fd().unwrap(), eventfd.as_fd()];
            sys::send_packet(socket.as_fd(), &welcome(geometry), &fds).unwrap();
        });
        client.unwrap_err()
    };
    // Too small, and large enough but not sealed.
    let small = sys::sealed_memfd("small", bytes - 4096).unwrap();
    assert!(matches!(refused(small.into()), AttachError::Io(_)));
    let file = tempfile::tempfile().unwrap();
    file.set_len(bytes).unwrap();
    assert!(matches!(refused(file), AttachError::Io(_)));
}

#[test]
fn a_client_refuses_an_answer_that_is_none() {
    let answers: [&[u8]; 4] = [b"", b"x", &[0xff; 64], &welcome(Geometry::default())];
    for answer in answers {
        let (client, ()) = attach(ClientBuilder::new(), |socket, _| {
            // The last one comes without its descriptors.
            sys::send_packet(socket.as_fd(), answer, &[]).ok();
        });
        assert!(
            matches!(client, Err(AttachError::Protocol(_) | AttachError::Ended)),
            "{client:?}"
        );
    }
}
