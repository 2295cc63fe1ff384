//! The keys of routes and policies.

use super::Absent::{Default, Depends, Required};
use super::Kind::{Bool, Duration, Ids, Integer, Size, Text, Texts, Words};
use super::{Form, Key, Section};

pub(super) const ROUTE: Section = Section {
    name: "route",
    form: Form::List,
    prose: "A route: what clients may name, and where it goes. At most 256, the built-in \"decide\" \
            among them.",
    keys: &[
        Key::new(
            "name",
            Text("1 to 64 of A-Z a-z 0-9 - _ and ."),
            Required,
            "What clients call it.",
        )
        .like("\"audit\"")
        .live(),
        Key::new(
            "subject",
            Text("a subject of at most 1024 bytes, no wildcards, not $.. or _INBOX.."),
            Depends("must be given, except for the built-in route"),
            "Where it is published to.",
        )
        .like("\"audit.events\"")
        .live(),
        Key::new(
            "kind",
            Words(&["request", "publish", "stream"]),
            Default("\"request\""),
            "What completes a request: \"request\", the reply; \"publish\", that the broker has it; \
             \"stream\", that JetStream has stored it.",
        ),
        Key::new(
            "contract",
            Words(&["opaque", "router"]),
            Default("\"opaque\""),
            "Whose rules the replies of a route of kind \"request\" follow: \"opaque\", nobody's, \
             every reply is OK; \"router\", the Router's.",
        ),
        Key::new(
            "timeout",
            Duration("1ms", "1h"),
            Default("\"5s\""),
            "Time allowed when the client names none, at most max_timeout.",
        )
        .live(),
        Key::new(
            "max_timeout",
            Duration("1ms", "1h"),
            Default("\"5m\""),
            "Longest time that a client may ask for.",
        )
        .live(),
        Key::new(
            "idempotent",
            Bool,
            Default("false"),
            "Whether a request that says so may be sent again: a flag of the client, who then sends an \
             idempotency key too.",
        )
        .live(),
        Key::new(
            "answers_once",
            Bool,
            Default("false"),
            "Promises that each request is answered once at most, whoever answers it (kind \
             \"request\" only). Its reply subject is then used again, which nats-server serves \
             faster. A second answer, from a second responder for example, could be taken for the \
             answer to a later request: set it only where there can be none.",
        ),
        Key::new(
            "max_reply",
            Size("1B", "4294967295B"),
            Depends("what fits the client's block"),
            "Largest reply, headers and payload.",
        )
        .like("\"64KiB\"")
        .live(),
        Key::new(
            "allow_uids",
            Ids,
            Depends("everybody who may attach"),
            "Users who may use it.",
        )
        .like("[1000, 1001]")
        .live(),
        Key::new(
            "allow_gids",
            Ids,
            Depends("everybody who may attach"),
            "Groups whose members may use it.",
        )
        .like("[100]")
        .live(),
    ],
};

pub(super) const BREAKER: Section = Section {
    name: "route.breaker",
    form: Form::Table,
    prose: "The circuit breaker of the route above. It opens when requests end as TIMEOUT, \
            NO_RESPONDERS or UPSTREAM_LOST; while open, requests are rejected at once as \
            OVERLOADED.",
    keys: &[
        Key::new(
            "enabled",
            Bool,
            Default("true"),
            "Whether failures open it.",
        )
        .live(),
        Key::new(
            "failures_percent",
            Integer(1, 100),
            Default("50"),
            "It opens when failures are at least this share of what ended within the window. A \
             lost connection is one failure, however many requests were on it; a timeout is one \
             only if the route answered nobody meanwhile.",
        )
        .live(),
        Key::new(
            "min_failures",
            Integer(1, 1_000_000),
            Default("50"),
            "Failures within the window that it takes at least.",
        )
        .live(),
        Key::new(
            "window",
            Duration("10ms", "1h"),
            Default("\"10s\""),
            "How far back it looks.",
        )
        .live(),
        Key::new(
            "open_time",
            Duration("10ms", "1h"),
            Default("\"1s\""),
            "How long it stays open before probes pass, up to a quarter less or more.",
        )
        .live(),
        Key::new(
            "max_open_time",
            Duration("10ms", "1h"),
            Default("\"30s\""),
            "What that grows to when probes fail, not less than open_time.",
        )
        .live(),
        Key::new(
            "probes",
            Integer(1, 1000),
            Default("3"),
            "Requests that may be on their way while it is half open.",
        )
        .live(),
        Key::new(
            "min_timeout",
            Duration("0s", "1h"),
            Default("\"200ms\""),
            "A request that was given less time than this proves nothing by timing out.",
        )
        .live(),
    ],
};

pub(super) const POLICY: Section = Section {
    name: "policy",
    form: Form::List,
    prose: "A policy. The first that fits a user holds; with policies, who fits none may not \
            attach. 65534 and the overflow numbers of the kernel cannot be allowed, and who appears \
            as the overflow user is let in by no policy.",
    keys: &[
        Key::new(
            "uids",
            Ids,
            Depends("with neither uids nor gids: everybody"),
            "Users that it fits.",
        )
        .like("[1000]")
        .live(),
        Key::new(
            "gids",
            Ids,
            Depends("with neither uids nor gids: everybody"),
            "Groups whose members it fits.",
        )
        .like("[100]")
        .live(),
        Key::new("allow", Bool, Default("true"), "Whether they may attach.").live(),
        Key::new(
            "tenant",
            Text("1 to 128 printable characters"),
            Depends("none"),
            "The tenant that all their requests are for.",
        )
        .like("\"acme\"")
        .live(),
        Key::new(
            "routes",
            Texts("names of routes"),
            Depends("all"),
            "The routes that they may use, as far as a route's allow_uids and allow_gids let them.",
        )
        .like("[\"decide\"]")
        .live(),
    ],
};

pub(super) const POLICY_QUOTA: Section = Section {
    name: "policy.quota",
    form: Form::Table,
    prose: "What each of them may have in all its sessions.",
    keys: &[
        Key::new(
            "sessions",
            Integer(1, 65_536),
            Depends("as in control.quota"),
            "Sessions at once.",
        )
        .like("16")
        .live(),
        Key::new(
            "memory",
            Size("1MiB", "1024GiB"),
            Depends("as in control.quota"),
            "Shared memory.",
        )
        .like("\"64MiB\"")
        .live(),
        Key::new(
            "attach_rate",
            Integer(1, 1_000_000),
            Depends("as in control.quota"),
            "Sessions attached in a second.",
        )
        .like("20")
        .live(),
        Key::new(
            "in_flight",
            Integer(1, 16_777_216),
            Depends("as in control.quota"),
            "Requests in flight.",
        )
        .like("512")
        .live(),
    ],
};
