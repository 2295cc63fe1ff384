//! Faults 6 and 7: memory that is kept, and memory that is offered.
#![expect(
    clippy::panic,
    reason = "helpers of tests fail by panicking and say what they measured"
)]

use std::fs::File;
use std::io::Write as _;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::time::Instant;

use ipc_ringbuf::handshake::Answer;
use ipc_ringbuf::{AttachError, ClientBuilder, EndReason, sys};
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};

use super::{LOOPBACK, answer, connect, hello, refused};
use crate::support::admin::{get, metric};
use crate::support::eventually;
use crate::support::gateway::{Gateway, attach, start, start_configured};

/// How often to attach and detach: the fault list's 100,000 take some minutes.
const CHURN: &str = "IPCGW_TEST_CHURN";
/// Most memfds that the hoarder keeps at once.
const HOARD: usize = 5000;

#[test]
fn f06_clients_that_come_and_go_and_keep_their_memory_cost_nothing() {
    let rounds = std::env::var(CHURN).map_or(3000, |text| text.parse().unwrap());
    let text = "[control.quota]\nattach_rate = 1000000\n[log]\nfilter = \"warn\"\n";
    let gateway = start_configured(text, &LOOPBACK);
    let mut hoard = std::collections::VecDeque::new();
    let warm_up = 500;
    let (mut before, mut started) = ((0, 0), Instant::now());
    for round in 0..warm_up + rounds {
        if round == warm_up {
            until_all_are_gone(&gateway);
            (before, started) = ((gateway.resident(), gateway.descriptors()), Instant::now());
        }
        let memfd = attach_for_a_moment(&gateway);
        hoard.push_back(memfd);
        if hoard.len() > HOARD {
            hoard.pop_front();
        }
    }
    let each = started.elapsed() / rounds;
    until_all_are_gone(&gateway);
    let kept: u64 = hoard
        .iter()
        .map(|memfd| memfd.metadata().unwrap().blocks())
        .sum();
    assert_eq!(kept, 0, "memory that {} memfds still hold", hoard.len());
    let grown = gateway.resident() - before.0;
    println!("{rounds} attaches, {each:?} each, {grown} bytes more resident");
    // What the allocator takes ahead, and half a byte for each.
    assert!(grown < (1 << 20) + i64::from(rounds) / 2, "{grown}");
    assert!(gateway.descriptors() <= before.1);
    let ended = metric(&gateway, "ipcgw_sessions_ended_total", "");
    assert_eq!(metric(&gateway, "ipcgw_attached_total", ""), ended);
    too_much_of_everything();
}

/// Attaches and detaches; returns the region's memory.
fn attach_for_a_moment(gateway: &Gateway) -> File {
    loop {
        let client = connect(gateway);
        sys::send_packet(client.as_fd(), &hello(), &[]).unwrap();
        match answer(client.as_fd()) {
            (Answer::Welcome(_), fds) => {
                let [memfd, ..] = <[OwnedFd; 3]>::try_from(fds).unwrap();
                let memfd = File::from(memfd);
                assert!(memfd.metadata().unwrap().blocks() > 0);
                return memfd;
            }
            // The gateway is behind with those that have gone.
            (Answer::Refusal(refusal), _) => assert_eq!(refusal.reason, EndReason::AttachQuota),
        }
    }
}

fn until_all_are_gone(gateway: &Gateway) {
    eventually("all have gone", || get(gateway, "/sessions").1 == "[]");
    // Their memory goes back on threads of its own.
    eventually("their memory is back", || {
        metric(gateway, "ipcgw_returning_bytes", "") == 0
    });
}

fn too_much_of_everything() {
    let text = "[control.quota]\nsessions = 2\nmemory = \"4MiB\"\nattach_rate = 10\n";
    let gateway = start_configured(text, &LOOPBACK);
    let refusal = |builder: ClientBuilder| {
        let error = builder.socket(&gateway.socket).connect().unwrap_err();
        let AttachError::Refused { reason, detail } = error else {
            panic!("{error}");
        };
        assert_eq!(reason, EndReason::AttachQuota);
        detail
    };
    let one = attach(&gateway);
    let large = ClientBuilder::new().entries(4096).message_size(64 * 1024);
    assert!(refusal(large).contains("4194304 bytes"));
    let two = attach(&gateway);
    assert!(refusal(ClientBuilder::new()).contains("2 sessions"));
    let (_, rows) = get(&gateway, "/sessions");
    assert_eq!(
        rows.matches(&format!("\"uid\":{}", sys::own_uid())).count(),
        2
    );
    let mut detail = String::new();
    eventually("the rate is reached", || {
        detail = refusal(ClientBuilder::new());
        !detail.contains("sessions")
    });
    assert_eq!(detail, "a user may attach 10 times a second");
    let rejected = |resource| metric(&gateway, "ipcgw_quota_rejections_total", resource);
    assert!(rejected("sessions") >= 1 && rejected("memory") == 1);
    assert_eq!(rejected("attach_rate"), 1);
    drop((one, two));
    // The allowance comes back with time.
    drop(attach(&gateway));
}

/// What the kernel says of a memory file's seals; nothing for what is none.
fn seals(fd: BorrowedFd<'_>) -> Option<SealFlag> {
    let seals = fcntl(fd, FcntlArg::F_GET_SEALS).ok()?;
    Some(SealFlag::from_bits_retain(seals))
}

#[test]
fn f07_memory_is_the_gateways_own_and_a_clients_is_never_mapped() {
    let gateway = start(&LOOPBACK);
    let mut regular = tempfile::tempfile().unwrap();
    regular.write_all(&[0; 12288]).unwrap();
    let unsealed = memfd_create("a clients", MFdFlags::MFD_ALLOW_SEALING).unwrap();
    assert_eq!(seals(regular.as_fd()), None);
    sys::check_sealed(regular.as_fd()).unwrap_err();
    sys::check_sealed(unsealed.as_fd()).unwrap_err();
    for offered in [regular.as_fd(), unsealed.as_fd()] {
        let inode = File::from(offered.try_clone_to_owned().unwrap());
        let inode = inode.metadata().unwrap().ino();
        let client = connect(&gateway);
        sys::send_packet(client.as_fd(), &hello(), &[offered]).unwrap();
        assert_eq!(refused(client.as_fd()), EndReason::Protocol);
        let maps = std::fs::read_to_string(format!("/proc/{}/maps", gateway.pid())).unwrap();
        let inodes = maps
            .lines()
            .filter_map(|line| line.split_whitespace().nth(4));
        assert!(inodes.into_iter().all(|mapped| mapped != inode.to_string()));
    }
    // What the gateway gives is sealed, and not of huge pages.
    let client = connect(&gateway);
    sys::send_packet(client.as_fd(), &hello(), &[]).unwrap();
    let (_, fds) = answer(client.as_fd());
    let expected = SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SEAL;
    for memory in &fds[..2] {
        let seals = seals(memory.as_fd()).unwrap();
        assert!(seals.contains(expected), "{seals:?}");
        sys::check_sealed(memory.as_fd()).unwrap();
        let block = nix::sys::stat::fstat(memory).unwrap().st_blksize;
        assert_eq!(block, 4096);
    }
    assert!(nix::unistd::ftruncate(&fds[0], 0).is_err());
    // Held open until here, so that the kernel could not use their numbers again.
    drop((regular, unsealed));
}
