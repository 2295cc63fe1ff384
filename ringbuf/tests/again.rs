//! A client that attaches again at a socket behind which no gateway runs, as a service manager keeps it.

use std::os::fd::{AsFd as _, OwnedFd};
use std::time::{Duration, Instant};

use ipc_ringbuf::{
    AttachError, Client, ClientBuilder, EndReason, Reattach, Request, SubmitError, sys,
};

use crate::support::{SOON, greet, listen_at, welcome};
use crate::times::pause;

/// A client whose session has ended, and the socket at which it attaches again.
fn lost(reattach: Reattach, timeout: Duration) -> (Client, OwnedFd, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("socket");
    let listener = listen_at(&path);
    let builder = ClientBuilder::new().socket(&path).entries(4);
    let builder = builder.message_size(64).reattach(reattach);
    let mut client = std::thread::scope(|scope| {
        let answering = scope.spawn(|| {
            let (socket, hello) = greet(&listener);
            drop(welcome(socket, &hello));
        });
        let client = builder.attach_timeout(timeout).connect().unwrap();
        answering.join().unwrap();
        client
    });
    let start = Instant::now();
    while client.is_attached() {
        assert!(client.poll().is_none() && start.elapsed() < SOON);
    }
    assert_eq!(client.end_reason(), Some(EndReason::PeerDied));
    (client, listener, dir)
}

/// Submits; returns how long it took to be refused as detached.
fn refused(client: &mut Client) -> Duration {
    let start = Instant::now();
    let error = client.submit(Request::to(0)).unwrap_err();
    let took = start.elapsed();
    assert!(matches!(error, SubmitError::Detached(_)), "{error}");
    took
}

/// Submits until a connection waits to be accepted.
fn until_begun(client: &mut Client, listener: &OwnedFd) -> Duration {
    let start = Instant::now();
    let mut longest = Duration::ZERO;
    while !sys::is_readable(listener.as_fd()) {
        longest = longest.max(refused(client));
        assert!(start.elapsed() < SOON, "no try to attach");
    }
    longest
}

#[test]
fn a_submission_does_not_wait_for_a_gateway_that_is_being_started() {
    let (mut client, listener, _dir) = lost(Reattach::Try, SOON);
    // 10 ms, and what a busy machine adds; the try itself may take much longer.
    assert!(until_begun(&mut client, &listener) < SOON / 10);
    let start = Instant::now();
    for _ in 0..1000 {
        refused(&mut client);
    }
    // One look each.
    assert!(start.elapsed() < SOON / 10, "{:?}", start.elapsed());
    assert!(client.last_attach_error().is_none(), "the try goes on");
    let (socket, hello) = greet(&listener);
    let gateway = welcome(socket, &hello);
    // The same try: nobody has connected a second time.
    assert!(!sys::is_readable(listener.as_fd()));
    client.submit(Request::to(0)).unwrap();
    assert!(client.is_attached());
    drop(gateway);
}

#[test]
fn a_try_that_nobody_answers_ends_in_time_and_another_follows() {
    let timeout = Duration::from_millis(500);
    let (mut client, listener, _dir) = lost(Reattach::Try, timeout);
    until_begun(&mut client, &listener);
    let first = sys::accept(listener.as_fd()).unwrap();
    pause(timeout);
    refused(&mut client);
    assert!(matches!(
        client.last_attach_error(),
        Some(AttachError::Timeout)
    ));
    until_begun(&mut client, &listener);
    drop(first);
}

#[test]
fn a_submission_that_may_wait_does_so_no_longer_than_it_may() {
    let patience = Duration::from_millis(200);
    let (mut client, listener, _dir) = lost(Reattach::Wait(patience), SOON);
    let took = refused(&mut client);
    assert!(took >= patience && took < SOON / 2, "{took:?}");
    // The try goes on, and whoever submits next has what came of it.
    assert!(sys::is_readable(listener.as_fd()));
    let gateway = std::thread::scope(|scope| {
        let answering = scope.spawn(|| {
            let (socket, hello) = greet(&listener);
            welcome(socket, &hello)
        });
        client.submit(Request::to(0)).unwrap();
        answering.join().unwrap()
    });
    assert!(!sys::is_readable(listener.as_fd()));
    drop(gateway);
}
