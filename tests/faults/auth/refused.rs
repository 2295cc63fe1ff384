//! Fault 32: the server does not want the gateway, or not all that it does.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use ipc_ringbuf::{Client, Code, Outcome, Request};

use super::Setup;
use crate::support::admin::{get, metric};
use crate::support::credentials::nkey;
use crate::support::eventually;
use crate::support::gateway::{Gateway, attach, start_configured, until_connected};
use crate::support::router::Router;
use crate::support::server::Server;

#[test]
fn f32_what_the_server_refuses_is_told_at_once_and_taken_back_by_itself() {
    passwords_that_change();
    a_seed_file_that_is_replaced();
    a_subject_that_is_refused();
    a_permission_that_is_withdrawn();
    markers_that_are_refused();
    an_inbox_that_is_refused();
}

fn passwords_that_change() {
    let password = |word: &str| format!("authorization {{ user: gw, password: \"{word}\" }}\n");
    let setup = Setup::new();
    let mut server = setup.start(&password("s3cret-new"));
    let keys = "user = \"gw\"\npassword = \"s3cret-old\"\nreconnect_max = \"200ms\"\n";
    let text = format!("[log]\nfilter = \"debug\"\n[nats]\n{keys}");
    let gateway = start_configured(&text, &["--nats", &server.url()]);
    let is_kept_out = |client: &mut Client| {
        eventually("it says so", || {
            let (status, reason) = get(&gateway, "/readyz");
            status == 503 && reason.contains("authorization violation")
        });
        assert_eq!(get(&gateway, "/livez").0, 200);
        let asked = Instant::now();
        let answer = client.call(Request::to("decide").payload(b"x")).unwrap();
        assert_eq!(answer.code(), Code::UpstreamDown);
        assert!(asked.elapsed() < Duration::from_secs(2));
    };
    let is_let_in = |client: &mut Client| {
        eventually("it is ready", || get(&gateway, "/readyz").0 == 200);
        let answer = client.call(Request::to("decide").payload(b"x")).unwrap();
        assert_eq!(answer.code(), Code::NoResponders);
    };
    let mut client = attach(&gateway);
    is_kept_out(&mut client);
    let mut rotate = |word: &str| {
        server.kill();
        setup.configure(&password(word));
        server.restart();
    };
    rotate("s3cret-old");
    is_let_in(&mut client);
    rotate("s3cret-new");
    is_kept_out(&mut client);
    rotate("s3cret-old");
    is_let_in(&mut client);
    let refused = metric(&gateway, "ipcgw_nats_errors_total", "authorization");
    assert!(refused >= 2, "{refused}");
    let shown = gateway.log() + &get(&gateway, "/metrics").1;
    assert!(!shown.contains("s3cret"), "{shown}");
}

/// A file is read anew for each attempt: nothing has to be restarted.
fn a_seed_file_that_is_replaced() {
    let setup = Setup::new();
    let (old, new) = (nkey(), nkey());
    let allowing = |public: &str| format!("authorization {{ users: [ {{ nkey: {public} }} ] }}\n");
    let mut server = setup.start(&allowing(&old.0));
    let seed = setup.at("seed");
    std::fs::write(&seed, &old.1).unwrap();
    let keys = format!("nkey_seed_file = \"{}\"\n", seed.display());
    let text = format!("[nats]\n{keys}reconnect_max = \"200ms\"\n");
    let gateway = start_configured(&text, &["--nats", &server.url()]);
    eventually("it is ready", || get(&gateway, "/readyz").0 == 200);
    server.kill();
    setup.configure(&allowing(&new.0));
    server.restart();
    eventually("it is kept out", || {
        get(&gateway, "/readyz")
            .1
            .contains("authorization violation")
    });
    std::fs::write(&seed, &new.1).unwrap();
    eventually("it is ready", || get(&gateway, "/readyz").0 == 200);
    let log = gateway.log();
    assert!(!log.contains(&old.1) && !log.contains(&new.1), "{log}");
}

/// A server whose user `gw` may publish to these subjects only.
fn permitting(subjects: &str) -> String {
    format!(
        r#"authorization {{ users: [
            {{ user: gw, password: gw, permissions: {{
                publish: {{ allow: ["_INBOX.>", {subjects}] }}
                subscribe: {{ allow: ["_INBOX.>"] }} }} }}
            {{ user: router, password: router }} ] }}
        "#
    )
}

const ROUTES: &str = r#"
[nats]
user = "gw"
password = "gw"
[[route]]
name = "open"
subject = "test.open"
[[route]]
name = "refused"
subject = "test.refused"
[[route]]
name = "event"
subject = "test.refused"
kind = "publish"
"#;

fn url_of_router(server: &Server) -> String {
    format!("nats://router:router@127.0.0.1:{}", server.port())
}

fn started(server: &Server) -> (Gateway, Client) {
    let gateway = start_configured(ROUTES, &["--nats", &server.url()]);
    let mut client = attach(&gateway);
    until_connected(&mut client);
    (gateway, client)
}

fn code(client: &mut Client, route: &str) -> Code {
    let request = Request::to(route).payload(b"x");
    let answer = client.call(request.timeout(Duration::from_secs(10)));
    answer.unwrap().code()
}

