//! The configuration, read again while the gateway serves: by `POST /reload` and by SIGHUP.

use std::fs::Permissions;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use ipc_ringbuf::{AttachError, Client, ClientBuilder, Code, EndReason, Request, SubmitError, sys};
use serde_json::{Value, json};

use crate::support::admin::{get, metric, reload, say};
use crate::support::gateway::{
    Gateway, attach, connected_as, serve, start_configured, until_connected,
};
use crate::support::lines::Lines;
use crate::support::router::Router;
use crate::support::server::Server;
use crate::support::user::{Program, STRANGER, can_be_others};
use crate::support::{SOON, decide, eventually, meanwhile, signal};

mod files;

/// Requests of one client on their way at once.
const WINDOW: u32 = 16;

fn write_config(gateway: &Gateway, text: &str) {
    std::fs::write(config(gateway), text).unwrap();
}

fn config(gateway: &Gateway) -> std::path::PathBuf {
    gateway.socket.with_file_name("config.toml")
}

fn route(name: &str, subject: &str) -> String {
    format!("[[route]]\nname = '{name}'\nsubject = '{subject}'\n")
}

/// The keys of the changes in an answer, in order.
fn keys(answer: &Value) -> Vec<&str> {
    let changes = answer["changes"].as_array().unwrap();
    let keys = changes.iter().map(|change| change["key"].as_str().unwrap());
    keys.collect()
}

fn reloads(gateway: &Gateway, result: &str) -> u64 {
    let label = format!("result=\"{result}\"");
    metric(gateway, "ipcgw_config_reloads_total", &label)
}

fn call(client: &mut Client, route: &str, payload: &[u8]) -> Code {
    let request = Request::to(route).payload(payload).timeout(SOON);
    client.call(request).unwrap().code()
}

/// Sends decide requests until told to stop; every one must be answered.
fn send_all_the_time(
    gateway: &Gateway,
    name: &str,
    stop: &AtomicBool,
    answered: &AtomicU64,
) -> u64 {
    let mut client = attach(gateway);
    let mut sent = 0;
    let mut done = 0;
    while !stop.load(Ordering::Relaxed) || done < sent {
        while sent - done < u64::from(WINDOW) && !stop.load(Ordering::Relaxed) {
            let body = decide(&format!("{name}-{sent}"), 128);
            let request = Request::to("decide").payload(&body).timeout(SOON);
            client.submit(request).unwrap();
            sent += 1;
        }
        client.flush();
        let completion = client.wait(SOON).unwrap();
        assert_eq!(completion.code(), Code::Ok, "{name}");
        done += 1;
        answered.fetch_add(1, Ordering::Relaxed);
    }
    sent
}

#[test]
fn under_load_a_route_moves_and_another_comes_and_every_request_is_answered() {
    let server = Server::start();
    let gateway = connected_as(&route("decide", "test.old"), &server);
    let mut old = Router::start(&server, &["--subject", "test.old"]);
    let new = Router::start(
        &server,
        &["--subject", "test.new", "--subject", "test.second"],
    );
    let (stop, answered) = (AtomicBool::new(false), AtomicU64::new(0));
    // The question whether there is a connection may have timed out.
    let unknown = || metric(&gateway, "ipcgw_completions_total", "outcome=\"unknown\"");
    let before = unknown();
    let sent: u64 = std::thread::scope(|scope| {
        let clients = ["a", "b"].map(|name| {
            let (gateway, stop, answered) = (&gateway, &stop, &answered);
            scope.spawn(move || send_all_the_time(gateway, name, stop, answered))
        });
        let more = || {
            let before = answered.load(Ordering::Relaxed);
            eventually("they are answered", || {
                answered.load(Ordering::Relaxed) > before + 200
            });
        };
        more();
        for round in 0..4 {
            // There and back again, with one more route each time.
            let subject = if round % 2 == 0 {
                "test.new"
            } else {
                "test.old"
            };
            let added = format!("second{round}");
            let text = route("decide", subject) + &route(&added, "test.second");
            write_config(&gateway, &text);
            let (status, answer) = reload(&gateway);
            assert_eq!((status, &answer["result"]), (200, &json!("changed")));
            assert!(keys(&answer).contains(&"route.decide.subject"), "{answer}");
            assert_eq!(answer["workers_behind"], 0);
            let mut client = attach(&gateway);
            for route in ["decide", &added] {
                let mark = format!("{route}-{round}");
                assert_eq!(call(&mut client, route, &decide(&mark, 128)), Code::Ok);
            }
            if round > 0 {
                let gone = format!("second{}", round - 1);
                let refused = client.submit(Request::to(&gone));
                assert!(matches!(refused, Err(SubmitError::UnknownRoute(_))));
            }
            more();
        }
        stop.store(true, Ordering::Relaxed);
        clients.map(|client| client.join().unwrap()).iter().sum()
    });
    old.close();
    let here = |router: &Router, mark: &str| {
        let payloads = router.payloads();
        payloads.iter().any(|text| text.contains(mark))
    };
    // Each went where the route led when the answer to the reload had come.
    for (round, (on_old, on_new)) in [(false, true), (true, false), (false, true), (true, false)]
        .into_iter()
        .enumerate()
    {
        let mark = format!("\"decide-{round}\"");
        assert_eq!(
            (here(&old, &mark), here(&new, &mark)),
            (on_old, on_new),
            "{round}"
        );
        assert!(here(&new, &format!("\"second{round}-{round}\"")));
    }
    assert_eq!(answered.load(Ordering::Relaxed), sent);
    assert_eq!(unknown(), before);
    assert_eq!(reloads(&gateway, "changed"), 4);
    assert_eq!(
        metric(
            &gateway,
            "ipcgw_sessions_ended_total",
            "reason=\"PEER_DIED\""
        ),
        0
    );
}

