//! Hand-overs whose last step fails: the sessions end in order, and what waited was not sent.

use std::os::unix::net::UnixDatagram;

use ipc_ringbuf::{Client, Code, EndReason, Outcome, Request};

use super::LOOPBACK;
use crate::support::activation::Manager;
use crate::support::gateway::{attach, start_by, until_connected};
use crate::support::silent::{MARK, Silent};
use crate::support::{SOON, eventually, signal};

/// Its session has ended as one does whose gateway has drained.
fn is_told(client: &mut Client) {
    eventually("it is told", || {
        client.poll().is_none() && client.end_reason() == Some(EndReason::Draining)
    });
}

#[test]
fn a_program_that_goes_after_it_was_asked_leaves_sessions_that_end_in_order() {
    let silent = Silent::start();
    let place = tempfile::tempdir().unwrap();
    let program = place.path().join("ipc-gateway");
    let copied = format!("cp \"$0\" {0} && exec {0} \"$@\"", program.display());
    let gateway = start_by(&["sh", "-c", &copied], "", &["--nats", &silent.url]);
    let mut client = attach(&gateway);
    until_connected(&mut client);
    let slow = |mark| {
        let request = Request::to("decide").payload(MARK).user_data(mark);
        request.timeout(3 * SOON)
    };
    client.submit(slow(1)).unwrap();
    client.flush();
    silent.wait_for(1);
    signal("-USR2", gateway.pid());
    // It waits for what is in flight, and takes nothing more.
    eventually("another gateway is to take over", || {
        gateway.log().contains("another gateway takes over")
    });
    std::fs::remove_file(&program).unwrap();
    client.submit(slow(2)).unwrap();
    client.flush();
    let (status, said) = gateway.wait();
    assert_eq!(status.code(), Some(71), "{said}");
    assert!(said.contains("ipc-gateway: No such file"), "{said}");
    for _ in 0..2 {
        let reply = client.wait(SOON).unwrap();
        let expected = match reply.ticket().0 {
            1 => (Code::GatewayRestarted, Outcome::Unknown),
            _ => (Code::Draining, Outcome::Rejected),
        };
        assert_eq!((reply.code(), reply.outcome()), expected);
    }
    is_told(&mut client);
    silent.wait_for(1);
}

#[test]
fn a_store_that_takes_nothing_leaves_sessions_that_end_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("notify");
    let _deaf = UnixDatagram::bind(&path).unwrap();
    let mut manager = Manager::listen(dir.path());
    manager.environment = vec![
        ("NOTIFY_SOCKET", path.display().to_string()),
        ("FDSTORE", "64".to_owned()),
    ];
    let mut gateway = manager.start(dir, LOOPBACK);
    let mut client = attach(&gateway);
    let reply = client.call(Request::to("decide")).unwrap();
    assert_eq!(reply.code(), Code::Ok);
    let others = UnixDatagram::unbound().unwrap();
    others.set_nonblocking(true).unwrap();
    while others.send_to(b"X_FULL=1", &path).is_ok() {}
    gateway.stop();
    let said = gateway.log();
    assert!(
        said.contains("the service manager keeps no sessions"),
        "{said}"
    );
    is_told(&mut client);
}