/// Sends so many at once; returns how many came back with each code, and how long that took.
fn flood(client: &mut Client, route: &str, count: usize) -> (HashMap<Code, usize>, Duration) {
    let (mut codes, start) = (HashMap::new(), Instant::now());
    let mut sent = 0;
    for _ in 0..count {
        while sent < count && client.outstanding() < 200 {
            let request = Request::to(route).payload(b"x");
            client
                .submit(request.timeout(Duration::from_secs(15)))
                .unwrap();
            sent += 1;
        }
        client.flush();
        let completion = client.wait(Duration::from_secs(20)).unwrap();
        *codes.entry(completion.code()).or_default() += 1;
    }
    (codes, start.elapsed())
}

fn a_subject_that_is_refused() {
    let setup = Setup::new();
    let server = setup.start(&permitting("\"test.open\""));
    let flags = [
        "--echo",
        "--subject",
        "test.open",
        "--subject",
        "test.refused",
    ];
    let router = Router::start_at(&url_of_router(&server), &flags);
    let (gateway, mut client) = started(&server);
    assert_eq!(code(&mut client, "open"), Code::Ok);
    let asked = Instant::now();
    assert_eq!(code(&mut client, "refused"), Code::Forbidden);
    assert_eq!(code(&mut client, "event"), Code::Forbidden);
    assert!(
        asked.elapsed() < Duration::from_secs(2),
        "{:?}",
        asked.elapsed()
    );
    // Far more than the client library has room for complaints.
    let (codes, took) = flood(&mut client, "refused", 3000);
    assert_eq!(codes, HashMap::from([(Code::Forbidden, 3000)]));
    assert!(took < Duration::from_secs(10), "{took:?}");
    assert_eq!(code(&mut client, "open"), Code::Ok);
    assert_eq!(get(&gateway, "/readyz").0, 200);
    assert!(metric(&gateway, "ipcgw_nats_errors_total", "permission") >= 2);
    assert_eq!(router.log().len(), 2, "{:?}", router.log());
    // The subject's routes are free again soon after the server permits it, and others never closed.
    setup.configure(&permitting("\"test.>\""));
    server.reload();
    eventually("it is permitted", || {
        code(&mut client, "refused") == Code::Ok && code(&mut client, "event") == Code::Sent
    });
    let (codes, _) = flood(&mut client, "refused", 300);
    assert_eq!(codes, HashMap::from([(Code::Ok, 300)]));
}

/// What was on its way when a permission was withdrawn may have run.
fn a_permission_that_is_withdrawn() {
    let setup = Setup::new();
    let server = setup.start(&permitting("\"test.>\""));
    // Nobody has ever had an answer: what was let through is known without one.
    let silent = ["--silent-rate", "1", "--subject", "test.refused"];
    let router = Router::start_at(&url_of_router(&server), &silent);
    let (_gateway, mut client) = started(&server);
    let submit = |client: &mut Client| {
        let request = Request::to("refused").payload(b"x");
        client
            .submit(request.timeout(Duration::from_secs(15)))
            .unwrap();
        client.flush();
    };
    for _ in 0..5 {
        submit(&mut client);
    }
    eventually("the Router has them", || router.log().len() == 5);
    setup.configure(&permitting("\"test.open\""));
    server.reload();
    submit(&mut client);
    for _ in 0..6 {
        let completion = client
            .wait(Duration::from_secs(5))
            .expect("soon, not by timeout");
        assert_eq!(
            completion.outcome(),
            Outcome::Unknown,
            "{}",
            completion.code()
        );
    }
    assert_eq!(code(&mut client, "refused"), Code::Forbidden);
    assert_eq!(router.log().len(), 5);
}

/// What a user may do who has no route of kind `publish`: not even publish to its inbox.
fn markers_that_are_refused() {
    let setup = Setup::new();
    let text =
        permitting("\"test.open\"").replace("allow: [\"_INBOX.>\", \"test", "allow: [\"test");
    let server = setup.start(&text);
    let flags = ["--echo", "--subject", "test.open"];
    let _router = Router::start_at(&url_of_router(&server), &flags);
    let (gateway, mut client) = started(&server);
    assert_eq!(code(&mut client, "open"), Code::Ok);
    eventually("it says what cannot work", || {
        gateway.log().contains("route event cannot be confirmed")
    });
    // Nothing is sent that could not be confirmed, until it can be.
    assert_eq!(code(&mut client, "event"), Code::Forbidden);
    setup.configure(&permitting("\"test.>\""));
    server.reload();
    eventually("it is permitted", || {
        code(&mut client, "event") == Code::Sent
    });
    // And withdrawn, on a connection that stays or on another.
    setup.configure(&text);
    server.reload();
    eventually("it is not any more", || {
        code(&mut client, "event") == Code::Forbidden
    });
    setup.configure(&permitting("\"test.>\""));
    server.reload();
    eventually("it is again", || code(&mut client, "event") == Code::Sent);
}

fn an_inbox_that_is_refused() {
    let setup = Setup::new();
    let refusing = r#"authorization { users: [ { user: gw, password: gw, permissions: {
        subscribe: { allow: ["elsewhere.>"] } } } ] }
    "#;
    let server = setup.start(refusing);
    let gateway = start_configured(ROUTES, &["--nats", &server.url()]);
    eventually("it says so", || {
        let (status, reason) = get(&gateway, "/readyz");
        status == 503 && reason.contains("does not let this user subscribe to _INBOX.")
    });
    let mut client = attach(&gateway);
    assert_eq!(code(&mut client, "open"), Code::UpstreamDown);
    setup.configure(&permitting("\"test.>\""));
    server.reload();
    eventually("it is ready", || get(&gateway, "/readyz").0 == 200);
    assert_eq!(code(&mut client, "open"), Code::NoResponders);
}