#[test]
fn what_is_on_its_way_to_a_route_that_goes_is_answered_and_what_comes_later_is_refused() {
    let server = Server::start();
    let text = route("decide", "test.a") + &route("gone", "test.gone");
    let gateway = connected_as(&text, &server);
    let slow = ["--subject", "test.gone", "--delay", "1500ms"];
    let router = Router::start(&server, &slow);
    let mut client = attach(&gateway);
    let number = client.route("gone").unwrap();
    let body = decide("on-its-way", 128);
    let request = Request::to("gone").payload(&body).timeout(SOON);
    client.submit(request).unwrap();
    client.flush();
    eventually("it is there", || !router.payloads().is_empty());
    write_config(&gateway, &route("decide", "test.a"));
    let (status, answer) = reload(&gateway);
    assert_eq!((status, keys(&answer)), (200, vec!["route.gone"]));
    let late = Request::to(number).payload(&body).timeout(SOON);
    client.submit(late).unwrap();
    client.flush();
    // The session knew the number; the gateway does not take it any more.
    assert_eq!(client.wait(SOON).unwrap().code(), Code::BadRoute);
    assert_eq!(client.wait(SOON).unwrap().code(), Code::Ok);
    // Another route has another number.
    write_config(
        &gateway,
        &(route("decide", "test.a") + &route("other", "test.other")),
    );
    assert_eq!(reload(&gateway).0, 200);
    let other = attach(&gateway).route("other").unwrap();
    assert_ne!(other.number(), number.number());
    let request = Request::to(number).payload(&body).timeout(SOON);
    assert_eq!(client.call(request).unwrap().code(), Code::BadRoute);
    // It has its own again when it comes back, but not as something else.
    let back = route("decide", "test.a") + &route("gone", "test.gone");
    write_config(&gateway, &(back.clone() + "kind = 'stream'\n"));
    let (status, answer) = reload(&gateway);
    assert_eq!((status, keys(&answer)), (409, vec!["route.gone.kind"]));
    write_config(&gateway, &back);
    assert_eq!(reload(&gateway).0, 200);
    let request = Request::to(number).payload(&body).timeout(SOON);
    assert_eq!(client.call(request).unwrap().code(), Code::Ok);
    assert_eq!(router.payloads().len(), 2);
}

