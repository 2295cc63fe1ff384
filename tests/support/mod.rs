//! Real processes for the tests, each ended with its guard.

use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};

pub(crate) mod activation;
pub(crate) mod admin;
pub(crate) mod bench;
pub(crate) mod books;
pub(crate) mod credentials;
pub(crate) mod gateway;
pub(crate) mod history;
pub(crate) mod hostile;
pub(crate) mod lines;
pub(crate) mod openmetrics;
pub(crate) mod polite;
pub(crate) mod process;
pub(crate) mod prometheus;
pub(crate) mod proxy;
pub(crate) mod raw;
pub(crate) mod router;
pub(crate) mod screen;
pub(crate) mod script;
pub(crate) mod server;
pub(crate) mod silent;
pub(crate) mod steps;
pub(crate) mod stopped;
pub(crate) mod tool;
pub(crate) mod user;
pub(crate) mod wire;

/// Longest time for anything that must happen.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// Sends a signal (`-TERM`) to a process that the caller has started.
pub(crate) fn signal(name: &str, pid: u32) {
    let status = Command::new("kill").args([name, &pid.to_string()]).status();
    assert!(status.unwrap().success());
}

/// A connection to a gateway's socket on which nothing has been said.
pub(crate) fn seqpacket(path: &Path) -> OwnedFd {
    let kind = SockType::SeqPacket;
    let socket = socket(AddressFamily::Unix, kind, SockFlag::SOCK_CLOEXEC, None).unwrap();
    connect(socket.as_raw_fd(), &UnixAddr::new(path).unwrap()).unwrap();
    socket
}

/// Looks until it is so; returns how long that took.
pub(crate) fn eventually(what: &str, mut is_so: impl FnMut() -> bool) -> Duration {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < SOON, "not in time: {what}");
        std::thread::yield_now();
    }
    start.elapsed()
}

/// A valid decide request of exactly `bytes` bytes.
pub(crate) fn decide(id: &str, bytes: usize) -> Vec<u8> {
    let head = format!(
        r#"{{"tenant_id":"acme","request_id":"{id}","task":{{"type":"chat","payload":{{"text":""#
    );
    let mut body = head.into_bytes();
    let tail = br#""}}}"#;
    body.resize(bytes.saturating_sub(tail.len()).max(body.len() + 10), b'x');
    body.extend_from_slice(tail);
    body
}

/// Whether the long forms are asked for: `IPCGW_LONG=1`, as `tools/check.sh --deep` does.
pub(crate) fn is_long() -> bool {
    std::env::var_os("IPCGW_LONG").is_some_and(|value| value == "1")
}

/// Lets what runs beside go on for a while.
pub(crate) fn meanwhile(time: Duration) {
    let end = Instant::now() + time;
    while let Some(left) = end.checked_duration_since(Instant::now()) {
        std::thread::park_timeout(left);
    }
}
