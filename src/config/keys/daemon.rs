//! The keys of the process.

use super::Absent::{Default, Depends};
use super::Kind::{Bool, Duration, Integer, Mode, Ratio, Size, Text, Words};
use super::{Form, Key, Section};

pub(super) const TOP: Section = Section {
    name: "",
    form: Form::Table,
    prose: "",
    keys: &[Key::new(
        "upstream",
        Words(&["nats", "loopback"]),
        Default("\"nats\""),
        "What answers requests: NATS, or the gateway itself (for tests and benches).",
    )
    .variable("UPSTREAM")
    .flag("--upstream")],
};

pub(super) const WORKERS: Section = Section {
    name: "workers",
    form: Form::Table,
    prose: "",
    keys: &[
        Key::new(
            "count",
            Integer(1, 64),
            Depends("cores less two, at least 1 and at most 8"),
            "Number of workers.",
        )
        .like("1")
        .variable("WORKERS")
        .flag("--workers"),
        Key::new(
            "threads",
            Words(&["split", "merged"]),
            Depends("\"merged\" with one worker on at most two cores, else \"split\""),
            "Who steps the workers: \"split\", each its own thread; \"merged\", the NATS thread \
             steps the only worker.",
        )
        .like("\"split\""),
        Key::new(
            "pin",
            Bool,
            Depends("with \"split\", more than two cores and more cores than workers"),
            "Whether each worker is pinned to a core; it is the worker's own if another is left. Not \
             with \"merged\".",
        )
        .like("true"),
        Key::new(
            "max_in_flight",
            Integer(1, 16_777_216),
            Default("65536"),
            "Most requests in flight in one worker.",
        ),
        Key::new(
            "outbound",
            Integer(1, 1_048_576),
            Default("8192"),
            "Most requests of one worker that wait for the NATS thread.",
        ),
        Key::new(
            "burst",
            Integer(1, 65_536),
            Default("256"),
            "Most requests taken from one session in one turn.",
        ),
        Key::new(
            "max_queue_delay",
            Duration("0s", "10s"),
            Default("\"5ms\""),
            "How long requests may queue behind the upstream, beyond what it needs itself. From \
             the latency of answers each worker finds how many requests of a route this allows to \
             be on their way; more wait in their rings, and under a lasting overload are rejected \
             as OVERLOADED. 0s: no limit.",
        ),
        Key::new(
            "spin",
            Duration("0s", "10ms"),
            Default("\"60us\""),
            "Longest time to spin on a core of its own before yielding; with \"split\", or without NATS.",
        ),
        Key::new(
            "yields",
            Integer(0, 10_000),
            Default("20"),
            "Most yields before parking; with \"split\", or without NATS.",
        ),
    ],
};

pub(super) const CONTROL: Section = Section {
    name: "control",
    form: Form::Table,
    prose: "",
    keys: &[
        Key::new(
            "socket",
            Text("a path of at most 107 bytes"),
            Depends(
                "root, and where XDG_RUNTIME_DIR is not set: /run/ipc-gateway/gateway.sock; \
                 others: $XDG_RUNTIME_DIR/ipc-gateway/gateway.sock",
            ),
            "The socket that clients attach to.",
        )
        .like("\"/run/ipc-gateway/gateway.sock\"")
        .variable("SOCKET")
        .flag("--socket"),
        Key::new(
            "socket_mode",
            Mode,
            Depends("root: 0o660; others: 0o600"),
            "Permission bits of that socket; nothing for \"others\". In the variable they are octal \
             digits: 0660 or 0o660.",
        )
        .like("0o660")
        .variable("SOCKET_MODE"),
        Key::new(
            "admin",
            Text("a path of at most 107 bytes, or ADDRESS:PORT"),
            Depends("admin.sock beside the socket"),
            "Where the admin HTTP server listens.",
        )
        .like("\"/run/ipc-gateway/admin.sock\"")
        .variable("ADMIN")
        .flag("--admin"),
        Key::new(
            "admin_mode",
            Mode,
            Depends("socket_mode"),
            "Permission bits of the admin server's socket; who can open it sees who is attached.",
        )
        .like("0o600")
        .variable("ADMIN_MODE"),
        Key::new(
            "metrics",
            Text("ADDRESS:PORT"),
            Depends("served by the admin server only"),
            "Where metrics and probes are served over TCP as well: GET /metrics, /livez and /readyz, \
             and nothing else. Whoever reaches it may read them.",
        )
        .like("\"127.0.0.1:9464\"")
        .variable("METRICS")
        .flag("--metrics"),
        Key::new(
            "max_sessions",
            Integer(1, 65_536),
            Default("1024"),
            "Most sessions at once.",
        ),
        Key::new(
            "max_entries",
            Integer(2, 32_768),
            Default("4096"),
            "Largest ring that a client may ask for, in entries.",
        )
        .live(),
        Key::new(
            "max_message_size",
            Size("1KiB", "64MiB"),
            Default("\"4MiB\""),
            "Largest message, headers and payload, that a client may ask for.",
        )
        .live(),
        Key::new(
            "attach_timeout",
            Duration("10ms", "1m"),
            Default("\"1s\""),
            "Time that a connected client has to say hello.",
        )
        .live(),
        Key::new(
            "slow_client_timeout",
            Duration("100ms", "1h"),
            Default("\"30s\""),
            "How long a client may leave its full completion ring alone before its session ends.",
        ),
        Key::new(
            "drain_timeout",
            Duration("0s", "1h"),
            Default("\"10s\""),
            "Time for requests in flight to finish after the first SIGTERM.",
        ),
    ],
};

