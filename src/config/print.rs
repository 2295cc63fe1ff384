//! The effective configuration as TOML, with secrets masked: what `print-config` shows.
//! What is printed reads back as the same configuration, except for the secrets.

use toml::{Table, Value};

use super::resolve::Config;
use super::units::{show_duration, show_size};
use crate::route::{Access, BreakerPolicy, Route};
use crate::settings::{NatsAuth, NatsSettings, Policy, Quota};

/// What is printed in place of a secret.
const MASK: &str = "***";

impl Config {
    /// The configuration as a TOML document with every key spelled out and secrets masked.
    #[must_use]
    pub fn to_toml(&self) -> String {
        // The numbers that people read in octal.
        let control = &self.control;
        let modes = [
            ("socket_mode", control.socket_mode),
            ("admin_mode", control.admin_mode),
        ];
        let text = self.document().to_string();
        modes.iter().fold(text, |text, (key, mode)| {
            text.replace(
                &format!("\n{key} = {mode}\n"),
                &format!("\n{key} = 0o{mode:o}\n"),
            )
        })
    }

    /// The same as a table.
    pub(super) fn document(&self) -> Table {
        let routes = self.routes.iter().map(route);
        let policies = self.control.policies.iter();
        let policies = policies.map(|rule| policy(rule, &self.routes));
        let mut document = table([
            ("upstream", self.upstream.name().into()),
            ("nats", nats(&self.nats)),
            ("backpressure", self.backpressure()),
            ("workers", self.workers()),
            ("control", self.control()),
            ("log", self.log()),
            ("tracing", self.tracing()),
            ("defaults", table([("builtin_routes", false.into())]).into()),
            ("route", routes.collect::<Vec<_>>().into()),
        ]);
        if !self.control.policies.is_empty() {
            document.insert("policy".to_owned(), policies.collect::<Vec<_>>().into());
        }
        document
    }

    fn backpressure(&self) -> Value {
        let settings = &self.nats.backpressure;
        let mut section = table([
            ("enabled", settings.subject.is_some().into()),
            ("routes", names(&settings.routes, &self.routes)),
        ]);
        if let Some(subject) = &settings.subject {
            section.insert("subject".to_owned(), subject.as_str().into());
        }
        if let Some(interval) = settings.poll_interval {
            section.insert("poll_interval".to_owned(), show_duration(interval).into());
        }
        section.into()
    }

    fn workers(&self) -> Value {
        let workers = &self.workers;
        let mut section = table([
            ("count", integer(workers.workers)),
            ("threads", workers.threads.name().into()),
            ("max_in_flight", integer(workers.max_in_flight)),
            ("outbound", integer(workers.outbound)),
            ("burst", integer(workers.burst)),
            (
                "max_queue_delay",
                show_duration(workers.max_queue_delay).into(),
            ),
            ("spin", show_duration(workers.idle.spin).into()),
            ("yields", integer(workers.idle.yields)),
        ]);
        if let Some(pin) = workers.pin {
            section.insert("pin".to_owned(), pin.into());
        }
        section.into()
    }

    fn control(&self) -> Value {
        let control = &self.control;
        let mut section = table([
            (
                "socket",
                control.socket.to_string_lossy().into_owned().into(),
            ),
            ("socket_mode", integer(control.socket_mode)),
            ("admin", control.admin.to_string().into()),
            ("admin_mode", integer(control.admin_mode)),
            ("max_sessions", integer(control.max_sessions)),
            ("max_entries", integer(control.max_entries)),
            (
                "max_message_size",
                show_size(control.max_message_size.into()).into(),
            ),
            ("quota", quota(&control.quota)),
            (
                "attach_timeout",
                show_duration(control.attach_timeout).into(),
            ),
            (
                "slow_client_timeout",
                show_duration(control.slow_client_timeout).into(),
            ),
            ("drain_timeout", show_duration(control.drain_timeout).into()),
        ]);
        if let Some(address) = control.metrics {
            section.insert("metrics".to_owned(), address.to_string().into());
        }
        section.into()
    }

    fn tracing(&self) -> Value {
        let tracing = &self.tracing;
        let mut section = table([
            ("sample_ratio", tracing.sample_ratio.share().into()),
            ("follow_parent", tracing.follow_parent.into()),
            ("service_name", tracing.service_name.as_str().into()),
        ]);
        if let Some(url) = &tracing.endpoint {
            section.insert("endpoint".to_owned(), url.as_str().into());
        }
        section.into()
    }

    fn log(&self) -> Value {
        table([
            ("filter", self.log.filter.as_str().into()),
            ("format", self.log.format.name().into()),
        ])
        .into()
    }
}

