//! The watchdog of the service manager: fed only while every thread moves.

use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use crate::support::gateway::{Gateway, attach, start_by, until_connected};
use crate::support::server::Server;
use crate::support::stopped::Stopped;
use crate::support::{eventually, meanwhile, signal};

/// What systemd calls `WatchdogSec=`.
const LIMIT: Duration = Duration::from_millis(2000);

/// A service manager's ear.
struct Ear {
    told: UnixDatagram,
    _dir: tempfile::TempDir,
}

impl Ear {
    /// Starts a gateway that tells it.
    fn start(arguments: &[&str]) -> (Self, Gateway) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let told = UnixDatagram::bind(&path).unwrap();
        told.set_nonblocking(true).unwrap();
        let script = format!(
            "export NOTIFY_SOCKET={} WATCHDOG_USEC={}; exec \"$@\"",
            path.display(),
            LIMIT.as_micros()
        );
        let config = "[workers]\ncount = 1\nthreads = \"split\"\n";
        let gateway = start_by(&["sh", "-ec", &script, "sh"], config, arguments);
        (Self { told, _dir: dir }, gateway)
    }

    /// What it has been told since it was last asked.
    fn heard(&self) -> Vec<String> {
        let next = || {
            let mut text = [0; 256];
            let bytes = self.told.recv(&mut text).ok()?;
            Some(String::from_utf8_lossy(&text[..bytes]).trim().to_owned())
        };
        std::iter::from_fn(next).collect()
    }

    fn is_fed(&self) -> bool {
        self.heard().iter().any(|text| text == "WATCHDOG=1")
    }

    /// A thread that stands still is vouched for no longer, even one that slept when it was
    /// stopped.
    fn hears_nothing_of(&self, gateway: &Gateway, thread: &str) {
        eventually("the watchdog is fed", || self.is_fed());
        let stopped = Stopped::stop(gateway, thread);
        // The look that is under way, and the one that still sees it move.
        meanwhile(LIMIT * 3 / 2);
        self.heard();
        meanwhile(LIMIT * 2);
        assert!(!self.is_fed(), "{thread} stands still");
        drop(stopped);
        eventually("it is fed again", || self.is_fed());
    }
}

#[test]
fn the_watchdog_is_fed_at_half_its_time_and_by_idle_threads_too() {
    let server = Server::start();
    let (ear, gateway) = Ear::start(&["--nats", &server.url()]);
    until_connected(&mut attach(&gateway));
    eventually("it is ready", || {
        ear.heard().iter().any(|it| it == "READY=1")
    });
    // Nobody asks for anything.
    let (start, mut longest) = (Instant::now(), Duration::ZERO);
    let mut last = Instant::now();
    while start.elapsed() < LIMIT * 4 {
        if ear.is_fed() {
            longest = longest.max(last.elapsed());
            last = Instant::now();
        }
        meanwhile(Duration::from_millis(10));
    }
    longest = longest.max(last.elapsed());
    assert!(longest < LIMIT, "{longest:?} without a word");
    signal("-TERM", gateway.pid());
    let (status, said) = gateway.wait();
    assert_eq!(status.code(), Some(0), "{said}");
    assert!(ear.heard().iter().any(|it| it == "STOPPING=1"));
}

#[test]
fn a_worker_that_stands_still_is_not_vouched_for() {
    let (ear, gateway) = Ear::start(&["--upstream", "loopback"]);
    ear.hears_nothing_of(&gateway, "ipcgw-worker-0");
}

#[test]
fn a_nats_side_that_stands_still_is_not_vouched_for() {
    let server = Server::start();
    let (ear, gateway) = Ear::start(&["--nats", &server.url()]);
    until_connected(&mut attach(&gateway));
    ear.hears_nothing_of(&gateway, "ipcgw-nats");
}
