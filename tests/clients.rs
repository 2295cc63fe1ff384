//! The client library against the real binary: each handle, each refusal, and a gateway that ends.

use std::collections::BTreeSet;
use std::io::Write;
use std::time::Duration;

use ipc_ringbuf::client::RouteRef;
use ipc_ringbuf::error::EndReason;
use ipc_ringbuf::{
    CallError, Client, ClientBuilder, Code, Outcome, OwnedCompletion, Request, SubmitError,
};

use crate::support::gateway::{Gateway, attach, start};
use crate::support::silent::{MARK, Silent};
use crate::support::{SOON, eventually};

mod ends;
mod routes;
mod watched;

const LOOPBACK: &[&str] = &["--upstream", "loopback"];
const BOUND: Duration = SOON;

fn builder(gateway: &Gateway) -> ClientBuilder {
    ClientBuilder::new().socket(&gateway.socket)
}

fn loopback(builder: impl Fn(ClientBuilder) -> ClientBuilder) -> (Gateway, Client) {
    let gateway = start(LOOPBACK);
    drop(attach(&gateway));
    let client = builder(self::builder(&gateway)).connect().unwrap();
    (gateway, client)
}

/// A gateway whose upstream answers nothing.
fn silent() -> (Silent, Gateway) {
    let silent = Silent::start();
    let gateway = start(&["--nats", &silent.url]);
    drop(attach(&gateway));
    (silent, gateway)
}

fn long(mark: u64) -> Request<'static> {
    Request::to("decide")
        .payload(MARK)
        .timeout(Duration::from_secs(60))
        .user_data(mark)
}

fn assert_lost(completion: &OwnedCompletion) {
    assert_eq!(completion.code(), Code::GatewayRestarted);
    assert_eq!(completion.outcome(), Outcome::Unknown);
}