#[test]
fn a_file_that_cannot_be_used_changes_nothing_and_is_named_with_line_and_column() {
    let gateway = start_configured(&route("decide", "test.a"), &["--upstream", "loopback"]);
    let at = metric(
        &gateway,
        "ipcgw_config_last_reload_success_timestamp_seconds",
        "",
    );
    assert!(at > 1_700_000_000, "{at}");
    let bad = route("added", "test.b") + "timeout = '5 parsecs'\n";
    write_config(&gateway, &bad);
    let (status, answer) = reload(&gateway);
    assert_eq!((status, &answer["result"]), (422, &json!("invalid")));
    let error = answer["errors"][0].as_str().unwrap();
    let place = format!("{}:4:11: ", config(&gateway).display());
    assert!(error.starts_with(&place), "{error}");
    assert_eq!(attach(&gateway).route("added"), None);
    signal("-HUP", gateway.pid());
    eventually("it is counted", || reloads(&gateway, "invalid") == 2);
    eventually("it is said", || gateway.log().matches(&place).count() == 2);
    std::fs::remove_file(config(&gateway)).unwrap();
    let (status, answer) = reload(&gateway);
    let error = answer["errors"][0].as_str().unwrap();
    assert_eq!(status, 422);
    assert!(error.contains("cannot read the configuration"), "{error}");
    write_config(&gateway, &route("decide", "test.a"));
    let (status, answer) = reload(&gateway);
    assert_eq!((status, &answer["result"]), (200, &json!("unchanged")));
}

#[test]
fn a_key_that_only_a_restart_changes_is_named_and_nothing_is_taken() {
    let gateway = start_configured("", &["--upstream", "loopback"]);
    let text = "[workers]\nburst = 17\n[log]\nformat = 'json'\n".to_owned() + &route("added", "b");
    write_config(&gateway, &text);
    let (status, answer) = reload(&gateway);
    assert_eq!((status, &answer["result"]), (409, &json!("restart")));
    assert_eq!(keys(&answer), ["log.format", "workers.burst"]);
    let burst = &answer["changes"][1];
    assert_eq!(
        (&burst["from"], &burst["to"]),
        (&json!("256"), &json!("17"))
    );
    assert_eq!(attach(&gateway).route("added"), None);
    eventually("it is said", || {
        gateway.log().contains("workers.burst from 256 to 17")
    });
    assert_eq!(reloads(&gateway, "restart"), 1);
    // A flag wins over the file, before and after.
    write_config(&gateway, "upstream = 'nats'\n");
    assert_eq!(reload(&gateway).1["result"], "unchanged");
}

#[test]
fn quotas_change_for_those_who_are_there_and_for_those_who_come() {
    let server = Server::start();
    let gateway = connected_as("", &server);
    let _router = Router::start(&server, &["--silent-rate", "1"]);
    let mut client = attach(&gateway);
    let mut submit = |count: usize| {
        for number in 0..count {
            let body = decide(&format!("q-{number}"), 128);
            let request = Request::to("decide").payload(&body).timeout(SOON * 3);
            client.submit(request).unwrap();
        }
        client.flush();
    };
    let in_flight = || metric(&gateway, "ipcgw_in_flight", "");
    let refused = || metric(&gateway, "ipcgw_completions_total", "code=\"QUOTA\"");
    submit(8);
    eventually("all are in flight", || in_flight() == 8);
    write_config(&gateway, "[control.quota]\nin_flight = 10\nsessions = 2\n");
    let (status, answer) = reload(&gateway);
    let expected = vec!["control.quota.in_flight", "control.quota.sessions"];
    assert_eq!((status, keys(&answer)), (200, expected));
    submit(8);
    eventually("six are refused", || refused() == 6);
    assert_eq!(in_flight(), 10);
    let _second = attach(&gateway);
    let third = ClientBuilder::new().socket(&gateway.socket).connect();
    let reason = |error: AttachError| match error {
        AttachError::Refused { reason, .. } => reason,
        other => unreachable!("{other}"),
    };
    assert_eq!(third.map_err(reason).err(), Some(EndReason::AttachQuota));
    write_config(&gateway, "");
    assert_eq!(reload(&gateway).0, 200);
    submit(8);
    eventually("all are in flight", || in_flight() == 18);
    assert_eq!(refused(), 6);
    attach(&gateway);
}

