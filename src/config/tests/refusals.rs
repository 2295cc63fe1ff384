//! What is refused, and that the message says where, which key, which value and what is allowed.

use super::*;
use crate::route::{Access, MAX_ROUTES, ReplyContract};

/// Each file is refused with a message that begins and ends as said.
fn refused(cases: &[(&str, &str, &str)]) {
    for (text, start, end) in cases {
        let message = refusal(text);
        assert!(message.starts_with(start), "{text}\n{message}");
        assert!(message.ends_with(end), "{text}\n{message}");
        assert!(!message.contains('\n'), "{message}");
    }
}

#[test]
fn unknown_keys_are_named_with_file_line_column_and_the_nearest_key() {
    assert_eq!(
        refusal("\n[nats]\nname = 'x'\n  conections = 2\n"),
        "test.toml:4:3: unknown key `conections`, did you mean `connections`?"
    );
    assert_eq!(
        refusal("[wrokers]\n"),
        "test.toml:1:2: unknown key `wrokers`, did you mean `workers`?"
    );
    assert_eq!(
        refusal("[[route]]\nname = 'a'\nsubjekt = 'b'"),
        "test.toml:3:1: unknown key `subjekt`, did you mean `subject`?"
    );
    assert_eq!(refusal("zzz = 1"), "test.toml:1:1: unknown key `zzz`");
}

#[test]
fn syntax_errors_and_wrong_types_have_a_place() {
    refused(&[
        ("a = = 1", "test.toml:1:5: ", ""),
        (
            "[workers]\ncount = 'two'",
            "test.toml:2:9: ",
            "wrong type, expected a whole number",
        ),
        (
            "[nats]\npassword = 12345",
            "test.toml:2:12: ",
            "a secret must be a string",
        ),
        (
            "control.max_message_size = true",
            "test.toml:1:28: ",
            "such as \"64KiB\"",
        ),
        (
            "upstream = 'nuts'",
            "test.toml:1:12: unknown variant `nuts`",
            "`nats` or `loopback`, did you mean `nats`?",
        ),
        (
            "[[route]]\nsubject = 'a'",
            "test.toml:1:1: ",
            "missing field `name`",
        ),
    ]);
}

#[test]
fn numbers_out_of_range_are_refused() {
    let place = "test.toml:1:";
    refused(&[
        (
            "workers.count = 0",
            "test.toml:1:17: workers.count = 0: ",
            "from 1 to 64",
        ),
        (
            "workers.count = 65",
            place,
            "workers.count = 65: must be from 1 to 64",
        ),
        ("workers.max_in_flight = 0", place, "from 1 to 16777216"),
        (
            "workers.outbound = -1",
            place,
            "workers.outbound = -1: must be from 1 to 1048576",
        ),
        ("workers.burst = 65537", place, "from 1 to 65536"),
        ("workers.yields = 10001", place, "from 0 to 10000"),
        (
            "nats.connections = 0",
            place,
            "nats.connections = 0: must be from 1 to 16",
        ),
        ("control.max_sessions = 0", place, "from 1 to 65536"),
        ("control.max_entries = 65536", place, "from 2 to 32768"),
        (
            "control.quota.sessions = 0",
            place,
            "control.quota.sessions = 0: must be from 1 to 65536",
        ),
        ("workers.count = 99999999999999999999", place, ""),
    ]);
}

#[test]
fn durations_out_of_range_are_refused() {
    let place = "test.toml:1:";
    refused(&[
        (
            "nats.ping_interval = '5'",
            place,
            "\"5\": expected a duration such as 250ms, 5s or 1m",
        ),
        (
            "nats.ping_interval = '1ms'",
            place,
            "\"1ms\": must be from 100ms to 1m",
        ),
        (
            "nats.connect_timeout = '2m'",
            place,
            "must be from 100ms to 1m",
        ),
        ("nats.fail_fast = '61s'", place, "must be from 0s to 1m"),
        ("nats.reconnect_min = '0s'", place, "must be from 1ms to 1m"),
        (
            "nats.reconnect_max = '10ms'",
            place,
            "must be from 50ms to 5m",
        ),
        ("workers.spin = '11ms'", place, "must be from 0s to 10ms"),
        (
            "control.attach_timeout = '0s'",
            place,
            "must be from 10ms to 1m",
        ),
        (
            "control.drain_timeout = '2h'",
            place,
            "must be from 0s to 1h",
        ),
        (
            "backpressure.poll_interval = '1ms'",
            place,
            "must be from 100ms to 5m",
        ),
    ]);
}

