//! What is shown to those who look, and what is counted only for them.

use super::super::mailbox::Look;
use super::super::onlooker::WATCHED;
use super::*;
use crate::metrics::session::SessionFigures;

fn look(stage: &mut Stage, look: Look) {
    stage.post.send(Mail::Show(look)).unwrap();
    stage.worker.do_work();
    assert_eq!(stage.post.notice(), Some(Notice::Shown { worker: 0 }));
}

fn shown(figures: &SessionFigures) -> (u64, u64, u64) {
    let SessionFigures {
        completed,
        in_flight,
        queued,
        ..
    } = figures;
    (completed.get(), in_flight.get(), queued.get())
}

/// Has a request answered after this time.
fn answered_after(stage: &mut Stage, client: &mut Client, time: Duration) {
    submit(client, 0, SECOND);
    stage.worker.do_work();
    let sent = stage.sent();
    stage.advance(time);
    stage.answer(sent[0].token, Bytes::new());
    stage.worker.do_work();
    assert_eq!(take(client), [(0, Code::Ok)]);
}

#[test]
fn figures_are_those_of_the_moment_when_somebody_asks() {
    let mut stage = Stage::new(64, 64);
    let mut client = stage.attach();
    let figures = Arc::clone(&stage.figures);
    for mark in 0..3 {
        submit(&mut client, mark, SECOND);
    }
    stage.worker.do_work();
    let sent = stage.sent();
    stage.answer(sent[0].token, Bytes::new());
    stage.worker.do_work();
    stage.room(0);
    submit(&mut client, 3, SECOND);
    submit(&mut client, 4, SECOND);
    stage.worker.do_work();
    assert_eq!(shown(&figures), (0, 0, 0));
    look(&mut stage, Look::Somebody);
    assert_eq!(shown(&figures), (1, 2, 2));
    let route = &stage.metrics.routes()[0];
    assert_eq!((route.admitted.get(), route.in_flight.get()), (3, 2));
    // Rejected requests are completed too.
    stage.room(64);
    let request = Ask::to(0).header("ipcgw-x", "1");
    client.submit(request).unwrap();
    client.flush();
    stage.worker.do_work();
    look(&mut stage, Look::Nobody);
    assert_eq!(shown(&figures), (2, 4, 0));
    let route = &stage.metrics.routes()[0];
    assert_eq!((route.admitted.get(), route.in_flight.get()), (5, 4));
}

#[test]
fn latencies_are_counted_only_while_somebody_looks() {
    let mut stage = Stage::new(64, 64);
    let mut client = stage.attach();
    let figures = Arc::clone(&stage.figures);
    answered_after(&mut stage, &mut client, SECOND / 2);
    assert!(figures.latency().is_none());
    figures.want_latency();
    let nanos = || figures.latency().unwrap().sum_ns();
    answered_after(&mut stage, &mut client, SECOND / 2);
    look(&mut stage, Look::Nobody);
    answered_after(&mut stage, &mut client, SECOND / 2);
    assert_eq!(nanos(), 0);
    look(&mut stage, Look::Somebody);
    answered_after(&mut stage, &mut client, SECOND / 2);
    assert!(nanos() >= 500_000_000);
    let before = nanos();
    stage.advance(WATCHED);
    stage.worker.do_work();
    answered_after(&mut stage, &mut client, SECOND / 2);
    assert_eq!(nanos(), before);
}

#[test]
fn a_worker_is_busy_from_a_cycle_that_found_something_to_the_next() {
    let mut stage = Stage::new(64, 64);
    let mut client = stage.attach();
    let busy = |stage: &Stage| stage.metrics.busy_ns.get();
    answered_after(&mut stage, &mut client, SECOND / 2);
    assert_eq!(busy(&stage), 0);
    look(&mut stage, Look::Somebody);
    stage.advance(Duration::from_nanos(3));
    stage.worker.do_work();
    let began = busy(&stage);
    stage.advance(Duration::from_nanos(100));
    submit(&mut client, 1, SECOND);
    stage.worker.do_work();
    stage.advance(Duration::from_nanos(7));
    stage.worker.do_work();
    stage.advance(Duration::from_nanos(50));
    stage.worker.do_work();
    assert_eq!(busy(&stage) - began, 7);
}

#[test]
fn a_session_that_was_taken_over_counts_from_there() {
    let mut stage = Stage::new(64, 64);
    let (mut client, region) = stage.attach_shared(Charges::default());
    answered_after(&mut stage, &mut client, SECOND / 2);
    stage.post.send(Mail::HandOver).unwrap();
    stage.worker.do_work();
    let Some(Notice::HandedOver { session, cursors }) = stage.post.notice() else {
        panic!("the session is not handed over");
    };
    let mut next = Stage::new(64, 64);
    next.adopt(session, region, cursors);
    answered_after(&mut next, &mut client, SECOND / 2);
    look(&mut next, Look::Somebody);
    assert_eq!(shown(&next.figures), (1, 0, 0));
}
