//! The worker, stepped by hand: a clock that moves when told, an upstream that answers when told,
//! and real clients at the other end of real regions.

use core::time::Duration;
use std::sync::Arc;

use bytes::Bytes;
use ipc_ringbuf::error::EndReason;
use ipc_ringbuf::layout::Ring;
use ipc_ringbuf::primitive::Ordering;
use ipc_ringbuf::spsc::RingMemory as _;
use ipc_ringbuf::{Client, Code, Outcome, Request as Ask, SubmitError};

use super::charges::{Charges, UserLoad};
use super::mailbox::{Mail, Notice};
use super::timers::TICK;
use crate::bridge::{Admission, Duty as _, Reply, Token};
use crate::clock::{Clock, Nanos};
use crate::route::Route;

mod gates;
mod random;
mod rest;
mod show;
mod stage;

use stage::{ENTRIES, MAX_PAYLOAD, Stage, submit, take};

#[expect(dead_code, reason = "the tests of ringbuf use more of it")]
#[path = "../../ringbuf/tests/support/mod.rs"]
mod support;

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
fn without_a_key_nothing_may_be_sent_again() {
    let mut stage = Stage::new(64, 64);
    let mut client = stage.attach();
    for key in ["k", ""] {
        let request = Ask::to(0).idempotency_key(key);
        client.submit(request).unwrap();
    }
    submit(&mut client, 1, SECOND);
    client.flush();
    stage.worker.do_work();
    let may_be = stage.sent().into_iter().map(|sent| sent.idempotent);
    assert!(may_be.eq([true, false, false]));
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
    for session in 1..=4 {
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
    assert!(ended(1) && ended(2) && ended(3));
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
        Some(Notice::Ended { session: 4, .. })
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
fn a_session_that_is_handed_over_goes_on_with_another_worker() {
    let mut stage = Stage::new(64, 64);
    let (mut client, region) = stage.attach_shared(Charges::default());
    submit(&mut client, 1, SECOND);
    submit(&mut client, 2, SECOND);
    stage.worker.do_work();
    let sent = stage.sent();
    stage.post.send(Mail::Pause).unwrap();
    submit(&mut client, 3, SECOND);
    stage.worker.do_work();
    // It stays in the ring, and the worker can sleep beside it.
    assert_eq!(take(&mut client), []);
    assert!(stage.worker.prepare_to_sleep());
    stage.worker.awake();
    stage.answer(sent[0].token, Bytes::new());
    stage.worker.do_work();
    assert_eq!(stage.post.notice(), None);
    stage.post.send(Mail::HandOver).unwrap();
    stage.worker.do_work();
    let codes = take(&mut client);
    assert_eq!(codes, [(1, Code::Ok), (2, Code::GatewayRestarted)]);
    assert!(stage.worker.finished());
    let Some(Notice::HandedOver { session, cursors }) = stage.post.notice() else {
        panic!("the session is not handed over");
    };
    assert_eq!((session, cursors.submission_head), (1, 2));
    assert_eq!((cursors.completion_tail, cursors.carried), (2, None));
    // A late answer finds nothing.
    stage.answer(sent[1].token, Bytes::new());
    stage.worker.do_work();
    assert_eq!(take(&mut client), []);
    let mut next = Stage::new(64, 64);
    next.adopt(session, region, cursors);
    let sent = next.sent();
    assert_eq!(sent.len(), 1);
    next.answer(sent[0].token, Bytes::new());
    next.worker.do_work();
    assert_eq!(take(&mut client), [(3, Code::Ok)]);
}

#[test]
fn a_pause_ends_when_nothing_is_in_flight() {
    let mut stage = Stage::new(64, 64);
    let mut client = stage.attach();
    submit(&mut client, 1, SECOND);
    stage.worker.do_work();
    let sent = stage.sent();
    stage.post.send(Mail::Pause).unwrap();
    stage.worker.do_work();
    assert_eq!(stage.post.notice(), None);
    stage.answer(sent[0].token, Bytes::new());
    stage.worker.do_work();
    assert_eq!(stage.post.notice(), Some(Notice::Drained { worker: 0 }));
    // It still may have to stop.
    submit(&mut client, 2, SECOND);
    stage.post.send(Mail::Stop).unwrap();
    stage.worker.do_work();
    assert_eq!(take(&mut client), [(1, Code::Ok), (2, Code::Draining)]);
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