fn nats(nats: &NatsSettings) -> Value {
    let urls = nats.urls.iter().map(|url| Value::from(url.as_str()));
    let mut section = table([
        ("urls", urls.collect::<Vec<_>>().into()),
        ("name", nats.name.as_str().into()),
        ("inbox_prefix", nats.inbox_prefix.as_str().into()),
        ("connections", integer(nats.connections)),
        (
            "connect_timeout",
            show_duration(nats.connect_timeout).into(),
        ),
        ("ping_interval", show_duration(nats.ping_interval).into()),
        ("fail_fast", show_duration(nats.fail_fast).into()),
        ("reconnect_min", show_duration(nats.reconnect.0).into()),
        ("reconnect_max", show_duration(nats.reconnect.1).into()),
    ]);
    let path = |path: &std::path::Path| Value::from(path.to_string_lossy().into_owned());
    match &nats.auth {
        NatsAuth::None => {}
        NatsAuth::Password { user, .. } => section.extend(table([
            ("user", user.as_str().into()),
            ("password", MASK.into()),
        ])),
        NatsAuth::Token(_) => section.extend(table([("token", MASK.into())])),
        NatsAuth::CredentialsFile(file) => {
            section.extend(table([("credentials_file", path(file))]));
        }
        NatsAuth::NkeySeedFile(file) => section.extend(table([("nkey_seed_file", path(file))])),
    }
    let mut tls = table([
        ("required", nats.tls.required.into()),
        ("handshake_first", nats.tls.handshake_first.into()),
    ]);
    let files = [
        ("ca_file", &nats.tls.ca_file),
        ("cert_file", &nats.tls.cert_file),
        ("key_file", &nats.tls.key_file),
    ];
    for (key, file) in files {
        tls.extend(file.iter().map(|file| (key.to_owned(), path(file))));
    }
    section.insert("tls".to_owned(), tls.into());
    section.into()
}

fn route(route: &Route) -> Value {
    let mut section = table([
        ("name", route.name.as_str().into()),
        ("subject", route.subject.as_str().into()),
        ("kind", route.kind.name().into()),
        ("contract", route.contract.name().into()),
        ("timeout", show_duration(route.timeout).into()),
        ("max_timeout", show_duration(route.max_timeout).into()),
        ("idempotent", route.idempotent.into()),
        ("answers_once", route.answers_once.into()),
        ("max_reply", show_size(route.max_reply.into()).into()),
    ]);
    if let Access::Only { uids, gids } = &route.access {
        insert_ids(&mut section, "allow_uids", uids);
        insert_ids(&mut section, "allow_gids", gids);
    }
    section.insert("breaker".to_owned(), breaker(&route.breaker));
    section.into()
}

/// The names of the routes with these numbers.
fn names(places: &[u16], routes: &[Route]) -> Value {
    let known = places.iter().filter_map(|at| routes.get(usize::from(*at)));
    let names = known.map(|route| Value::from(route.name.as_str()));
    names.collect::<Vec<_>>().into()
}

fn breaker(policy: &BreakerPolicy) -> Value {
    table([
        ("enabled", policy.enabled.into()),
        ("failures_percent", integer(policy.failures_percent)),
        ("min_failures", integer(policy.min_failures)),
        ("window", show_duration(policy.window).into()),
        ("open_time", show_duration(policy.open_time).into()),
        ("max_open_time", show_duration(policy.max_open_time).into()),
        ("probes", integer(policy.probes)),
        ("min_timeout", show_duration(policy.min_timeout).into()),
    ])
    .into()
}

fn policy(policy: &Policy, routes: &[Route]) -> Value {
    let mut section = table([("allow", policy.allow.into())]);
    insert_ids(&mut section, "uids", &policy.uids);
    insert_ids(&mut section, "gids", &policy.gids);
    if let Some(tenant) = &policy.tenant {
        section.insert("tenant".to_owned(), tenant.as_str().into());
    }
    if let Some(places) = &policy.routes {
        section.insert("routes".to_owned(), names(places, routes));
    }
    if let Some(limits) = &policy.quota {
        section.insert("quota".to_owned(), quota(limits));
    }
    section.into()
}

fn quota(quota: &Quota) -> Value {
    let mut section = table([
        ("sessions", integer(quota.sessions)),
        ("memory", show_size(quota.memory_bytes).into()),
        ("attach_rate", integer(quota.attach_rate)),
    ]);
    if let Some(most) = quota.in_flight {
        section.insert("in_flight".to_owned(), integer(most));
    }
    section.into()
}

fn insert_ids(section: &mut Table, key: &str, ids: &[u32]) {
    if !ids.is_empty() {
        let ids: Vec<_> = ids.iter().copied().map(integer).collect();
        section.insert(key.to_owned(), ids.into());
    }
}

fn table<const N: usize>(entries: [(&str, Value); N]) -> Table {
    entries
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value))
        .collect()
}

fn integer<T: TryInto<i64>>(number: T) -> Value {
    Value::Integer(number.try_into().unwrap_or(i64::MAX))
}
