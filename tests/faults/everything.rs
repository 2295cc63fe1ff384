//! Every kind of fault in one run: what `tools/proofs.sh` watches the whole gateway in, with
//! `AddressSanitizer` or valgrind around it. A slow gateway passes too.

use std::time::Duration;

use ipc_ringbuf::Request;

use super::upstream::until_heard;
use crate::support::admin::metric;
use crate::support::gateway::{attach, connected_as};
use crate::support::history::Histories;
use crate::support::raw::RawClient;
use crate::support::router::Router;
use crate::support::server::Server;
use crate::support::{eventually, meanwhile, signal};

const CONFIG: &str = r#"
[[route]]
name = "audit"
subject = "audit.events"
kind = "publish"

[[route]]
name = "poison"
subject = "test.poison"
"#;

/// What the Router does with a part of the requests.
const FAULTS: [&str; 12] = [
    "--silent-rate",
    "0.05",
    "--error-rate",
    "0.05",
    "--late",
    "600ms",
    "--late-rate",
    "0.05",
    "--duplicate",
    "1",
    "--seed",
    "7",
];

#[test]
fn a_run_with_every_kind_of_fault_ends_clean() {
    let mut server = Server::start();
    let gateway = connected_as(CONFIG, &server);
    let mut router = Router::start(&server, &FAULTS);
    let poison = ["--malformed-header", "--subject", "test.poison"];
    let _poison = Router::start(&server, &poison);
    let mut histories = Histories::new();
    histories.before(&gateway);
    let flags = ["--rate", "200", "--timeout", "500ms", "--window", "32"];
    let mut clients =
        ["a", "b", "c", "d"].map(|name| histories.client(&gateway.socket, name, &flags));
    let mut other = attach(&gateway);
    for round in 0..6 {
        for _ in 0..10 {
            let hostile = RawClient::attach(&gateway.socket, 1024);
            hostile.corrupt();
            drop(attach(&gateway));
            for route in ["audit", "poison"] {
                let request = Request::to(route).payload("x");
                other.call(request.timeout(Duration::from_secs(5))).unwrap();
            }
            drop(hostile);
        }
        if round == 2 {
            clients[0].kill();
        }
        if round % 2 == 1 {
            server.kill();
            meanwhile(Duration::from_millis(300));
            server.restart();
            until_heard(&server);
        }
        meanwhile(Duration::from_millis(500));
    }
    drop(other);
    for client in clients.iter_mut().skip(1) {
        client.end();
    }
    eventually("the sessions are gone", || {
        metric(&gateway, "ipcgw_sessions", "") == 0
    });
    assert!(metric(&gateway, "ipcgw_ring_violations_total", "") > 0);
    assert!(metric(&gateway, "ipcgw_unmatched_replies_total", "") > 0);
    assert!(metric(&gateway, "ipcgw_nats_protocol_errors_total", "") > 0);
    histories.books(&gateway, "after");
    signal("-TERM", gateway.pid());
    let (status, said) = gateway.wait();
    router.close();
    assert!(status.success(), "{status}: {said}");
    for trouble in ["panicked", "Sanitizer", "ERROR SUMMARY: 1"] {
        assert!(!said.contains(trouble), "{said}");
    }
    // How late is not the matter here.
    histories.flag("--epsilon", "20s");
    println!("{}", histories.check(&[router.log_path()]));
}
