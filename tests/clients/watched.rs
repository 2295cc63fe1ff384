//! A client in a loop that waits for descriptors.

use std::os::fd::AsFd as _;

use ipc_ringbuf::{Code, Request};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::loopback;

#[test]
fn a_loop_that_waits_for_the_socket_among_others_takes_every_completion() {
    const REQUESTS: u64 = 5000;
    let (mut gateway, mut client) = loopback(|b| b.entries(16));
    // Another descriptor of the loop, which never has anything.
    let (other, _end) = std::os::unix::net::UnixStream::pair().unwrap();
    let (mut sent, mut taken, mut sleeps) = (0, vec![0_u8; 5000], 0);
    loop {
        while sent < REQUESTS && client.outstanding() < 16 {
            client
                .submit(Request::to("decide").user_data(sent))
                .unwrap();
            sent += 1;
        }
        if client.outstanding() == 0 {
            break;
        }
        if client.arm() {
            let socket = client.socket().unwrap();
            let mut watched = [other.as_fd(), socket].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
            // Whoever is not woken fails here.
            let ready = poll(&mut watched, PollTimeout::from(20_000_u16)).unwrap();
            assert_eq!(ready, 1);
            sleeps += 1;
            client.disarm();
        }
        while let Some(completion) = client.poll() {
            assert_eq!(completion.code(), Code::Ok);
            taken[usize::try_from(completion.ticket().0).unwrap()] += 1;
        }
    }
    assert!(taken.iter().all(|times| *times == 1));
    assert!(sleeps > 0);
    // The end of the session is seen as well.
    gateway.kill();
    assert!(client.arm());
    let mut watched = [PollFd::new(client.socket().unwrap(), PollFlags::POLLIN)];
    assert_eq!(poll(&mut watched, PollTimeout::from(20_000_u16)), Ok(1));
    client.disarm();
    assert!(client.socket().is_none() && !client.arm());
}
