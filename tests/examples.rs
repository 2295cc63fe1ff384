//! Each program of `examples/`: against a Router of `examples/`, without one, and without a gateway.

use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Instant;

use ipc_ringbuf::{Code, Request};
use serde_json::Value;

use crate::support::gateway::{Gateway, attach, connected, start};
use crate::support::lines::Lines;
use crate::support::server::Server;
use crate::support::{SOON, signal, tool};

/// The Routers of `examples/`.
#[derive(Clone, Copy, Debug)]
enum Language {
    Rust,
    Python,
}

/// One of them as a process, killed with its guard.
struct Router {
    child: Child,
    said: Lines,
}

impl Router {
    /// Starts one; returns when it has its subscription.
    fn start(language: Language, server: &Server) -> Self {
        let mut command = match language {
            Language::Rust => tool::example("router"),
            Language::Python => python("router.py"),
        };
        let mut child = command
            .arg(server.url())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let said = Lines::of(child.stdout.take().unwrap());
        said.wait_for("ready");
        Self { child, said }
    }

    /// Ends it with SIGTERM; returns what it has said.
    fn end(mut self) -> String {
        signal("-TERM", self.child.id());
        assert!(self.child.wait().unwrap().success());
        self.said.all()
    }
}

impl Drop for Router {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// What runs a script of `examples/` with nats-py.
fn python(script: &str) -> Command {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let setup = Command::new(root.join("tools/setup.sh"))
        .arg("--python")
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    assert!(setup.status.success(), "tools/setup.sh --python");
    let program = String::from_utf8(setup.stdout).unwrap();
    let mut command = Command::new(program.lines().last().unwrap());
    command.arg("-B").arg(root.join("examples").join(script));
    command
}

/// Runs a client example to its end; returns its exit code and what it has said.
fn run(name: &str, arguments: &[&str], gateway: &Gateway) -> (Option<i32>, String) {
    let mut child = tool::example(name)
        .args(arguments)
        .env("IPC_GATEWAY_SOCKET", &gateway.socket)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let said = Lines::of(child.stdout.take().unwrap());
    let complaints = Lines::of(child.stderr.take().unwrap());
    // Both come back when the process has closed its ends, or has not in time.
    let (said, complaints) = (said.all(), complaints.all());
    let ended = eventually_ends(&mut child);
    assert_eq!(complaints, "", "{name}");
    (ended.code(), said)
}

/// How a process ends that has closed its output. One that does not is killed.
fn eventually_ends(child: &mut Child) -> ExitStatus {
    let mut ended = None;
    let bound = Instant::now() + SOON;
    while ended.is_none() && Instant::now() < bound {
        std::thread::yield_now();
        ended = child.try_wait().unwrap();
    }
    child.kill().ok();
    child.wait().ok();
    ended.expect("it ends in time")
}

/// Runs every client example; all their requests are to be answered OK. Returns how many there were.
fn all_are_answered(gateway: &Gateway) -> u64 {
    let (code, said) = run("blocking", &[], gateway);
    assert!(
        said.starts_with("decided: {\"") && said.contains("provider-1"),
        "{said}"
    );
    assert_eq!(code, Some(0));

    let (code, said) = run("loan", &[], gateway);
    assert!(
        said.ends_with(" bytes written in place\nanswered OK\n"),
        "{said}"
    );
    assert_eq!(code, Some(0));

    let (code, said) = run("pipelined", &["2000"], gateway);
    let expected = "2000 answered OK\n0 may have run without an answer\n";
    assert_eq!((code, said.as_str()), (Some(0), expected));

    for (name, arguments) in [("tasks", ["400", ""]), ("fan_in", ["16", "25"])] {
        let arguments: Vec<_> = arguments.into_iter().filter(|a| !a.is_empty()).collect();
        let (code, said) = run(name, &arguments, gateway);
        let expected = "400 ok, 0 answered otherwise, 0 rejected, 0 unknown\n";
        assert_eq!((code, said.as_str()), (Some(0), expected), "{name}");
    }
    1 + 1 + 2000 + 400 + 400
}

fn every_example_with(language: Language) {
    let server = Server::start();
    let gateway = connected(&server);
    let router = Router::start(language, &server);
    let asked = all_are_answered(&gateway);
    assert_eq!(
        router.end(),
        format!("ready\n{asked} answered\n"),
        "{language:?}"
    );
}

#[test]
fn every_client_is_answered_by_the_router_in_rust() {
    every_example_with(Language::Rust);
}

#[test]
fn every_client_is_answered_by_the_router_in_python() {
    every_example_with(Language::Python);
}

#[test]
fn two_routers_share_the_requests() {
    let server = Server::start();
    let gateway = connected(&server);
    let routers = [Language::Rust, Language::Python].map(|one| Router::start(one, &server));
    let (code, _) = run("pipelined", &["2000"], &gateway);
    assert_eq!(code, Some(0));
    let shares = routers.map(|router| {
        let said = router.end();
        let count = said.lines().last().and_then(|line| line.split(' ').next());
        count.unwrap().parse::<u64>().unwrap()
    });
    assert_eq!(shares.iter().sum::<u64>(), 2000, "{shares:?}");
    assert!(shares.iter().all(|share| *share > 0), "{shares:?}");
}

#[test]
fn without_a_router_they_say_so() {
    let server = Server::start();
    let gateway = connected(&server);
    // Fewer than open the route's circuit breaker.
    let (code, said) = run("blocking", &[], &gateway);
    assert_eq!(
        (code, said.as_str()),
        (Some(1), "answered NO_RESPONDERS: \n")
    );
    let (code, said) = run("loan", &[], &gateway);
    assert!(said.ends_with("answered NO_RESPONDERS\n"), "{said}");
    assert_eq!(code, Some(1));
    let (code, said) = run("pipelined", &["8"], &gateway);
    let expected = "8 answered NO_RESPONDERS\n0 may have run without an answer\n";
    assert_eq!((code, said.as_str()), (Some(1), expected));
    for (name, arguments) in [("tasks", &["8"][..]), ("fan_in", &["4", "2"])] {
        let (code, said) = run(name, arguments, &gateway);
        let expected = "0 ok, 8 answered otherwise, 0 rejected, 0 unknown\n";
        assert_eq!((code, said.as_str()), (Some(1), expected), "{name}");
    }
}

#[test]
fn without_nats_their_requests_are_rejected() {
    let mut server = Server::start();
    let gateway = connected(&server);
    server.kill();
    crate::support::eventually("requests are rejected", || {
        run("blocking", &[], &gateway)
            .1
            .starts_with("rejected UPSTREAM_DOWN")
    });
    let (code, said) = run("tasks", &["4"], &gateway);
    let expected = "0 ok, 0 answered otherwise, 4 rejected, 0 unknown\n";
    assert_eq!((code, said.as_str()), (Some(1), expected));
}

#[test]
fn without_an_answer_they_say_that_it_may_have_run() {
    let server = Server::start();
    let gateway = connected(&server);
    let router = Router::start(Language::Rust, &server);
    signal("-STOP", router.child.id());
    let (code, said) = run("blocking", &[], &gateway);
    let expected = "unknown TIMEOUT: it may have run\n";
    assert_eq!((code, said.as_str()), (Some(1), expected));
    let (code, said) = run("loan", &[], &gateway);
    assert!(
        said.ends_with("unknown TIMEOUT: it may have run\n"),
        "{said}"
    );
    assert_eq!(code, Some(1));
}

#[test]
fn on_loopback_every_payload_comes_back() {
    let gateway = start(&["--upstream", "loopback"]);
    let (code, said) = run("blocking", &[], &gateway);
    assert!(said.contains(r#""request_id":"request-1""#), "{said}");
    assert_eq!(code, Some(0));
}

/// The decide requests that stand in a page.
fn decide_requests(page: &str) -> Vec<String> {
    let from = page.match_indices("{\"").map(|(at, _)| &page[at..]);
    let objects = from.filter_map(|rest| {
        let mut values = serde_json::Deserializer::from_str(rest).into_iter::<Value>();
        let object = values.next()?.ok()?;
        let is_one = object.get("tenant_id").is_some();
        is_one.then(|| rest[..values.byte_offset()].to_owned())
    });
    objects.collect()
}

#[test]
fn the_router_takes_each_decide_request_that_a_page_shows() {
    let readme = include_str!("../README.md");
    let (_, example) = readme.split_once("## A client").unwrap();
    let (example, _) = example.split_once("\n## ").unwrap();
    assert_eq!(decide_requests(example).len(), 1);
    assert!(!example.contains("b\""), "another body: {example}");
    let pages = [
        readme,
        include_str!("../docs/PROTOCOL.md"),
        include_str!("../docs/OPERATIONS.md"),
        include_str!("../ringbuf/src/client/handle.rs"),
        include_str!("../ringbuf/src/client/loan.rs"),
    ];
    let server = Server::start();
    let _router = crate::support::router::Router::start(&server, &[]);
    let gateway = connected(&server);
    let mut client = attach(&gateway);
    let mut shown = 0;
    for body in pages.into_iter().flat_map(decide_requests) {
        let reply = client.call(Request::to("decide").payload(&body)).unwrap();
        assert_eq!(reply.code(), Code::Ok, "{body}");
        shown += 1;
    }
    assert!(shown >= 6, "only {shown}");
}
