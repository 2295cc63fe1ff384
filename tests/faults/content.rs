//! Faults 22 to 28: what is in a request.

use std::process::Output;

use ipc_ringbuf::{ClientBuilder, Code, Request, sys};
use serde_json::Value;

use crate::exit_codes::fails;
use crate::support::admin::metric;
use crate::support::gateway::{Gateway, attach, attach_with, connected_as};
use crate::support::router::Router;
use crate::support::server::Server;
use crate::support::user::{Program, STRANGER, can_be_others, open_to};
use crate::support::{decide, eventually};

/// Users and groups of the matrix, besides [`STRANGER`].
const LIMITED: u32 = 1001;
const TRUSTED: u32 = 1002;
const OPERATORS: u32 = 4300;

/// What `ipc-gateway call` of this user in these groups answers: the code.
fn call_as(
    (program, gateway): (&Program, &Gateway),
    (uid, groups): (u32, &str),
    arguments: &[&str],
) -> String {
    let mut command = program.run_as(uid, STRANGER, groups);
    command.args(["call", "--socket"]).arg(&gateway.socket);
    let Output { stdout, stderr, .. } = command.args(arguments).output().unwrap();
    let said = String::from_utf8_lossy(&stderr);
    let line: Value = serde_json::from_slice(&stdout).expect(&said);
    line["code"].as_str().unwrap().to_owned()
}

#[test]
fn f24_who_may_use_a_route_is_the_configurations_to_say() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().to_str().unwrap();
    for subject in [
        "$SYS.REQ.SERVER.PING",
        "$JS.API.STREAM.DELETE.x",
        "_INBOX.x.y",
    ] {
        let text = format!("[[route]]\nname = \"x\"\nsubject = \"{subject}\"\n");
        std::fs::write(file.path(), text).unwrap();
        let arguments = ["check-config", "--socket", "/x.sock", "--config", path];
        fails(&arguments, 78, &["reserved"]);
    }
    let own = sys::own_uid();
    let text = format!(
        r#"
        [[route]]
        name = "open"
        subject = "test.open"
        [[route]]
        name = "trusted"
        subject = "test.trusted"
        allow_uids = [{TRUSTED}, {LIMITED}]
        [[route]]
        name = "operators"
        subject = "test.operators"
        allow_gids = [{OPERATORS}]
        [[policy]]
        uids = [{LIMITED}, {own}]
        routes = ["open", "operators"]
        [[policy]]
        "#
    );
    let server = Server::start();
    let gateway = connected_as(&text, &server);
    let subjects = ["test.open", "test.trusted", "test.operators"];
    let flags = subjects.map(|subject| ["--subject", subject]).concat();
    let router = Router::start(&server, &[&["--echo"], &flags[..]].concat());
    let mut client = attach(&gateway);
    let mut allowed = Vec::new();
    for (route, expected) in [
        ("open", Code::Ok),
        ("decide", Code::Forbidden),
        ("trusted", Code::Forbidden),
        ("operators", Code::Forbidden),
    ] {
        let mark = format!("own on {route}");
        let answer = client.call(Request::to(route).payload(&mark)).unwrap();
        assert_eq!(answer.code(), expected, "{route}");
        allowed.extend((expected == Code::Ok).then_some(mark));
    }
    if can_be_others() {
        open_to(&gateway, STRANGER);
        let program = Program::gateway();
        let operators = OPERATORS.to_string();
        for (who, routes) in [
            ((STRANGER, ""), &["open"][..]),
            ((STRANGER, &operators), &["open", "operators"]),
            ((LIMITED, ""), &["open"]),
            // Its policy does not name `trusted`, and the route does not allow it `operators`.
            ((LIMITED, &operators), &["open", "operators"]),
            ((TRUSTED, ""), &["open", "trusted"]),
        ] {
            for route in ["open", "trusted", "operators"] {
                let mark = format!("{who:?} on {route}");
                let code = call_as((&program, &gateway), who, &["--route", route, &mark]);
                if routes.contains(&route) {
                    assert_eq!(code, "OK", "{mark}");
                    allowed.push(mark);
                } else {
                    assert_eq!(code, "FORBIDDEN", "{mark}");
                }
            }
        }
    }
    let forbidden = metric(&gateway, "ipcgw_completions_total", "code=\"FORBIDDEN\"");
    assert!(forbidden >= 3);
    eventually("the Router has logged them", || {
        router.payloads().len() >= allowed.len()
    });
    assert_eq!(router.payloads(), allowed);
}

#[test]
fn f27_the_router_sees_no_tenant_but_the_one_that_the_user_is_bound_to() {
    let server = Server::start();
    let own = sys::own_uid();
    let config = format!(
        "[[policy]]\nuids = [{own}]\ntenant = \"acme\"\n\
         [[policy]]\nuids = [{STRANGER}]\ntenant = \"globex\"\n"
    );
    let gateway = connected_as(&config, &server);
    let router = Router::start(&server, &[]);
    let mut client = attach_with(&gateway, ClientBuilder::new());
    for name in ["tenant_id", "Tenant_ID", "TENANT_ID"] {
        let body = decide("spoofed", 200);
        let request = Request::to("decide").header(name, "evil").payload(&body);
        assert_eq!(client.call(request).unwrap().code(), Code::Forbidden);
    }
    // Twice, the second time another one.
    let body = decide("spoofed", 200);
    let twice = Request::to("decide").header("tenant_id", "acme");
    let twice = twice.header("tenant_id", "evil").payload(&body);
    assert_eq!(client.call(twice).unwrap().code(), Code::Forbidden);
    // The body names a tenant too: the header, which the gateway sets, wins.
    let body = String::from_utf8(decide("body", 200)).unwrap();
    let body = body.replace("acme", "evil");
    let bare = Request::to("decide").payload(&body);
    for request in [bare.clone(), bare.header("tenant_id", "acme")] {
        assert_eq!(client.call(request).unwrap().code(), Code::Ok);
    }
    let mut expected = vec!["acme", "acme"];
    if can_be_others() {
        open_to(&gateway, STRANGER);
        let program = Program::gateway();
        let call = |header: &str| {
            let arguments = ["--header", header, &body];
            call_as((&program, &gateway), (STRANGER, ""), &arguments)
        };
        assert_eq!(call("tenant_id=acme"), "FORBIDDEN");
        assert_eq!(call("tenant_id=globex"), "OK");
        assert_eq!(call("x-note=7"), "OK");
        expected.extend(["globex", "globex"]);
    }
    let log = router.log();
    let sent = log.iter().filter(|line| line["payload"] == *body);
    let seen: Vec<_> = sent
        .map(|line| line["headers"]["tenant_id"].as_str())
        .collect();
    assert_eq!(seen, expected.into_iter().map(Some).collect::<Vec<_>>());
    let spoofed = log
        .iter()
        .filter(|line| line.to_string().contains("spoofed"));
    assert_eq!(spoofed.count(), 0, "{log:?}");
}