pub(super) const QUOTA: Section = Section {
    name: "control.quota",
    form: Form::Table,
    prose: "What each user may have in all its sessions, unless a policy says otherwise.",
    keys: &[
        Key::new(
            "sessions",
            Integer(1, 65_536),
            Default("128"),
            "Sessions at once.",
        )
        .live(),
        Key::new(
            "memory",
            Size("1MiB", "1024GiB"),
            Default("\"256MiB\""),
            "Shared memory.",
        )
        .live(),
        Key::new(
            "attach_rate",
            Integer(1, 1_000_000),
            Default("1000"),
            "Sessions attached in a second; as many may be attached at once after a pause.",
        )
        .live(),
        Key::new(
            "in_flight",
            Integer(1, 16_777_216),
            Depends("as many as its sessions hold"),
            "Requests in flight.",
        )
        .like("4096")
        .live(),
    ],
};

pub(super) const LOG: Section = Section {
    name: "log",
    form: Form::Table,
    prose: "",
    keys: &[
        Key::new(
            "filter",
            Text("as in RUST_LOG"),
            Default("\"info\""),
            "Which lines are written.",
        )
        .variable("LOG")
        .live(),
        Key::new(
            "format",
            Words(&["text", "json"]),
            Default("\"text\""),
            "How lines look: for people, or one JSON object a line.",
        )
        .variable("LOG_FORMAT"),
    ],
};

pub(super) const TRACING: Section = Section {
    name: "tracing",
    form: Form::Table,
    prose: "Traces to an OpenTelemetry collector, from a gateway that was built with the feature otel.",
    keys: &[
        Key::new(
            "endpoint",
            Text("http://HOST:PORT, or a URL with the path for traces"),
            Depends("nothing is traced"),
            "Where spans are sent, as OTLP over HTTP. Without a path /v1/traces is meant. There is no \
             TLS: let a collector on the same machine send them on.",
        )
        .like("\"http://127.0.0.1:4318\""),
        Key::new(
            "sample_ratio",
            Ratio,
            Default("0.0"),
            "The share of requests to trace among those whose client does not trace them.",
        ),
        Key::new(
            "follow_parent",
            Bool,
            Default("true"),
            "Whether a request is traced whose traceparent says that its client records it.",
        ),
        Key::new(
            "service_name",
            Text("1 to 255 printable ASCII characters without spaces"),
            Default("\"ipc-gateway\""),
            "What the gateway is called in traces.",
        ),
    ],
};

pub(super) const DEFAULTS: Section = Section {
    name: "defaults",
    form: Form::Table,
    prose: "",
    keys: &[Key::new(
        "builtin_routes",
        Bool,
        Default("true"),
        "Whether the route \"decide\" exists without being written here. A [[route]] of that name \
         changes it: what is left out stays as built in.",
    )
    .live()],
};
