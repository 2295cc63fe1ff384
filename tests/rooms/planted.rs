//! Faults that the rules must find, and harmless text that they must not.

use super::{Source, check};

fn faults(files: &[(&str, &str)]) -> Vec<String> {
    let sources = files.iter().map(|(path, text)| Source::new(path, text));
    check(&sources.collect::<Vec<_>>())
}

#[test]
fn planted_faults_are_found() {
    let table = [
        (
            "src/route.rs",
            "\nfn f() { unsafe { g() } }",
            "src/route.rs:2: `unsafe`",
        ),
        (
            "ringbuf/src/port.rs",
            "unsafe impl Send for X {}",
            "`unsafe`",
        ),
        (
            "src/worker/idle.rs",
            "use std::sync::atomic::AtomicU8;",
            "`atomic`",
        ),
        ("src/bridge/link.rs", "use core::sync::atomic;", "`atomic`"),
        ("ringbuf/src/spsc.rs", "use loom::thread;", "`loom::`"),
        ("src/cli/bench.rs", "nix::unistd::fork();", "`nix`"),
        (
            "ringbuf/src/error.rs",
            "impl From<nix::Error> for E {}",
            "`nix`",
        ),
        ("src/health.rs", "use libc::c_int;", "`libc`"),
        ("ringbuf/src/port.rs", "use memmap2::Mmap;", "`memmap2`"),
        (
            "src/control/greet.rs",
            "nix::sys::socket::recvmsg(f, i, c, g)",
            "`recvmsg`",
        ),
        (
            "src/control/greet.rs",
            "sys::receive_packet(client.as_fd(), &mut packet)",
            "`receive_packet`",
        ),
        (
            "src/worker/cycle.rs",
            "let region = Region::map(fd, layout)?;",
            "`Region::map`",
        ),
        (
            "src/lib.rs",
            "use async_nats::Client;",
            "src/lib.rs:1: `async_nats`",
        ),
        (
            "src/worker/cycle.rs",
            "use async_nats as x;",
            "`async_nats`",
        ),
        ("src/worker/cycle.rs", "tokio::spawn(f);", "`tokio`"),
        ("ringbuf/src/client/handle.rs", "use tokio::net;", "`tokio`"),
        ("src/nats/desk.rs", "use axum::Router;", "`axum`"),
        (
            "src/gateway.rs",
            "core_affinity::get_core_ids();",
            "`core_affinity`",
        ),
        (
            "src/worker/cycle.rs",
            "use crossbeam_queue::SegQueue;",
            "`crossbeam_queue`",
        ),
        (
            "src/nats/pool.rs",
            "let now = std::time::Instant::now();",
            "`Instant::now`",
        ),
        ("src/cli/call.rs", "Instant::now()", "`Instant::now`"),
        (
            "src/nats/inbox.rs",
            "use ipc_ringbuf::Code;",
            "`ipc_ringbuf`",
        ),
        (
            "src/config/mod.rs",
            "use ipc_ringbuf::Code;",
            "`ipc_ringbuf`",
        ),
        (
            "ringbuf/src/lib.rs",
            "use ipc_gateway::route;",
            "`ipc_gateway`",
        ),
        ("src/news.rs", "", "src/news: name its floor"),
        // What stands after a test module counts again.
        (
            "src/route.rs",
            "#[cfg(test)]\nmod tests {\n    unsafe fn f() {}\n}\nunsafe fn g() {}",
            "src/route.rs:5: `unsafe`",
        ),
        (
            "src/route.rs",
            "#[cfg(unix)]\nmod m { unsafe fn f() {} }",
            "`unsafe`",
        ),
    ];
    for (path, text, expected) in table {
        let found = faults(&[(path, text)]);
        assert_eq!(found.len(), 1, "{path}: {text}: {found:?}");
        assert!(found[0].contains(expected), "{expected}: {found:?}");
    }
}

#[test]
fn planted_arrows_are_found() {
    let table = [
        (
            "worker",
            "src/worker/cycle.rs",
            "use crate::nats::pool;",
            "nats",
        ),
        ("control", "src/control/mod.rs", "use crate::nats;", "nats"),
        (
            "nats",
            "src/nats/mod.rs",
            "use crate::control::x;",
            "control",
        ),
        (
            "route",
            "src/route.rs",
            "fn f(x: crate::config::Config) {}",
            "config",
        ),
        (
            "bridge",
            "src/bridge/link.rs",
            "use crate::worker::x;",
            "worker",
        ),
        (
            "metrics",
            "src/metrics/a.rs",
            "use super::super::gateway;",
            "gateway",
        ),
        (
            "metrics",
            "src/metrics/mod.rs",
            "use super::gateway;",
            "gateway",
        ),
        (
            "route",
            "src/route.rs",
            "use crate::{clock::{A, b}, cli};",
            "cli",
        ),
        (
            "nats",
            "src/nats/a/b.rs",
            "use super::super::super::cli::x;",
            "cli",
        ),
    ];
    for (from, path, text, to) in table {
        let other = format!("src/{to}.rs");
        let found = faults(&[(path, text), (&other, ""), ("src/clock.rs", "")]);
        assert_eq!(found, [format!("src/{from} must not know src/{to}")]);
    }
    let unused = faults(&[
        ("src/nats/mod.rs", "use crate::route;"),
        ("src/route.rs", ""),
    ]);
    assert!(unused.is_empty(), "{unused:?}");
}

#[test]
fn planted_circles_are_found() {
    let through = faults(&[
        ("src/route.rs", "use crate::clock;"),
        ("src/clock.rs", "use crate::health::x;"),
        ("src/health.rs", "use crate::{bridge, route::Route};"),
        ("src/bridge/mod.rs", ""),
    ]);
    assert_eq!(through.len(), 3, "{through:?}");
    assert!(through.contains(&"src/route knows itself through health".to_owned()));
    let in_ringbuf = faults(&[
        ("ringbuf/src/entry.rs", "use crate::layout::X;"),
        ("ringbuf/src/layout.rs", "use super::entry::Y;"),
    ]);
    assert_eq!(in_ringbuf.len(), 2, "{in_ringbuf:?}");
}

#[test]
fn harmless_text_is_not_found() {
    for (path, text) in [
        (
            "src/route.rs",
            "// unsafe, nix::x\n/* async_nats */ fn f() {}",
        ),
        (
            "src/route.rs",
            r##"const A: &str = "unsafe \" tokio"; const B: &str = r#"" nix"#;"##,
        ),
        (
            "src/route.rs",
            "const A: char = '\"'; const B: char = '\\''; fn f<'a>(x: &'a u8) {}",
        ),
        (
            "src/route.rs",
            "#![forbid(unsafe_code)] use atomic_waker::AtomicWaker; let unix = 1;",
        ),
        (
            "src/control/server.rs",
            "let at = tokio::time::Instant::now();",
        ),
        (
            "src/control/server.rs",
            "use tokio::time::{Duration, Instant}; fn f() { Instant::now() }",
        ),
        (
            "src/worker/cycle.rs",
            "#[cfg(all(test, not(loom)))]\nmod tests {\n use std::time::Instant; fn f() { Instant::now(); }\n}",
        ),
        ("ringbuf/src/sys/socket.rs", "unsafe { libc::x() }"),
    ] {
        let found = faults(&[(path, text)]);
        assert!(found.is_empty(), "{text}: {found:?}");
    }
}
