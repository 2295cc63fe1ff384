//! The keys of the connections to NATS.

use super::Absent::{Default, Depends};
use super::Kind::{Bool, Duration, Integer, Secret, Text, Texts};
use super::{Form, Key, Section};

pub(super) const NATS: Section = Section {
    name: "nats",
    form: Form::Table,
    prose: "",
    keys: &[
        Key::new(
            "urls",
            Texts("1 to 64 of nats://host:port or tls://host:port"),
            Default("[\"nats://127.0.0.1:4222\"]"),
            "Servers of one cluster. Credentials may stand in the URL \
             (nats://user:password@host:4222), but IPC_GATEWAY_NATS_USER and \
             IPC_GATEWAY_NATS_PASSWORD keep them out of this file.",
        )
        .variable("NATS")
        .flag("--nats"),
        Key::new(
            "user",
            Text("text, with password"),
            Depends("none"),
            "User name. Use one kind of credentials: user and password, token, credentials file or \
             nkey seed file.",
        )
        .like("\"gateway\"")
        .variable("NATS_USER"),
        Key::new(
            "password",
            Secret,
            Depends("none"),
            "Password of that user.",
        )
        .like("\"change me\"")
        .variable("NATS_PASSWORD"),
        Key::new("token", Secret, Depends("none"), "A token.")
            .like("\"change me\"")
            .variable("NATS_TOKEN"),
        Key::new(
            "credentials_file",
            Text("a path"),
            Depends("none"),
            "A file with a JWT and an nkey seed.",
        )
        .like("\"/etc/ipc-gateway/gateway.creds\"")
        .variable("NATS_CREDS"),
        Key::new(
            "nkey_seed_file",
            Text("a path"),
            Depends("none"),
            "A file with an nkey seed.",
        )
        .like("\"/etc/ipc-gateway/gateway.nk\"")
        .variable("NATS_NKEY"),
        Key::new(
            "name",
            Text("1 to 64 printable characters"),
            Default("\"ipc-gateway\""),
            "Name in the server's list of connections.",
        ),
        Key::new(
            "inbox_prefix",
            Text("1 to 64 of A-Z a-z 0-9 - _ and ., not a route's subject"),
            Default("\"_INBOX\""),
            "Begins the subjects that answers come to. One of its own, which no other user may \
             subscribe to, keeps answers and the subjects that they come to from other users of \
             the server.",
        ),
        Key::new(
            "connections",
            Integer(1, 16),
            Default("2"),
            "Connections. With two, one that is lost leaves the other. One makes larger batches, \
             which is faster where cores are few.",
        ),
        Key::new(
            "connect_timeout",
            Duration("100ms", "1m"),
            Default("\"2s\""),
            "Time allowed to connect, and again to sign in.",
        ),
        Key::new(
            "ping_interval",
            Duration("100ms", "1m"),
            Default("\"2s\""),
            "Time between pings; a server that is silent for three of them is given up.",
        ),
        Key::new(
            "fail_fast",
            Duration("0s", "1m"),
            Default("\"250ms\""),
            "How long a request waits for a connection before it is rejected.",
        ),
        Key::new(
            "reconnect_min",
            Duration("1ms", "1m"),
            Default("\"50ms\""),
            "Shortest time between attempts to connect, before jitter. Each wait is a random part \
             of a ceiling that doubles.",
        ),
        Key::new(
            "reconnect_max",
            Duration("1ms", "5m"),
            Default("\"1500ms\""),
            "Longest time between attempts to connect, not less than reconnect_min. It bounds how \
             soon requests succeed once the servers are back.",
        ),
    ],
};

pub(super) const TLS: Section = Section {
    name: "nats.tls",
    form: Form::Table,
    prose: "",
    keys: &[
        Key::new(
            "required",
            Bool,
            Default("false"),
            "Refuse a connection without TLS.",
        ),
        Key::new(
            "handshake_first",
            Bool,
            Default("false"),
            "Encrypt before the server has said anything, for servers with tls.handshake_first, and \
             refuse a connection without TLS.",
        ),
        Key::new(
            "ca_file",
            Text("a path"),
            Depends("the system's authorities"),
            "Certificate authorities in PEM, in place of the system's.",
        )
        .like("\"/etc/ipc-gateway/ca.pem\""),
        Key::new(
            "cert_file",
            Text("a path, with key_file"),
            Depends("none"),
            "The client's certificate in PEM.",
        )
        .like("\"/etc/ipc-gateway/client.pem\""),
        Key::new(
            "key_file",
            Text("a path, with cert_file"),
            Depends("none"),
            "The key of the client's certificate in PEM.",
        )
        .like("\"/etc/ipc-gateway/client.key\""),
    ],
};

pub(super) const BACKPRESSURE: Section = Section {
    name: "backpressure",
    form: Form::Table,
    prose: "The Router says on a subject when it wants less; the routes named here then answer \
            OVERLOADED.",
    keys: &[
        Key::new(
            "enabled",
            Bool,
            Default("true"),
            "Whether the Router is heeded.",
        )
        .live(),
        Key::new(
            "subject",
            Text("a subject"),
            Default("\"beamline.router.v2.status.backpressure\""),
            "Where it says so.",
        )
        .live(),
        Key::new(
            "routes",
            Texts("names of routes"),
            Default("[\"decide\"]"),
            "The routes that it closes.",
        )
        .live(),
        Key::new(
            "poll_interval",
            Duration("100ms", "5m"),
            Depends("the gateway only listens"),
            "Also ask the Router, this often.",
        )
        .like("\"5s\"")
        .live(),
    ],
};