#[test]
fn sizes_out_of_range_are_refused() {
    let place = "test.toml:1:";
    refused(&[
        (
            "control.max_message_size = 12",
            place,
            "= 12: must be from 1KiB to 64MiB",
        ),
        (
            "control.max_message_size = '65MiB'",
            place,
            "\"65MiB\": must be from 1KiB to 64MiB",
        ),
        (
            "control.max_message_size = '1 MB'",
            place,
            "expected a size such as 4096, 64KiB or 1MiB",
        ),
        (
            "control.max_message_size = -1",
            place,
            "= -1: must be from 1KiB to 64MiB",
        ),
        ("control.quota.memory = '8GiB8'", place, "or 1MiB"),
        (
            "control.quota.memory = 1",
            place,
            "must be from 1MiB to 1024GiB",
        ),
    ]);
}

#[test]
fn sockets_that_cannot_be_are_refused() {
    let long = "x".repeat(110);
    let text = format!("control.socket = '/{long}'");
    assert!(refusal(&text).ends_with("has at most 107 bytes, this one 111"));
    let place = "test.toml:1:";
    refused(&[
        (
            "control.socket = ''",
            place,
            "control.socket = \"\": must be the path of a Unix socket",
        ),
        (
            "control.socket = '/run/'",
            place,
            "must be the path of a Unix socket",
        ),
        (
            "control.socket = '/a/admin.sock'",
            "no default admin socket beside /a/admin.sock",
            "set --admin",
        ),
        (
            "control.admin = 'localhost'",
            place,
            "or an IP address with a port",
        ),
        (
            "control.admin = '/run/user/1000/ipc-gateway/gateway.sock'",
            place,
            "one of its own",
        ),
        (
            "control.socket_mode = 0o666",
            "test.toml:1:23: control.socket_mode = 0o666: ",
            "0o660",
        ),
        ("control.socket_mode = 0o060", place, "0o660"),
        ("control.socket_mode = 0o4600", place, "0o660"),
        ("control.socket_mode = -1", place, "0o660"),
        (
            "control.metrics = '9464'",
            place,
            "control.metrics = \"9464\": must be an IP address with a port",
        ),
        (
            "control.metrics = '/run/m.sock'",
            place,
            "must be an IP address with a port",
        ),
        (
            "control.admin = '127.0.0.1:9464'\ncontrol.metrics = '127.0.0.1:9464'",
            "test.toml:2:19: ",
            "where metrics are served already",
        ),
    ]);
    parse(&format!("control.socket = '/{}'", "x".repeat(106))).unwrap();
}

#[test]
fn numbers_that_stand_for_nobody_cannot_be_allowed() {
    let route = "[[route]]\nname = 'a'\nsubject = 'a'\n";
    let with = |line: &str| refusal(&format!("{route}{line}"));
    assert_eq!(
        with("allow_uids = [1000, 65534]"),
        "test.toml:4:21: route.a.allow_uids = 65534: is what all users of other namespaces \
         appear as; it cannot be allowed"
    );
    assert!(with("allow_uids = [60001]").contains("route.a.allow_uids = 60001"));
    assert!(with("allow_gids = [60002]").contains("route.a.allow_gids = 60002"));
    assert!(with("allow_uids = [-1]").ends_with("must be from 0 to 4294967294"));
    assert!(with("allow_uids = [4294967295]").ends_with("must be from 0 to 4294967294"));
    assert!(with("allow_gids = []").contains("must name at least one"));
    assert!(refusal("[[policy]]\nuids = [65534]").starts_with("test.toml:2:9: policy[1].uids"));
    assert!(refusal("[[policy]]\ngids = [65534]").starts_with("test.toml:2:9: policy[1].gids"));
    // To shut them out is not only allowed, it is wise.
    let config = parse("[[policy]]\nuids = [65534]\nallow = false").unwrap();
    assert_eq!(config.control.policies[0].uids, [65_534]);
}

#[test]
fn policies_take_what_they_do_not_say_from_the_common_quota() {
    let config = parse(
        "control.quota.memory = '2MiB'\n[[policy]]\nuids = [1]\ntenant = 'acme'\nquota.sessions = 3",
    );
    let config = config.unwrap();
    let quota = config.control.policies[0].quota.clone().unwrap();
    assert_eq!((quota.sessions, quota.memory_bytes), (3, 2 << 20));
    refused(&[
        (
            "[[policy]]\ntenant = 'a b'",
            "test.toml:2:10: policy[1].tenant",
            "without spaces",
        ),
        (
            "[[policy]]\nroutes = ['decide', 'deside']",
            "test.toml:2:21: policy[1].routes = \"deside\"",
            "did you mean \"decide\"?",
        ),
        (
            "[[policy]]\nquota.in_flight = 0",
            "test.toml:2:19: policy[1].quota.in_flight = 0",
            "from 1 to 16777216",
        ),
        (
            "[[policy]]\nquota.memory = 1",
            "test.toml:2:16: policy[1].quota.memory = 1",
            "1024GiB",
        ),
    ]);
}

