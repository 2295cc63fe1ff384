//! What holds requests back: breaker, the Router's word, shares; and clients that take nothing.

use super::*;
use crate::route::BreakerPolicy;

fn breaking() -> Route {
    Route {
        breaker: BreakerPolicy {
            min_failures: 3,
            probes: 1,
            ..BreakerPolicy::default()
        },
        ..Route::decide()
    }
}

/// Submits a request and steps the worker; returns what has been sent and what has come back.
fn offer(stage: &mut Stage, client: &mut Client, mark: u64) -> (usize, Vec<(u64, Code)>) {
    submit(client, mark, SECOND);
    stage.worker.do_work();
    (stage.sent().len(), take(client))
}

fn end(stage: &mut Stage, token: Token, code: Code) {
    stage
        .upstream
        .script()
        .replies
        .push_back(Reply::bare(token, code));
    stage.worker.do_work();
}

#[test]
fn an_open_breaker_rejects_at_once_and_one_answered_probe_closes_it() {
    let mut stage = Stage::of(64, 64, breaking());
    let mut client = stage.attach();
    for mark in 0..3 {
        submit(&mut client, mark, SECOND);
        stage.worker.do_work();
        let token = stage.sent().remove(0).token;
        end(&mut stage, token, Code::NoResponders);
        assert_eq!(take(&mut client), [(mark, Code::NoResponders)]);
    }
    submit(&mut client, 3, SECOND);
    stage.worker.do_work();
    let completion = client.poll().unwrap();
    assert_eq!(completion.code(), Code::Overloaded);
    let wait = completion.retry_after().unwrap();
    assert!((750..=1250).contains(&wait.as_millis()), "{wait:?}");
    let route = |stage: &Stage| {
        let route = stage.metrics.route(0).unwrap();
        let counts = (route.breaker_opens.get(), route.rejected_breaker.get());
        (route.breaker_state.get(), counts)
    };
    assert_eq!(route(&stage), (2, (1, 1)));
    stage.advance(Duration::from_millis(1251));
    submit(&mut client, 4, SECOND);
    submit(&mut client, 5, SECOND);
    stage.worker.do_work();
    let probe = stage.sent();
    assert_eq!(probe.len(), 1);
    assert_eq!(take(&mut client), [(5, Code::Overloaded)]);
    assert_eq!(route(&stage), (1, (1, 2)));
    end(&mut stage, probe[0].token, Code::Ok);
    assert_eq!(route(&stage).0, 0);
    assert_eq!(take(&mut client), [(4, Code::Ok)]);
    assert_eq!(offer(&mut stage, &mut client, 6), (1, vec![]));
}

#[test]
fn a_probe_whose_session_ends_lets_another_one_pass() {
    let mut stage = Stage::of(64, 64, breaking());
    stage.admissions.set(0, Admission::Probing { closure: 1 });
    let (mut one, mut other) = (stage.attach(), stage.attach());
    assert_eq!(offer(&mut stage, &mut one, 1).0, 1);
    assert_eq!(offer(&mut stage, &mut other, 2).1, [(2, Code::Overloaded)]);
    let reason = EndReason::PeerDied;
    stage
        .post
        .send(Mail::Detach { session: 1, reason })
        .unwrap();
    stage.worker.do_work();
    assert_eq!(offer(&mut stage, &mut other, 3).0, 1);
}

#[test]
fn after_a_closure_of_the_router_probes_come_first_and_each_closure_is_probed_anew() {
    let mut stage = Stage::of(64, 64, breaking());
    let mut client = stage.attach();
    for closure in [1, 2] {
        stage
            .admissions
            .set(0, Admission::Closed { retry_after_ms: 9 });
        let mark = u64::from(closure) * 10;
        assert_eq!(
            offer(&mut stage, &mut client, mark).1,
            [(mark, Code::Overloaded)]
        );
        stage.admissions.set(0, Admission::Probing { closure });
        submit(&mut client, 1, SECOND);
        stage.worker.do_work();
        let probe = stage.sent().remove(0).token;
        assert_eq!(
            offer(&mut stage, &mut client, 2),
            (0, vec![(2, Code::Overloaded)])
        );
        end(&mut stage, probe, Code::Ok);
        assert_eq!(take(&mut client), [(1, Code::Ok)]);
        for _ in 0..3 {
            submit(&mut client, 3, SECOND);
            stage.worker.do_work();
            let token = stage.sent().remove(0).token;
            end(&mut stage, token, Code::Ok);
            assert_eq!(take(&mut client), [(3, Code::Ok)]);
        }
    }
    let rejected = stage.metrics.route(0).unwrap().rejected_backpressure.get();
    assert_eq!(rejected, 2);
}

#[test]
fn a_greedy_session_leaves_the_last_room_to_the_others() {
    let mut stage = Stage::new(64, 8);
    let (mut greedy, mut polite) = (stage.attach(), stage.attach());
    submit(&mut polite, 100, SECOND);
    stage.worker.do_work();
    for mark in 0..u64::from(ENTRIES) {
        submit(&mut greedy, mark, SECOND);
    }
    stage.worker.do_work();
    let sent = stage.sent();
    assert_eq!(sent.len(), 8);
    // One of the greedy one's is answered: its place is not for its next one.
    stage.answer(sent[7].token, Bytes::new());
    stage.worker.do_work();
    assert_eq!(stage.sent().len(), 0);
    assert_eq!(offer(&mut stage, &mut polite, 101).0, 1);
}

#[test]
fn a_client_that_leaves_its_full_ring_alone_is_ended_and_one_that_takes_something_is_not() {
    let mut stage = Stage::new(64, 64);
    let (mut stopped, mut slow) = (stage.attach(), stage.attach());
    for client in [&mut stopped, &mut slow] {
        for mark in 0..u64::from(ENTRIES) {
            submit(client, mark, SECOND);
        }
    }
    stage.worker.do_work();
    for request in stage.sent() {
        stage.answer(request.token, Bytes::new());
    }
    stage.worker.do_work();
    for _ in 0..59 {
        stage.advance(Duration::from_millis(500));
        stage.worker.do_work();
    }
    assert_eq!(stage.metrics.sessions.get(), 2);
    assert!(stage.metrics.cq_full_ns.get() > 50_000_000_000);
    // Full again, but it has taken one.
    slow.poll().unwrap();
    submit(&mut slow, 9, SECOND);
    stage.worker.do_work();
    let token = stage.sent().remove(0).token;
    stage.answer(token, Bytes::new());
    for _ in 0..4 {
        stage.advance(Duration::from_millis(500));
        stage.worker.do_work();
    }
    let ended = Notice::Ended {
        session: 1,
        reason: EndReason::SlowClient,
        fault: None,
    };
    assert_eq!(stage.post.notice(), Some(ended));
    assert_eq!(stage.metrics.sessions.get(), 1);
}
