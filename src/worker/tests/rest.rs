//! Sessions that rest, and how they are found again.

use super::*;

#[test]
fn a_session_that_rests_is_found_by_what_it_submits_and_when_its_ring_breaks() {
    let mut stage = Stage::new(64, 64);
    let (mut client, shared) = stage.attach_shared(Charges::default());
    let others = [stage.attach(), stage.attach()];
    for mark in 0..3 {
        // Empty cycles, after which nobody is looked at closely.
        for _ in 0..3 {
            assert_eq!(stage.worker.do_work(), 0);
        }
        assert!(stage.worker.prepare_to_sleep());
        stage.worker.awake();
        submit(&mut client, mark, SECOND);
        assert!(!stage.worker.prepare_to_sleep());
        assert_eq!(stage.worker.do_work(), 1);
        let sent = stage.sent();
        stage.answer(sent[0].token, Bytes::new());
        assert_eq!(stage.worker.do_work(), 1);
        assert_eq!(take(&mut client), [(mark, Code::Ok)]);
    }
    stage.worker.do_work();
    // A tail that went back.
    let tail = shared.ring(Ring::Submission);
    tail.tail().store(2, Ordering::Release);
    assert!(!stage.worker.prepare_to_sleep());
    stage.worker.do_work();
    let violations: u64 = stage.metrics.violations().map(|(_, count)| count).sum();
    assert_eq!((violations, stage.metrics.sessions.get()), (1, 2));
    // Its seat is free, and the next to come is looked at.
    assert!(stage.worker.prepare_to_sleep());
    stage.worker.awake();
    let mut next = stage.attach();
    submit(&mut next, 9, SECOND);
    assert_eq!(stage.worker.do_work(), 1);
    drop(others);
}

#[test]
fn rings_for_what_there_is_no_room_for_are_not_in_vain() {
    let mut stage = Stage::new(64, 64);
    let mut client = stage.attach();
    stage.room(0);
    for round in 0..20 {
        for mark in 0..u64::from(ENTRIES) {
            stage.worker.prepare_to_sleep();
            submit(&mut client, mark, SECOND);
            stage.worker.awake();
            assert_eq!(stage.worker.do_work(), 0);
        }
        assert_eq!(stage.metrics.rings_in_vain.get(), 0, "{round}");
        stage.room(ENTRIES as usize);
        assert_eq!(stage.worker.do_work(), ENTRIES as usize);
        for request in stage.sent() {
            stage.answer(request.token, Bytes::new());
        }
        stage.worker.do_work();
        assert_eq!(take(&mut client).len(), ENTRIES as usize);
        stage.room(0);
    }
    assert_eq!(stage.metrics.sessions_deafened.get(), 0);
}

#[test]
fn a_session_at_rest_among_many_is_come_to_in_turn_and_before_the_worker_sleeps() {
    let mut stage = Stage::with_mailbox(64, 64, 400);
    let mut clients: Vec<_> = (0..300).map(|_| stage.attach()).collect();
    // Round by round: they come to rest, and in as many cycles without time each has its turn.
    let round = |stage: &mut Stage| (0..40).map(|_| stage.worker.do_work()).sum::<usize>();
    round(&mut stage);
    for at in [0, 150, 299, 0] {
        submit(&mut clients[at], at as u64, SECOND);
        assert_eq!(round(&mut stage), 1);
        stage.answer(stage.sent()[0].token, Bytes::new());
        stage.worker.do_work();
        assert_eq!(take(&mut clients[at]), [(at as u64, Code::Ok)]);
        assert_eq!(round(&mut stage) + round(&mut stage), 0);
    }
    // Where enough time has passed one cycle is enough.
    for at in [299, 0, 150] {
        submit(&mut clients[at], 1, SECOND);
        stage.advance(Duration::from_micros(120));
        assert_eq!(stage.worker.do_work(), 1);
    }
    for at in [298, 1, 151] {
        submit(&mut clients[at], 1, SECOND);
        assert!(!stage.worker.prepare_to_sleep());
        assert_eq!(stage.worker.do_work(), 1);
    }
    // One that ends answers those too that it had not come to.
    for at in [10, 140, 290] {
        submit(&mut clients[at], 2, SECOND);
    }
    stage.post.send(Mail::Stop).unwrap();
    stage.worker.do_work();
    for at in [10, 140, 290] {
        assert_eq!(take(&mut clients[at]), [(2, Code::Draining)]);
    }
}

#[test]
fn what_is_kept_for_others_is_no_work_for_one_that_has_its_share() {
    // Eight places, one of them for those that have less than their share.
    let mut stage = Stage::new(64, 8);
    let (mut greedy, mut other) = (stage.attach(), stage.attach());
    submit(&mut other, 0, SECOND);
    for mark in 0..6 {
        submit(&mut greedy, mark, SECOND);
    }
    assert_eq!(stage.worker.do_work(), 7);
    assert_eq!(stage.worker.do_work(), 0);
    submit(&mut greedy, 7, SECOND);
    assert_eq!(stage.worker.do_work(), 0);
    // It sleeps, and looks again before long: room makes no sound.
    assert!(stage.worker.prepare_to_sleep());
    let now = stage.clock.now();
    assert!(stage.worker.next_due() <= now.after(Duration::from_millis(10)));
    stage.worker.awake();
    // The other one's share is there.
    submit(&mut other, 1, SECOND);
    assert!(!stage.worker.prepare_to_sleep());
    assert_eq!(stage.worker.do_work(), 1);
}

#[test]
fn a_full_ring_that_was_taken_over_is_looked_into() {
    let mut stage = Stage::new(64, 64);
    let (mut client, shared) = stage.attach_shared(Charges::default());
    for mark in 0..u64::from(ENTRIES) {
        submit(&mut client, mark, SECOND);
    }
    assert_eq!(stage.worker.do_work(), ENTRIES as usize);
    for request in stage.sent() {
        stage.answer(request.token, Bytes::new());
    }
    stage.worker.do_work();
    stage.post.send(Mail::HandOver).unwrap();
    stage.worker.do_work();
    let Some(Notice::HandedOver { session, cursors }) = stage.post.notice() else {
        panic!("the session is not handed over");
    };
    let mut next = Stage::new(64, 64);
    next.adopt(session, shared, cursors);
    assert_eq!(next.metrics.sessions.get(), 1);
    // It takes nothing for a long while.
    for _ in 0..400 {
        next.advance(Duration::from_millis(100));
        next.worker.do_work();
    }
    assert_eq!(next.metrics.sessions.get(), 0);
    drop(client);
}
