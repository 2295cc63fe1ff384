//! The lower storey: exactly what the TOML file says.
//!
//! Only syntax is known here: keys, types, and the words of closed lists. No default, no range and
//! no other source may enter. Every value keeps its span, so that the upper storey can say where
//! it stands.

use core::fmt;

use serde::{Deserialize, Deserializer};
use toml::Spanned;

/// A value with its span, if the file has it.
pub(super) type Field<T> = Option<Spanned<T>>;

/// The whole file.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawConfig {
    pub(super) upstream: Field<RawUpstream>,
    pub(super) nats: RawNats,
    pub(super) backpressure: RawBackpressure,
    pub(super) workers: RawWorkers,
    pub(super) control: RawControl,
    pub(super) log: RawLog,
    pub(super) tracing: RawTracing,
    pub(super) defaults: RawDefaults,
    pub(super) route: Vec<Spanned<RawRoute>>,
    pub(super) policy: Vec<Spanned<RawPolicy>>,
}

/// `upstream`.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum RawUpstream {
    Nats,
    Loopback,
}

/// `[nats]`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawNats {
    pub(super) urls: Field<Vec<Spanned<String>>>,
    pub(super) name: Field<String>,
    pub(super) inbox_prefix: Field<String>,
    pub(super) connections: Field<i64>,
    pub(super) connect_timeout: Field<String>,
    pub(super) ping_interval: Field<String>,
    pub(super) fail_fast: Field<String>,
    pub(super) reconnect_min: Field<String>,
    pub(super) reconnect_max: Field<String>,
    pub(super) user: Field<String>,
    pub(super) password: Field<RawSecret>,
    pub(super) token: Field<RawSecret>,
    pub(super) credentials_file: Field<String>,
    pub(super) nkey_seed_file: Field<String>,
    pub(super) tls: RawTls,
}

/// `[nats.tls]`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawTls {
    pub(super) required: Field<bool>,
    pub(super) handshake_first: Field<bool>,
    pub(super) ca_file: Field<String>,
    pub(super) cert_file: Field<String>,
    pub(super) key_file: Field<String>,
}

/// `[backpressure]`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawBackpressure {
    pub(super) enabled: Field<bool>,
    pub(super) subject: Field<String>,
    pub(super) poll_interval: Field<String>,
    pub(super) routes: Field<Vec<Spanned<String>>>,
}

/// `[workers]`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawWorkers {
    pub(super) count: Field<i64>,
    pub(super) threads: Field<RawThreads>,
    pub(super) pin: Field<bool>,
    pub(super) max_in_flight: Field<i64>,
    pub(super) outbound: Field<i64>,
    pub(super) burst: Field<i64>,
    pub(super) max_queue_delay: Field<String>,
    pub(super) spin: Field<String>,
    pub(super) yields: Field<i64>,
}

/// `workers.threads`.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum RawThreads {
    Split,
    Merged,
}

/// `[control]`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawControl {
    pub(super) socket: Field<String>,
    pub(super) socket_mode: Field<i64>,
    pub(super) admin: Field<String>,
    pub(super) admin_mode: Field<i64>,
    pub(super) metrics: Field<String>,
    pub(super) max_sessions: Field<i64>,
    pub(super) max_entries: Field<i64>,
    pub(super) max_message_size: Field<RawSize>,
    pub(super) quota: RawQuota,
    pub(super) attach_timeout: Field<String>,
    pub(super) slow_client_timeout: Field<String>,
    pub(super) drain_timeout: Field<String>,
}

/// `[control.quota]` and `quota` of a policy.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawQuota {
    pub(super) sessions: Field<i64>,
    pub(super) memory: Field<RawSize>,
    pub(super) in_flight: Field<i64>,
    pub(super) attach_rate: Field<i64>,
}

/// `[log]`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawLog {
    pub(super) filter: Field<String>,
    pub(super) format: Field<RawLogFormat>,
}

/// `[tracing]`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawTracing {
    pub(super) endpoint: Field<String>,
    pub(super) sample_ratio: Field<f64>,
    pub(super) follow_parent: Field<bool>,
    pub(super) service_name: Field<String>,
}

/// `log.format`.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum RawLogFormat {
    Text,
    Json,
}

/// `[defaults]`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawDefaults {
    pub(super) builtin_routes: Field<bool>,
}

/// `[[route]]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawRoute {
    pub(super) name: Spanned<String>,
    pub(super) subject: Field<String>,
    pub(super) kind: Field<RawKind>,
    pub(super) contract: Field<RawContract>,
    pub(super) timeout: Field<String>,
    pub(super) max_timeout: Field<String>,
    pub(super) idempotent: Field<bool>,
    pub(super) answers_once: Field<bool>,
    pub(super) max_reply: Field<RawSize>,
    pub(super) allow_uids: Field<Vec<Spanned<i64>>>,
    pub(super) allow_gids: Field<Vec<Spanned<i64>>>,
    #[serde(default)]
    pub(super) breaker: RawBreaker,
}

/// `[route.breaker]`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawBreaker {
    pub(super) enabled: Field<bool>,
    pub(super) failures_percent: Field<i64>,
    pub(super) min_failures: Field<i64>,
    pub(super) window: Field<String>,
    pub(super) open_time: Field<String>,
    pub(super) max_open_time: Field<String>,
    pub(super) probes: Field<i64>,
    pub(super) min_timeout: Field<String>,
}

/// `kind` of a route.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum RawKind {
    Request,
    Publish,
    Stream,
}

/// `contract` of a route.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum RawContract {
    Router,
    Opaque,
}

/// `[[policy]]`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawPolicy {
    pub(super) uids: Field<Vec<Spanned<i64>>>,
    pub(super) gids: Field<Vec<Spanned<i64>>>,
    pub(super) allow: Field<bool>,
    pub(super) tenant: Field<String>,
    pub(super) routes: Field<Vec<Spanned<String>>>,
    pub(super) quota: Option<RawQuota>,
}

/// A size: a number of bytes, or text with a unit.
#[derive(Clone, Debug, Deserialize)]
#[serde(
    untagged,
    expecting = "expected a size: bytes as an integer, or text such as \"64KiB\""
)]
pub(super) enum RawSize {
    Bytes(i64),
    Text(String),
}

impl fmt::Display for RawSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(bytes) => bytes.fmt(f),
            Self::Text(text) => write!(f, "{text:?}"),
        }
    }
}

/// Text that no message may show, not even the message that it has the wrong type.
pub(super) struct RawSecret(pub(super) String);

impl fmt::Debug for RawSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl<'de> Deserialize<'de> for RawSecret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match toml::Value::deserialize(deserializer)? {
            toml::Value::String(text) => Ok(Self(text)),
            _ => Err(serde::de::Error::custom("a secret must be a string")),
        }
    }
}
