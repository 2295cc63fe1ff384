//! A client that waits for its socket among others.

use std::os::fd::BorrowedFd;
use std::time::Instant;

use ipc_ringbuf::entry::Cqe;
use ipc_ringbuf::port::{Port, Rung};
use ipc_ringbuf::{Client, Code, EndReason, Request, sys};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use crate::support::{Pair, SOON, pair};

/// Completes the request that comes next, and rings.
fn answer(port: &mut Port) -> Rung {
    let submission = port.pop().unwrap().unwrap();
    let cqe = Cqe::bare(submission.user_data, Code::Ok);
    port.complete(submission.block, cqe, &[], &[]).unwrap();
    port.publish();
    port.ring()
}

fn submit(client: &mut Client, mark: u64) {
    client.submit(Request::to(0).user_data(mark)).unwrap();
}

fn taken(client: &mut Client) -> Option<(u64, Code)> {
    let completion = client.poll()?;
    Some((completion.ticket().0, completion.code()))
}

fn socket(client: &Client) -> BorrowedFd<'_> {
    client.socket().unwrap()
}

#[test]
fn an_armed_client_is_woken_through_its_socket_and_no_other_client_is() {
    let Pair {
        mut client,
        mut port,
        ..
    } = pair(8, 64);
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).unwrap();
    let event = EpollEvent::new(EpollFlags::EPOLLIN, 7);
    epoll.add(socket(&client), event).unwrap();
    let is_ready = |wait: u16| {
        let mut events = [EpollEvent::empty()];
        epoll.wait(&mut events, EpollTimeout::from(wait)).unwrap() == 1
    };
    for mark in 0..3 {
        submit(&mut client, mark);
    }
    // The third is not shown before the client is about to wait.
    assert_eq!(port.waiting().unwrap(), 2);
    assert!(client.arm());
    assert_eq!(port.waiting().unwrap(), 3);
    assert!(!is_ready(0));
    assert_eq!(answer(&mut port), Rung::Woken);
    assert!(is_ready(20_000));
    client.disarm();
    assert!(!is_ready(0), "its packets were taken");
    assert_eq!(taken(&mut client), Some((0, Code::Ok)));
    // Awake it is not rung.
    assert_eq!(answer(&mut port), Rung::NotNeeded);
    // What came before it armed the bell is found by the look after that.
    assert!(!client.arm());
    assert_eq!(answer(&mut port), Rung::NotNeeded);
    assert_eq!(taken(&mut client), Some((1, Code::Ok)));
    assert_eq!(taken(&mut client), Some((2, Code::Ok)));
    assert!(!is_ready(0));
    // Disarmed after nothing has come it is not rung either.
    submit(&mut client, 3);
    assert!(client.arm());
    client.disarm();
    assert_eq!(answer(&mut port), Rung::NotNeeded);
    assert_eq!(taken(&mut client), Some((3, Code::Ok)));
}

#[test]
fn a_session_that_ends_wakes_an_armed_client_and_leaves_no_socket() {
    let Pair {
        mut client, port, ..
    } = pair(4, 64);
    submit(&mut client, 1);
    assert!(client.arm() && !sys::is_readable(socket(&client)));
    drop(port);
    let start = Instant::now();
    while !sys::is_readable(socket(&client)) {
        assert!(start.elapsed() < SOON, "the socket stays silent");
    }
    client.disarm();
    assert_eq!(client.end_reason(), Some(EndReason::PeerDied));
    assert!(!client.arm(), "there is something to take");
    assert_eq!(taken(&mut client), Some((1, Code::GatewayRestarted)));
    assert!(!client.arm(), "there is nobody to wait for");
    assert!(client.socket().is_none() && !client.is_attached());
}
