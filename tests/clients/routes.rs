//! Routes that were looked up once, and a gateway that comes back with others.

use ipc_ringbuf::decide::{DecideRequest, Task};
use ipc_ringbuf::{CallError, Code, OwnedCompletion, Request, RouteId, SubmitError};
use serde_json::json;

use super::builder;
use crate::support::gateway::{attach, connected_as, until_connected};
use crate::support::router::Router;
use crate::support::server::Server;
use crate::support::{decide, eventually};

/// A configuration with these routes, in this order.
fn config(names: &[&str]) -> String {
    let route = |name: &&str| format!("[[route]]\nname = '{name}'\nsubject = 'test.{name}'\n");
    names.iter().map(route).collect()
}

/// What became of a call, once the handle has found the new gateway.
fn called(mut call: impl FnMut() -> Result<OwnedCompletion, CallError>) -> Result<Code, CallError> {
    let mut result = Err(CallError::Detached);
    eventually("the gateway is found again", || {
        result = call().map(|completion| completion.code());
        // What was lost with the old one says so.
        !matches!(result, Err(CallError::Detached) | Ok(Code::Draining))
    });
    result
}

#[test]
fn a_route_that_was_looked_up_is_the_one_of_that_name_in_every_session() {
    let server = Server::start();
    let first = config(&["decide", "audit", "gone", "bill"]);
    let mut gateway = connected_as(&first, &server);
    let mut audit = Router::start(&server, &["--subject", "test.audit"]);
    let mut others = Router::start(
        &server,
        &[
            "--subject",
            "test.decide",
            "--subject",
            "test.bill",
            "--subject",
            "test.gone",
        ],
    );
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut own = builder(&gateway).connect().unwrap();
    let shared = builder(&gateway).connect_shared().unwrap();
    let tasks = runtime.block_on(builder(&gateway).connect_async()).unwrap();
    let looked_up: [RouteId; 3] = [
        own.route("audit"),
        shared.route("audit"),
        tasks.route("audit"),
    ]
    .map(|route| route.unwrap());
    let gone = own.route("gone").unwrap();
    assert_eq!(looked_up.map(RouteId::number), [1; 3]);
    assert_eq!((gone.name(), gone.number()), ("gone", 2));

    gateway.terminate();
    // Each has another number now, and those of before are other routes'.
    let second = config(&["bill", "decide", "audit"]);
    std::fs::write(gateway.socket.with_file_name("config.toml"), second).unwrap();
    gateway.restart(&["--nats", &server.url()]);
    until_connected(&mut attach(&gateway));

    let bodies = ["own", "shared", "tasks", "crossed"].map(|id| decide(id, 128));
    let request = |at: usize| Request::to(looked_up[at]).payload(&bodies[at]);
    let result = called(|| own.call(request(0)).map(|completion| completion.to_owned()));
    assert_eq!(result, Ok(Code::Ok));
    assert_eq!(called(|| shared.call(request(1))), Ok(Code::Ok));
    let result = called(|| runtime.block_on(tasks.call(request(2))));
    assert_eq!(result, Ok(Code::Ok));
    // What one handle has looked up is good for another, which was never told the old number.
    let mut fresh = attach(&gateway);
    let crossed = Request::to(looked_up[0]).payload(&bodies[3]);
    assert_eq!(fresh.call(crossed).unwrap().code(), Code::Ok);
    assert_eq!(own.route("audit").unwrap().number(), 2);

    // One whose name is no route's any more is refused, and the request comes back.
    let Err(SubmitError::UnknownRoute(back)) = own.submit(Request::to(gone).payload(&bodies[0]))
    else {
        panic!("there is no such route");
    };
    assert_eq!(own.call(back.route("audit")).unwrap().code(), Code::Ok);
    let refused = shared.call(Request::to(gone)).map(|it| it.code());
    assert_eq!(refused, Err(CallError::UnknownRoute));
    let refused = runtime.block_on(tasks.call(Request::to(gone)));
    assert_eq!(refused.map(|it| it.code()), Err(CallError::UnknownRoute));

    audit.close();
    others.close();
    assert_eq!(audit.payloads().len(), 5);
    // The question whether there is a connection is no decide request.
    let strayed = |text: &String| text.contains("tenant_id");
    assert_eq!(
        others
            .payloads()
            .iter()
            .filter(|text| strayed(text))
            .count(),
        0
    );
}

#[test]
fn a_checked_decide_request_goes_to_the_route_that_is_named() {
    let server = Server::start();
    let gateway = connected_as(
        &(config(&["decide", "chat"]) + "contract = 'router'\n"),
        &server,
    );
    let mut router = Router::start(&server, &["--subject", "test.chat"]);
    let task = Task::new("chat").payload(json!({"text": "hello"}));
    let decide = DecideRequest::new("acme", "named", task).build().unwrap();
    let mut client = attach(&gateway);
    let reply = client.call(Request::decide(&decide).route("chat")).unwrap();
    assert_eq!(reply.code(), Code::Ok);
    router.close();
    assert_eq!(router.payloads().len(), 1);
}