/// Calls until the client has found the new gateway.
fn answers_again(mut call: impl FnMut(Request<'static>) -> Result<OwnedCompletion, CallError>) {
    eventually("the gateway is found again", || {
        match call(Request::to("decide").payload("again")) {
            Ok(reply) => {
                assert_eq!((reply.code(), reply.payload()), (Code::Ok, &b"again"[..]));
                true
            }
            Err(error) => {
                assert_eq!(error, CallError::Detached);
                false
            }
        }
    });
}

#[test]
fn eight_threads_share_a_client() {
    let gateway = start(LOOPBACK);
    drop(attach(&gateway));
    // Fewer blocks than threads, so that some wait for one.
    let client = builder(&gateway).entries(4).connect_shared().unwrap();
    std::thread::scope(|scope| {
        for thread in 0..8_u64 {
            let client = client.clone();
            scope.spawn(move || {
                for turn in 0..200_u64 {
                    let payload = (thread << 32 | turn).to_le_bytes();
                    let reply = client.call(Request::to("decide").payload(&payload));
                    let reply = reply.unwrap();
                    assert_eq!((reply.code(), reply.payload()), (Code::Ok, &payload[..]));
                }
            });
        }
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixty_four_tasks_share_a_client() {
    let gateway = start(LOOPBACK);
    drop(attach(&gateway));
    let client = builder(&gateway).entries(16).connect_async().await.unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..64_u64 {
        let client = client.clone();
        tasks.spawn(async move {
            for turn in 0..50_u64 {
                let payload = (task << 32 | turn).to_le_bytes();
                let reply = client.call(Request::to("decide").payload(&payload)).await;
                let reply = reply.unwrap();
                assert_eq!((reply.code(), reply.payload()), (Code::Ok, &payload[..]));
            }
        });
    }
    let ended = tokio::time::timeout(BOUND * 3, tasks.join_all()).await;
    assert_eq!(ended.map(|tasks| tasks.len()), Ok(64));
}

#[test]
fn a_loan_is_written_in_place_and_submitted() {
    let (_gateway, mut client) = loopback(|b| b.message_size(128));
    let request = Request::to("decide").header("k", "v").user_data(7);
    let mut loan = client.loan(request).unwrap();
    // 6 bytes are the header: two lengths, `k` and `v`.
    assert_eq!((loan.room(), loan.is_empty()), (122, true));
    write!(loan, "{}-{}", 1, 2).unwrap();
    assert_eq!((loan.room(), loan.len()), (119, 3));
    loan.submit();
    let reply = client.wait(BOUND).unwrap();
    assert_eq!((reply.ticket().0, reply.payload()), (7, &b"1-2"[..]));
    assert_eq!(reply.headers().collect::<Vec<_>>(), [("k", "v")]);
    let mut full = client.loan(Request::to("decide")).unwrap();
    full.write_all(&[1; 128]).unwrap();
    assert_eq!(full.write(&[1]).unwrap(), 0);
    full.submit();
    assert_eq!(client.wait(BOUND).unwrap().payload(), [1; 128]);
}

#[test]
fn a_dropped_loan_gives_its_block_back() {
    let (_gateway, mut client) = loopback(|b| b.entries(2));
    for _ in 0..10 {
        let mut loan = client.loan(Request::to("decide")).unwrap();
        loan.write_all(b"never sent").unwrap();
    }
    assert_eq!(client.outstanding(), 0);
    client.submit(Request::to("decide").payload("a")).unwrap();
    let reply = client.wait(BOUND).unwrap();
    assert_eq!(reply.payload(), b"a");
}

#[test]
fn a_full_session_gives_the_request_back() {
    let (_gateway, mut client) = loopback(|b| b.entries(2));
    for mark in 0..2 {
        client
            .submit(Request::to("decide").user_data(mark))
            .unwrap();
    }
    let third = Request::to("decide").payload("third").user_data(2);
    let Err(SubmitError::Full(back)) = client.submit(third) else {
        panic!("two blocks took three requests");
    };
    assert_eq!(client.wait(BOUND).unwrap().ticket().0, 0);
    client.submit(back).unwrap();
    assert_eq!(client.wait(BOUND).unwrap().ticket().0, 1);
    let reply = client.wait(BOUND).unwrap();
    assert_eq!((reply.ticket().0, reply.payload()), (2, &b"third"[..]));
    assert!(client.wait(Duration::ZERO).is_none());
}

#[test]
fn what_cannot_be_sent_is_said_and_sends_nothing() {
    let (_gateway, mut client) = loopback(|b| b.message_size(64));
    let large = [0; 65];
    let refused = client.submit(Request::to("decide").payload(&large));
    assert!(matches!(
        refused,
        Err(SubmitError::TooLarge { limit: 64, .. })
    ));
    let refused = client.submit(Request::to("nowhere"));
    assert!(matches!(refused, Err(SubmitError::UnknownRoute(_))));
    let refused = client.submit(Request::to("decide").header("a\r\nb", "c"));
    assert!(matches!(refused, Err(SubmitError::BadHeader(..))));
    assert!(matches!(
        client.call(Request::to("nowhere")).map(|c| c.code()),
        Err(CallError::UnknownRoute)
    ));
    // The request comes back, and what is left without it passes on.
    let refused = client.submit(Request::to("nowhere").payload("back"));
    let Err(error) = refused else {
        panic!("there is no such route");
    };
    assert_eq!(error.to_string(), "the gateway has no route \"nowhere\"");
    let again = error.into_request().route("decide");
    assert_eq!(client.call(again).unwrap().payload(), b"back");
    let passed_on = |client: &mut Client| -> Result<(), Box<dyn std::error::Error>> {
        let text = "borrowed".to_owned();
        let request = Request::to("nowhere").payload(&text);
        client.submit(request).map_err(CallError::from)?;
        Ok(())
    };
    let error = passed_on(&mut client).unwrap_err();
    assert_eq!(error.downcast_ref(), Some(&CallError::UnknownRoute));
    assert_eq!(client.outstanding(), 0);
    // What only the gateway can know comes back as a completion.
    let unknown = client.call(Request::to(RouteRef::Number(999))).unwrap();
    assert_eq!(
        (unknown.code(), unknown.outcome()),
        (Code::BadRoute, Outcome::Rejected)
    );
    let reserved = client.call(Request::to("decide").header("ipcgw-x", "y"));
    assert_eq!(reserved.unwrap().code(), Code::BadHeader);
}

#[test]
fn call_keeps_the_completions_of_others_which_come_in_any_order() {
    let (_gateway, mut client) = loopback(|b| b);
    // The third and the fourth are published together: the fourth is rejected at once, the third
    // comes back with the next cycle's replies.
    let routes = [RouteRef::from("decide"), 0.into(), 0.into(), 999.into()];
    for (mark, route) in (0..).zip(routes) {
        client.submit(Request::to(route).user_data(mark)).unwrap();
    }
    let called = client.call(Request::to("decide").payload("called").user_data(9));
    assert_eq!(called.unwrap().payload(), b"called");
    let mut order = Vec::new();
    while let Some(completion) = client.wait(BOUND) {
        order.push((completion.ticket().0, completion.code()));
    }
    let place = |mark| order.iter().position(|(ticket, _)| *ticket == mark);
    assert_eq!(order.len(), 4, "{order:?}");
    assert!(place(3) < place(2), "{order:?}");
    assert!(order.contains(&(3, Code::BadRoute)) && order.contains(&(0, Code::Ok)));
}

#[test]
fn a_call_takes_its_own_answer_whatever_marks_others_have() {
    let (_gateway, mut client) = loopback(|b| b);
    // The mark that the call is given too.
    for _ in 0..4 {
        let other = Request::to("decide").payload("other").user_data(4);
        client.submit(other).unwrap();
    }
    let called = client.call(Request::to("decide").payload("called"));
    let called = called.unwrap();
    assert_eq!((called.ticket().0, called.payload()), (4, &b"called"[..]));
    for _ in 0..4 {
        let other = client.wait(BOUND).unwrap();
        assert_eq!((other.ticket().0, other.payload()), (4, &b"other"[..]));
    }
    assert!(client.wait(BOUND).is_none());
}

#[test]
fn a_killed_gateway_completes_what_is_outstanding_once_and_is_found_again() {
    let (silent, mut gateway) = silent();
    let mut client = attach(&gateway);
    for mark in 0..10 {
        client.submit(long(mark)).unwrap();
    }
    client.flush();
    silent.wait_for(10);
    gateway.kill();
    let mut marks = BTreeSet::new();
    while let Some(completion) = client.wait(BOUND) {
        assert_lost(&completion.to_owned());
        assert!(marks.insert(completion.ticket().0));
    }
    assert_eq!(marks, (0..10).collect());
    assert!(matches!(
        client.submit(Request::to("decide")),
        Err(SubmitError::Detached(_))
    ));
    assert_eq!(client.outstanding(), 0);
    gateway.restart(LOOPBACK);
    answers_again(|request| client.call(request).map(|reply| reply.to_owned()));
}

#[test]
fn a_killed_gateway_completes_the_calls_of_every_thread() {
    let (silent, mut gateway) = silent();
    let client = builder(&gateway).connect_shared().unwrap();
    std::thread::scope(|scope| {
        let calls: Vec<_> = (0..8)
            .map(|mark| {
                let client = &client;
                scope.spawn(move || client.call(long(mark)))
            })
            .collect();
        silent.wait_for(8);
        gateway.kill();
        for call in calls {
            assert_lost(&call.join().unwrap().unwrap());
        }
    });
    gateway.restart(LOOPBACK);
    answers_again(|request| client.call(request));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_gateway_completes_the_calls_of_every_task() {
    let (silent, mut gateway) = silent();
    let client = builder(&gateway).connect_async().await.unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for mark in 0..64 {
        let client = client.clone();
        tasks.spawn(async move { client.call(long(mark)).await });
    }
    let silent = tokio::task::spawn_blocking(move || silent.wait_for(64));
    silent.await.unwrap();
    gateway.kill();
    let replies = tokio::time::timeout(BOUND, tasks.join_all()).await.unwrap();
    assert_eq!(replies.len(), 64);
    for reply in replies {
        assert_lost(&reply.unwrap());
    }
    gateway.restart(LOOPBACK);
    let again = async {
        loop {
            match client.call(Request::to("decide").payload("again")).await {
                Ok(reply) => break reply,
                Err(error) => assert_eq!(error, CallError::Detached),
            }
            tokio::task::yield_now().await;
        }
    };
    let reply = tokio::time::timeout(BOUND, again).await.unwrap();
    assert_eq!((reply.code(), reply.payload()), (Code::Ok, &b"again"[..]));
}

#[test]
fn a_runtime_that_is_shut_down_leaves_no_call_waiting() {
    let (silent, gateway) = silent();
    let its_own = tokio::runtime::Runtime::new().unwrap();
    let other = tokio::runtime::Runtime::new().unwrap();
    let client = its_own.block_on(builder(&gateway).connect_async()).unwrap();
    let calling = client.clone();
    let call = other.spawn(async move { calling.call(long(1)).await });
    silent.wait_for(1);
    drop(its_own);
    let soon = |call| other.block_on(async { tokio::time::timeout(BOUND, call).await.unwrap() });
    assert_lost(&soon(call).unwrap().unwrap());
    let late = other.spawn(async move { client.call(long(2)).await });
    assert_eq!(soon(late).unwrap().unwrap_err(), CallError::Detached);
}

#[test]
fn a_runtime_that_cannot_watch_a_socket_leaves_no_call_waiting() {
    let gateway = start(LOOPBACK);
    drop(attach(&gateway));
    let builder = builder(&gateway);
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let without_io = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        let client = without_io.block_on(builder.connect_async()).unwrap();
        for _ in 0..2 {
            let call = client.call(Request::to("decide"));
            sender.send(without_io.block_on(call)).unwrap();
        }
    });
    // What was sent before its driver could not begin, and what was not.
    assert_lost(&receiver.recv_timeout(BOUND).unwrap().unwrap());
    let late = receiver.recv_timeout(BOUND).unwrap();
    assert_eq!(late.unwrap_err(), CallError::Detached);
}

#[test]
fn completions_that_were_not_taken_outlive_a_gateway_that_drains() {
    let (mut gateway, mut client) = loopback(|b| b);
    for mark in 0..64_u64 {
        let payload = mark.to_le_bytes();
        client
            .submit(Request::to("decide").payload(&payload).user_data(mark))
            .unwrap();
    }
    client.flush();
    let mut marks = BTreeSet::new();
    // One is taken, so that the client knows of others.
    marks.insert(client.wait(BOUND).unwrap().ticket().0);
    gateway.terminate();
    while let Some(completion) = client.wait(BOUND) {
        let mark = completion.ticket().0;
        match completion.code() {
            Code::Ok => assert_eq!(completion.payload(), mark.to_le_bytes()),
            code => assert_eq!(code, Code::Draining),
        }
        assert!(marks.insert(mark));
    }
    assert_eq!(marks, (0..64).collect());
    // A client without requests notices the end by polling.
    eventually("the end is noticed", || {
        client.poll().is_none() && client.end_reason().is_some()
    });
    assert_eq!(client.end_reason(), Some(EndReason::Draining));
}