#[test]
fn routes_that_cannot_be_are_refused() {
    let route = |lines: &str| refusal(&format!("[[route]]\nname = 'a'\n{lines}"));
    assert_eq!(route(""), "test.toml:2:8: route `a` has no subject");
    assert!(route("subject = 'a.>'").starts_with("test.toml:3:11: route.a.subject = \"a.>\": "));
    assert!(route("subject = '$JS.API'").contains("reserved"));
    let subject = "subject = 'a'\n";
    let more = |line: &str| route(&format!("{subject}{line}"));
    assert!(more("timeout = '2m'\nmax_timeout = '1m'").ends_with("the route's max_timeout"));
    assert!(more("timeout = '0s'").ends_with("must be from 1ms to 1h"));
    assert!(more("kind = 'steam'").contains("unknown variant `steam`"));
    assert!(more("kind = 'stream'\ncontract = 'router'").contains("of the Router"));
    assert!(more("max_reply = 0").contains("route.a.max_reply = 0"));
    assert!(refusal("[[route]]\nname = 'a b'").contains("A-Z a-z 0-9"));
    let twice = "[[route]]\nname = 'a'\nsubject = 'a'\n".repeat(2);
    assert_eq!(
        refusal(&twice),
        "test.toml:5:8: route.a.name = a: is the name of an earlier route"
    );
}

#[test]
fn there_is_a_limit_to_routes() {
    let routes = |count: usize| -> String {
        let route = |n| format!("[[route]]\nname = 'r{n}'\nsubject = 's'\n");
        (0..count).map(route).collect()
    };
    assert_eq!(
        parse(&routes(MAX_ROUTES - 1)).unwrap().routes.len(),
        MAX_ROUTES
    );
    assert!(refusal(&routes(MAX_ROUTES)).ends_with("at most 256 routes"));
}

#[test]
fn the_built_in_route_can_be_changed_in_its_place_or_switched_off() {
    let text = "[[route]]\nname = 'x'\nsubject = 'x'\n[[route]]\nname = 'decide'\ntimeout = '1s'\nallow_uids = [7]";
    let routes = parse(text).unwrap().routes;
    assert_eq!(routes.len(), 2);
    assert_eq!(routes[0].name, "decide");
    assert_eq!(routes[0].subject.as_str(), "beamline.router.v1.decide");
    assert_eq!(routes[0].contract, ReplyContract::Router);
    assert_eq!(routes[0].timeout.as_secs(), 1);
    assert!(matches!(&routes[0].access, Access::Only { uids, .. } if *uids == [7]));
    assert_eq!(routes[1].contract, ReplyContract::Opaque);

    let off = parse("defaults.builtin_routes = false").unwrap();
    assert!(off.routes.is_empty());
    assert!(off.nats.backpressure.routes.is_empty());
    let again = "defaults.builtin_routes = false\n[[route]]\nname = 'decide'\n";
    assert!(refusal(again).ends_with("route `decide` has no subject"));
}

#[test]
fn backpressure_names_routes_that_exist() {
    let text = "backpressure.routes = ['x']\n[[route]]\nname = 'x'\nsubject = 'x'";
    assert_eq!(parse(text).unwrap().nats.backpressure.routes, [1]);
    let off = parse("backpressure.enabled = false").unwrap();
    assert_eq!(off.nats.backpressure.subject, None);
    assert_eq!(
        refusal("backpressure.routes = ['decid']"),
        "test.toml:1:24: backpressure.routes = \"decid\": no route has this name, did you mean \
         \"decide\"?"
    );
    assert!(refusal("backpressure.subject = 'a.*'").contains("backpressure.subject"));
}

#[test]
fn credentials_that_do_not_go_together_are_refused() {
    refused(&[
        (
            "nats.user = 'a'",
            "test.toml:1:13: ",
            "must be given together",
        ),
        (
            "nats.password = 'a'",
            "test.toml:1:17: ",
            "must be given together",
        ),
        (
            "nats.token = 'a'\nnats.nkey_seed_file = 'b'",
            "test.toml:2:",
            "nkey seed file",
        ),
        (
            "nats.token = 'a'\nnats.urls = ['u:p@h']",
            "test.toml:2:",
            "nkey seed file",
        ),
        (
            "nats.credentials_file = ''",
            "test.toml:1:25: ",
            "must be a path",
        ),
        (
            "nats.tls.cert_file = 'c'",
            "test.toml:1:22: ",
            "cert_file needs key_file",
        ),
        (
            "nats.tls.key_file = 'c'",
            "test.toml:1:",
            "key_file needs cert_file",
        ),
        (
            "nats.urls = ['u:p@h', 'v:p@h']",
            "test.toml:1:23: ",
            "different credentials",
        ),
    ]);
}

