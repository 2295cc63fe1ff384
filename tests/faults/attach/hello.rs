//! Fault 3: what is said first.
#![expect(
    clippy::panic,
    clippy::print_stdout,
    reason = "helpers of tests fail by panicking and say what they measured"
)]

use std::os::fd::AsFd as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use ipc_ringbuf::handshake::{Answer, Hello};
use ipc_ringbuf::{EndReason, sys};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::{LOOPBACK, answer, back_to, connect, echoes, hello};
use crate::support::admin::{get, metric};
use crate::support::gateway::{Gateway, attach, start_configured};
use crate::support::{SOON, eventually, seqpacket};

#[test]
fn f03_bytes_that_are_no_hello_and_silence_disturb_nobody() {
    let text = "[control]\nattach_timeout = \"1s\"\n";
    let gateway = start_configured(text, &LOOPBACK);
    let mut good = attach(&gateway);
    let before = gateway.descriptors();
    wrong_hellos(&gateway);
    random_hellos(&gateway);
    back_to(&gateway, before);
    echoes(&mut good);
    silent_connections(&gateway);
    back_to(&gateway, before);
    a_flood_of_connections(&gateway);
    back_to(&gateway, before);
    echoes(&mut good);
    assert_eq!(get(&gateway, "/livez").0, 200);
}

fn wrong_hellos(gateway: &Gateway) {
    let hello = hello();
    let with = |at: usize, byte| {
        let mut changed = hello;
        changed[at] = byte;
        changed
    };
    let packets: [(&[u8], EndReason); 6] = [
        (&with(8, 9), EndReason::Version),
        (&with(12, 3), EndReason::Geometry),
        (&with(20, 1), EndReason::Protocol),
        (&hello[..63], EndReason::Protocol),
        (&[0; 4096], EndReason::Protocol),
        (&[], EndReason::Protocol),
    ];
    for (packet, expected) in packets {
        let client = connect(gateway);
        sys::send_packet(client.as_fd(), packet, &[]).unwrap();
        let (answer, _) = answer(client.as_fd());
        let Answer::Refusal(refusal) = answer else {
            panic!("{expected} was not refused");
        };
        assert_eq!(refusal.reason, expected, "{}", refusal.detail);
        if expected == EndReason::Version {
            assert!(refusal.detail.contains("version 9"), "{}", refusal.detail);
            assert!(refusal.detail.contains("speaks 1"), "{}", refusal.detail);
        }
    }
}

fn random_hellos(gateway: &Gateway) {
    let bytes = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..300),
        // A good one with some bytes changed, at any length.
        (
            prop::collection::vec((0_usize..64, any::<u8>()), 0..8),
            0_usize..=64
        )
            .prop_map(|(changes, len)| {
                let mut bytes = hello().to_vec();
                for (at, byte) in changes {
                    bytes[at] = byte;
                }
                bytes.truncate(len);
                bytes
            }),
    ];
    let mut config = Config::with_cases(512);
    config.failure_persistence = None;
    let result = TestRunner::new(config).run(&bytes, |bytes| {
        let client = connect(gateway);
        sys::send_packet(client.as_fd(), &bytes, &[]).unwrap();
        let (answer, fds) = answer(client.as_fd());
        match answer {
            Answer::Welcome(_) => {
                Hello::parse(&bytes).unwrap();
                assert_eq!(fds.len(), 3);
            }
            Answer::Refusal(refusal) => {
                let expected = [EndReason::Protocol, EndReason::Version, EndReason::Geometry];
                assert!(expected.contains(&refusal.reason), "{}", refusal.detail);
                assert!(fds.is_empty());
            }
        }
        Ok(())
    });
    result.unwrap();
}

/// Sets it when dropped.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// There is always one that has not been accepted.
fn a_flood_of_connections(gateway: &Gateway) {
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        // Also where this fails.
        let ends = Ends(&stop);
        for _ in 0..4 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    sys::connect_seqpacket(&gateway.socket, SOON).ok();
                }
            });
        }
        let mut times: Vec<Duration> = (0..15)
            .map(|_| {
                let started = Instant::now();
                assert_eq!(get(gateway, "/livez").0, 200);
                echoes(&mut attach(gateway));
                started.elapsed()
            })
            .collect();
        drop(ends);
        times.sort_unstable();
        println!("attached and answered beside a flood of connections in {times:?}");
        assert!(times[7] < Duration::from_secs(1), "{times:?}");
    });
}

fn silent_connections(gateway: &Gateway) {
    let refused = |reason| metric(gateway, "ipcgw_refused_total", reason);
    let before = refused("PROTOCOL") + refused("OVERLOADED");
    let silent: Vec<_> = (0..500).map(|_| seqpacket(&gateway.socket)).collect();
    let mut times: Vec<Duration> = (0..15)
        .map(|_| {
            let started = Instant::now();
            drop(attach(gateway));
            started.elapsed()
        })
        .collect();
    times.sort_unstable();
    println!("attached beside 500 silent connections in {times:?}");
    // The machine may be busy with other things at some of the times.
    assert!(times[7] < Duration::from_millis(100), "{times:?}");
    eventually("the silent ones are dropped", || {
        metric(gateway, "ipcgw_pending_clients", "") == 0
    });
    let dropped = refused("PROTOCOL") + refused("OVERLOADED") - before;
    assert_eq!(dropped, 500);
    assert!(metric(gateway, "ipcgw_log_suppressed_total", "") > 0);
    assert!(gateway.log().lines().count() < 300, "{}", gateway.log());
    drop(silent);
}
