//! Faults 1 to 7: the control socket and attaching.
#![expect(clippy::panic, reason = "helpers of tests fail by panicking")]

mod descriptors;
mod hello;
mod memory;
mod place;
mod users;

use std::os::fd::{BorrowedFd, OwnedFd};

use ipc_ringbuf::handshake::{Answer, Hello, MAX_PACKET_BYTES};
use ipc_ringbuf::layout::Geometry;
use ipc_ringbuf::{Client, Code, EndReason, Request, sys};

use crate::support::gateway::Gateway;
use crate::support::{SOON, eventually};

pub(super) const LOOPBACK: [&str; 2] = ["--upstream", "loopback"];

/// What the gateway answers on this socket, and what it passes.
pub(super) fn answer(socket: BorrowedFd<'_>) -> (Answer, Vec<OwnedFd>) {
    let mut packet = vec![0; MAX_PACKET_BYTES];
    let (bytes, fds) = sys::receive_packet(socket, &mut packet).unwrap().unwrap();
    (Answer::parse(&packet[..bytes]).unwrap(), fds)
}

/// Why the gateway refuses on this socket; checks that it closes it then.
pub(super) fn refused(socket: BorrowedFd<'_>) -> EndReason {
    let (answer, fds) = answer(socket);
    let Answer::Refusal(refusal) = answer else {
        panic!("welcome");
    };
    assert!(fds.is_empty());
    // A hello that was not read makes it a reset.
    let end = sys::receive_packet(socket, &mut [0; 64]);
    assert!(!matches!(end, Ok(Some(_))), "it is not closed");
    refusal.reason
}

pub(super) fn connect(gateway: &Gateway) -> OwnedFd {
    sys::connect_seqpacket(&gateway.socket, SOON).unwrap()
}

pub(super) fn hello() -> [u8; 64] {
    let geometry = Geometry {
        entries: 2,
        message_size: 64,
    };
    let name = "by hand".to_owned();
    Hello { geometry, name }.encode()
}

pub(super) fn echoes(client: &mut Client) {
    let answer = client.call(Request::to("decide").payload(b"x")).unwrap();
    assert_eq!(answer.code(), Code::Ok);
    assert_eq!(answer.payload(), b"x");
}

/// Descriptors are closed a moment after a client has gone.
pub(super) fn back_to(gateway: &Gateway, descriptors: usize) {
    eventually("no descriptor is left open", || {
        gateway.descriptors() <= descriptors
    });
}