#[test]
fn urls_that_are_not_of_nats_are_refused_and_never_shown_with_credentials() {
    refused(&[
        (
            "nats.urls = ['nats://u:p@h:x']",
            "test.toml:1:14: nats.urls = \"nats://***@h:x\": ",
            "tls://host:port",
        ),
        (
            "nats.urls = ['nats://u:p']",
            "test.toml:1:14: nats.urls = \"nats://u:***\": ",
            "tls://host:port",
        ),
        (
            "nats.urls = ['http://h']",
            "test.toml:1:14: ",
            "tls://host:port",
        ),
        (
            "nats.urls = ['nats://h/path']",
            "test.toml:1:14: ",
            "tls://host:port",
        ),
        ("nats.urls = ['']", "test.toml:1:14: ", "tls://host:port"),
        ("nats.urls = ['h:0']", "test.toml:1:14: ", "tls://host:port"),
        (
            "nats.urls = []",
            "test.toml:1:13: nats.urls = [0 URLs]: ",
            "a list of 1 to 64 URLs",
        ),
    ]);
    let urls = parse("nats.urls = ['h', 'tls://[::1]:9', ' 10.0.0.1:1/ ']")
        .unwrap()
        .nats
        .urls;
    assert_eq!(
        urls,
        ["nats://h:4222", "tls://[::1]:9", "nats://10.0.0.1:1"]
    );
}

#[test]
fn overrides_are_refused_by_the_name_that_they_were_given_under() {
    let variable = |name: &str, value: &str| {
        let error = load(&Overrides::default(), &[(name, value)], "", &host());
        error.unwrap_err().to_string()
    };
    assert_eq!(
        variable("IPC_GATEWAY_WORKERS", "many"),
        "environment variable IPC_GATEWAY_WORKERS: workers.count = \"many\": must be from 1 to 64"
    );
    assert!(variable("IPC_GATEWAY_UPSTREAM", "loop").ends_with("did you mean loopback?"));
    assert!(variable("IPC_GATEWAY_LOG", "a=b=c").contains("log.filter"));
    assert!(variable("IPC_GATEWAY_LOG_FORMAT", "xml").ends_with("one of text, json"));
    assert!(variable("IPC_GATEWAY_NATS", "a,,b").contains("nats.urls = \"\""));
    assert!(variable("IPC_GATEWAY_METRICS", "x:1").contains("control.metrics = \"x:1\""));
    for mode in ["0666", "0o060", "rw", "0x1b0", "432", "-1"] {
        let refused = variable("IPC_GATEWAY_SOCKET_MODE", mode);
        let start = "environment variable IPC_GATEWAY_SOCKET_MODE: control.socket_mode = ";
        assert!(refused.starts_with(start), "{refused}");
        assert!(refused.ends_with("0o600 or 0o660"), "{refused}");
    }
    assert!(variable("IPC_GATEWAY_ADMIN_MODE", "0777").contains("control.admin_mode"));
    let flags = Overrides {
        workers: Some("0".to_owned()),
        ..Overrides::default()
    };
    let error = load(&flags, &[], "", &host()).unwrap_err();
    assert!(error.is_usage());
    assert_eq!(
        error.to_string(),
        "--workers: workers.count = \"0\": must be from 1 to 64"
    );
}

#[test]
fn merged_threads_need_a_single_worker() {
    let message = refusal("workers.count = 2\nworkers.threads = 'merged'");
    assert_eq!(
        message,
        "test.toml:2:19: workers.threads = \"merged\": needs exactly 1 worker, and there are 2"
    );
}

#[test]
fn an_inbox_prefix_is_plain_and_nobody_publishes_there() {
    let refused = |prefix: &str| {
        let route = "[[route]]\nname = 'a'\nsubject = 'gw.inbox.x'";
        refusal(&format!("nats.inbox_prefix = '{prefix}'\n{route}"))
    };
    for prefix in ["", "a..b", "a.*", "a.>", "$SYS", "a b", &"x".repeat(65)] {
        assert!(refused(prefix).contains("1 to 64"), "{prefix}");
    }
    let message = refused("gw.inbox");
    assert_eq!(
        message,
        "test.toml:1:21: nats.inbox_prefix = \"gw.inbox\": route `a` publishes there"
    );
    let config = parse("nats.inbox_prefix = 'gw.in'").unwrap();
    assert_eq!(config.nats.inbox_prefix, "gw.in");
}