#[test]
fn rules_hold_for_those_who_are_there() {
    let gateway = start_configured(
        &(route("decide", "test.a") + &route("audit", "test.b")),
        &["--upstream", "loopback"],
    );
    let own = sys::own_uid();
    let mut client = attach(&gateway);
    assert_eq!(call(&mut client, "audit", b"x"), Code::Ok);
    let routes = route("decide", "test.a") + &route("audit", "test.b");
    let narrow = format!("{routes}[[policy]]\nuids = [{own}]\nroutes = ['decide']\n");
    write_config(&gateway, &narrow);
    assert_eq!(reload(&gateway).0, 200);
    assert_eq!(call(&mut client, "audit", b"x"), Code::Forbidden);
    assert_eq!(call(&mut client, "decide", b"x"), Code::Ok);
    let nobody = format!("{routes}[[policy]]\nuids = [{}]\n", own + 1);
    write_config(&gateway, &nobody);
    assert_eq!(reload(&gateway).0, 200);
    let ended = || metric(&gateway, "ipcgw_sessions_ended_total", "UID_DENIED");
    eventually("the session is ended", || ended() == 1);
}

#[test]
fn backpressure_is_switched_off_and_on_and_moved_without_a_lost_request() {
    let server = Server::start();
    let gateway = connected_as("", &server);
    let _router = Router::start(&server, &["--backpressure-control", "test.control"]);
    let mut client = attach(&gateway);
    let publish = |subject: &str| {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, server.port())).unwrap();
        let status = r#"{"status":"active","retry_after_seconds":60}"#;
        let text = format!(
            "CONNECT {{\"verbose\":false}}\r\nPUB {subject} {}\r\n{status}\r\nPING\r\n",
            status.len()
        );
        std::io::Write::write_all(&mut stream, text.as_bytes()).unwrap();
        let mut said = String::new();
        let mut reader = std::io::BufReader::new(stream);
        while !said.contains("PONG") {
            std::io::BufRead::read_line(&mut reader, &mut said).unwrap();
        }
    };
    let heard = || metric(&gateway, "ipcgw_backpressure_statuses_total", "yes");
    let body = decide("bp", 128);
    assert_eq!(call(&mut client, "decide", &body), Code::Ok);
    publish("beamline.router.v2.status.backpressure");
    eventually("it is heard", || heard() > 0);
    eventually("it closes", || {
        call(&mut client, "decide", &body) == Code::Overloaded
    });
    write_config(&gateway, "[backpressure]\nenabled = false\n");
    assert_eq!(reload(&gateway).0, 200);
    eventually("it is open", || {
        call(&mut client, "decide", &body) == Code::Ok
    });
    let connects = metric(&gateway, "ipcgw_nats_connects_total", "");
    write_config(&gateway, "[backpressure]\nsubject = 'test.elsewhere'\n");
    assert_eq!(reload(&gateway).0, 200);
    eventually("others take the place of the connections", || {
        metric(&gateway, "ipcgw_nats_connects_total", "") >= connects + 2
    });
    assert_eq!(call(&mut client, "decide", &body), Code::Ok);
    eventually("it is heard there", || {
        publish("test.elsewhere");
        call(&mut client, "decide", &body) == Code::Overloaded
    });
    assert_eq!(metric(&gateway, "ipcgw_nats_disconnects_total", ""), 0);
}

#[test]
fn the_filter_of_the_log_changes() {
    let gateway = start_configured("", &["--upstream", "loopback"]);
    drop(attach(&gateway));
    eventually("it is said", || gateway.log().contains("client attached"));
    write_config(&gateway, "log.filter = 'error'\n");
    let (status, answer) = reload(&gateway);
    assert_eq!((status, keys(&answer)), (200, vec!["log.filter"]));
    let before = gateway.log().matches("client attached").count();
    drop(attach(&gateway));
    write_config(&gateway, "log.filter = 'info'\n");
    assert_eq!(reload(&gateway).0, 200);
    eventually("it is said again", || {
        drop(attach(&gateway));
        gateway.log().matches("client attached").count() > before
    });
    assert!(gateway.log().contains("configuration reloaded"));
}

