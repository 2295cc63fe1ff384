//! Fault 31: a server that comes and goes, in every way that it can.

use std::time::{Duration, Instant};

use super::upstream::{EPSILON, until_heard};
use crate::support::admin::metric;
use crate::support::gateway::{Gateway, start};
use crate::support::history::Histories;
use crate::support::proxy::Proxy;
use crate::support::router::Router;
use crate::support::server::Server;
use crate::support::{eventually, is_long, meanwhile, signal};

/// Restarts before the gateway is measured: what the allocator takes once for good is taken then.
const WARM_UP: u64 = 10;
/// After so many restarts the server stays for long enough to see that requests succeed.
const BREAK: u64 = 20;
/// Bytes of resident memory that a restart may leave behind, on average.
const GROWTH: i64 = 8 * 1024;
/// Bytes that a round may take besides: what the allocator rounds up to.
const SLACK: i64 = 1 << 20;
/// Most rounds; one that grows too much is repeated.
const ROUNDS: usize = 3;

/// How a server ends.
const WAYS: [&str; 4] = ["killed", "lame duck", "hangs", "half-open"];

/// What must be the same at rest.
#[derive(Debug, PartialEq, Eq)]
struct AtRest {
    descriptors: usize,
    threads: usize,
    tasks: u64,
    sessions: u64,
    in_flight: u64,
}

impl AtRest {
    fn of(gateway: &Gateway) -> Self {
        let threads = format!("/proc/{}/task", gateway.pid());
        Self {
            descriptors: gateway.descriptors(),
            threads: std::fs::read_dir(threads).unwrap().count(),
            tasks: metric(gateway, "ipcgw_nats_tasks", ""),
            sessions: metric(gateway, "ipcgw_sessions", ""),
            in_flight: metric(gateway, "ipcgw_in_flight", ""),
        }
    }
}

/// The server, the Router that follows it, and the gateway behind the proxy.
struct Stage {
    server: Server,
    proxy: Proxy,
    router: Router,
    gateway: Gateway,
}

impl Stage {
    fn start() -> Self {
        let server = Server::start();
        let proxy = Proxy::start(&server);
        let router = Router::start(&server, &[]);
        let gateway = start(&["--nats", &proxy.url]);
        let stage = Self {
            server,
            proxy,
            router,
            gateway,
        };
        stage.until_connected();
        stage
    }

    fn until_connected(&self) {
        eventually("the gateway has its connections", || {
            metric(&self.gateway, "ipcgw_nats_connected", "") == 2
        });
    }

    /// Ends the server in one of the ways and starts it again; returns when the Router listens.
    fn restart(&mut self, number: u64, histories: &mut Histories) {
        histories.fault();
        match WAYS[usize::try_from(number).unwrap() % WAYS.len()] {
            "lame duck" => {
                // nats-server takes SIGUSR2 as the order to enter lame duck mode.
                signal("-USR2", self.server.pid());
                meanwhile(Duration::from_millis(200));
            }
            "hangs" => {
                signal("-STOP", self.server.pid());
                meanwhile(Duration::from_millis(300));
            }
            "half-open" => {
                self.proxy.order("half-close");
                self.proxy.order("blackhole");
                meanwhile(Duration::from_millis(200));
            }
            _ => {}
        }
        self.server.kill();
        self.proxy.order("pass");
        meanwhile(Duration::from_millis(53 * number % 150));
        self.server.restart();
        until_heard(&self.server);
        histories.healed();
    }

    /// Waits until what is open and runs is the same for a moment; returns it.
    fn at_rest(&self) -> AtRest {
        self.until_connected();
        let mut last = AtRest::of(&self.gateway);
        eventually("the gateway is at rest", || {
            meanwhile(Duration::from_millis(500));
            let now = AtRest::of(&self.gateway);
            let rests = now == last && now.sessions == 0 && now.in_flight == 0;
            last = now;
            rests
        });
        last
    }
}

#[test]
fn f31_restarts_leave_nothing_behind_and_lose_nothing_silently() {
    let (restarts, time) = if is_long() { (200, 300) } else { (24, 0) };
    let mut stage = Stage::start();
    let mut histories = Histories::new();
    histories.before(&stage.gateway);
    let socket = stage.gateway.socket.clone();
    let flags = ["--rate", "1000", "--timeout", "1s"];
    let mut first = ["x", "y", "z"].map(|name| histories.client(&socket, name, &flags));
    for number in 0..WARM_UP {
        stage.restart(number, &mut histories);
        meanwhile(Duration::from_millis(150));
    }
    first.iter_mut().for_each(|client| client.end());
    let before = stage.at_rest();
    // A leak grows each time; what the allocator takes at once for later does not.
    let allowed = GROWTH * i64::try_from(restarts).unwrap() + SLACK;
    let mut grown = Vec::new();
    while grown.last().is_none_or(|grown| *grown >= allowed) && grown.len() < ROUNDS {
        let round = grown.len();
        let resident = stage.gateway.resident();
        let mut clients = ["a", "b", "c"]
            .map(|name| histories.client(&socket, &format!("{name}{round}"), &flags));
        storm(&mut stage, &mut histories, restarts, time);
        clients.iter_mut().for_each(|client| client.end());
        assert_eq!(stage.at_rest(), before);
        grown.push(stage.gateway.resident() - resident);
    }
    histories.after(&stage.gateway);
    stage.router.close();
    histories.flag(EPSILON.0, EPSILON.1);
    let verdict = histories.check(&[stage.router.log_path()]);
    println!("{restarts} restarts a round, bytes more after each: {grown:?}; {verdict}");
    println!("at rest before and after: {before:?}");
    assert!(grown.last() < Some(&allowed), "{grown:?} bytes more");
    assert!(verdict["healed"].as_u64() > Some(1000), "{verdict}");
}

/// Restarts the server so many times, in at least so many seconds.
fn storm(stage: &mut Stage, histories: &mut Histories, restarts: u64, time: u64) {
    let started = Instant::now();
    for number in 1..=restarts {
        stage.restart(number, histories);
        // The long form takes its five minutes whatever the machine.
        let due = Duration::from_millis(time * 1000 * number / restarts);
        meanwhile(
            due.saturating_sub(started.elapsed())
                .max(Duration::from_millis(150)),
        );
        if number % BREAK == 0 || number == restarts {
            meanwhile(Duration::from_millis(4500));
        }
    }
}