#[test]
fn the_service_manager_is_told_of_a_reload_and_of_its_end() {
    let dir = tempfile::tempdir().unwrap();
    let manager = UnixDatagram::bind(dir.path().join("notify")).unwrap();
    manager.set_read_timeout(Some(SOON)).unwrap();
    let file = dir.path().join("config.toml");
    std::fs::write(&file, "").unwrap();
    let mut child = serve(&dir.path().join("gateway.sock"))
        .args(["--upstream", "loopback", "--config"])
        .arg(&file)
        .env("NOTIFY_SOCKET", dir.path().join("notify"))
        .spawn()
        .unwrap();
    let _said = Lines::of(child.stderr.take().unwrap());
    let next = || {
        let mut text = [0; 512];
        let bytes = manager.recv(&mut text).unwrap();
        String::from_utf8(text[..bytes].to_vec()).unwrap()
    };
    assert_eq!(next(), "READY=1");
    let reload = |text: &str| {
        std::fs::write(&file, text).unwrap();
        signal("-HUP", child.id());
        let begun = next();
        let since = begun.strip_prefix("RELOADING=1\nMONOTONIC_USEC=");
        let since: u64 = since.expect(&begun).trim().parse().unwrap();
        assert!(since > 0);
        next()
    };
    assert_eq!(
        reload("[control.quota]\nsessions = 3\n"),
        "READY=1\nSTATUS="
    );
    assert!(reload("nonsense").contains("invalid"));
    signal("-TERM", child.id());
    assert!(child.wait().unwrap().success());
}

#[test]
fn only_root_and_the_gateways_user_may_ask_on_the_unix_socket() {
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let admin = address.to_string();
    let gateway = start_configured("", &["--upstream", "loopback", "--admin", &admin]);
    let ask = |method: &str| say(TcpStream::connect(address).unwrap(), method, "/reload").0;
    assert_eq!((ask("POST"), ask("GET")), (403, 405));
    drop(gateway);
    let gateway = start_configured("", &["--upstream", "loopback"]);
    assert_eq!(get(&gateway, "/reload").0, 405);
    assert_eq!(reload(&gateway).0, 200);
    if can_be_others() {
        let (status, answer) = say_as_stranger(&gateway, "GET", "/livez");
        assert_eq!(status, 200, "{answer}");
        let (status, answer) = say_as_stranger(&gateway, "POST", "/reload");
        assert_eq!(status, 403);
        assert!(
            answer.contains(&format!("user {STRANGER} may only look")),
            "{answer}"
        );
        assert_eq!(reloads(&gateway, "unchanged"), 1);
    }
}

/// Names the admin socket, the method and the path for [`asks_as_stranger`].
const ASKED: &str = "IPCGW_TEST_ASKED";

/// Asks as another user, who can open the socket.
fn say_as_stranger(gateway: &Gateway, method: &str, path: &str) -> (u16, String) {
    let admin = gateway.socket.with_file_name("admin.sock");
    let allow = |path, mode| std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    allow(gateway.socket.parent().unwrap(), 0o755);
    allow(&admin, 0o666);
    let program = Program::these_tests();
    let mut command = program.run_as(STRANGER, STRANGER, "");
    command.args(["--exact", "reload::asks_as_stranger", "--nocapture"]);
    let asked = format!("{} {method} {path}", admin.display());
    let output = command.env(ASKED, asked).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let (_, answer) = said.split_once("answered ").expect(&said);
    let (status, answer) = answer.split_once(' ').unwrap();
    (status.parse().unwrap(), answer.to_owned())
}

/// Not a test but what [`say_as_stranger`] runs.
#[test]
fn asks_as_stranger() {
    let Ok(asked) = std::env::var(ASKED) else {
        return;
    };
    let [admin, method, path] = asked.split(' ').collect::<Vec<_>>()[..] else {
        unreachable!("{asked}");
    };
    let (status, answer) = say(UnixStream::connect(admin).unwrap(), method, path);
    println!("answered {status} {answer}");
}

#[test]
fn reloads_without_end_cost_nothing_that_stays() {
    let server = Server::start();
    let gateway = connected_as(&route("decide", "test.a"), &server);
    let mut client = attach(&gateway);
    until_connected(&mut client);
    let mut resident = Vec::new();
    for round in 0..300 {
        let subject = format!("test.{round}");
        write_config(&gateway, &route("decide", &subject));
        assert_eq!(reload(&gateway).0, 200);
        if round % 100 == 99 {
            meanwhile(Duration::from_millis(50));
            resident.push(gateway.resident());
        }
    }
    let (first, last) = (resident[0], resident[2]);
    assert!(last - first < 4 << 20, "{resident:?}");
    assert_eq!(
        metric(&gateway, "ipcgw_config_reloads_total", "changed"),
        300
    );
}
