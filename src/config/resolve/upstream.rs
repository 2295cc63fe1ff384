//! `[nats]` and `[backpressure]`: what the room that answers requests is told.

use core::time::Duration;

use super::super::check::{Section, value_or};
use super::super::error::ConfigError;
use super::super::raw::RawNats;
use super::routes::{place, places};
use super::{Layers, credentials};
use crate::route::{Route, Subject};
use crate::settings::{BackpressureSettings, NatsSettings, TlsSettings};

/// Longest prefix of inboxes, in bytes.
const MAX_PREFIX_BYTES: usize = 64;

pub(super) fn resolve(layers: &Layers<'_>, routes: &[Route]) -> Result<NatsSettings, ConfigError> {
    let section = Section::new(layers.file, "nats");
    let raw = &layers.file.raw.nats;
    let preset = NatsSettings::default();
    let (urls, auth) = credentials::resolve(layers)?;
    let duration = |key, field, shortest, default| {
        let range = Duration::from_millis(shortest)..=Duration::from_secs(60);
        section.duration(key, field, range, default)
    };
    Ok(NatsSettings {
        urls: if urls.is_empty() { preset.urls } else { urls },
        auth,
        tls: tls(layers)?,
        name: match &raw.name {
            Some(field) => section.word("name", field, 64)?,
            None => preset.name,
        },
        inbox_prefix: inbox_prefix(&section, raw, routes, preset.inbox_prefix)?,
        connections: section.integer(
            "connections",
            &raw.connections,
            1..=16,
            preset.connections,
        )?,
        connect_timeout: duration(
            "connect_timeout",
            &raw.connect_timeout,
            100,
            preset.connect_timeout,
        )?,
        ping_interval: duration(
            "ping_interval",
            &raw.ping_interval,
            100,
            preset.ping_interval,
        )?,
        fail_fast: duration("fail_fast", &raw.fail_fast, 0, preset.fail_fast)?,
        reconnect: reconnect(&section, raw, preset.reconnect)?,
        backpressure: backpressure(layers, routes, preset.backpressure)?,
    })
}

/// Where answers come to: no wildcards, and nothing that a route publishes to.
fn inbox_prefix(
    section: &Section<'_>,
    raw: &RawNats,
    routes: &[Route],
    preset: String,
) -> Result<String, ConfigError> {
    let Some(field) = &raw.inbox_prefix else {
        return Ok(preset);
    };
    let prefix = field.get_ref();
    let refuse = |rule: &str| section.refuse("inbox_prefix", field, format!("{prefix:?}"), rule);
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let token = |token: &str| !token.is_empty() && token.bytes().all(allowed);
    if prefix.len() > MAX_PREFIX_BYTES || !prefix.split('.').all(token) {
        return Err(refuse(
            "must be 1 to 64 characters of A-Z a-z 0-9 - _, in tokens with . between",
        ));
    }
    let hit = |route: &&Route| {
        let rest = route.subject.as_str().strip_prefix(prefix.as_str());
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    match routes.iter().find(hit) {
        Some(route) => Err(refuse(&format!("route `{}` publishes there", route.name))),
        None => Ok(prefix.clone()),
    }
}

/// Shortest and longest time between attempts to connect; the longest is not the shorter one.
fn reconnect(
    section: &Section<'_>,
    raw: &RawNats,
    preset: (Duration, Duration),
) -> Result<(Duration, Duration), ConfigError> {
    let range = Duration::from_millis(1)..=Duration::from_secs(60);
    let min = section.duration("reconnect_min", &raw.reconnect_min, range, preset.0)?;
    let range = min..=Duration::from_secs(300);
    let max = section.duration(
        "reconnect_max",
        &raw.reconnect_max,
        range,
        preset.1.max(min),
    )?;
    Ok((min, max))
}

fn tls(layers: &Layers<'_>) -> Result<TlsSettings, ConfigError> {
    let section = Section::new(layers.file, "nats.tls");
    let raw = &layers.file.raw.nats.tls;
    let missing = match (&raw.cert_file, &raw.key_file) {
        (Some(field), None) => Some((field, "cert_file needs key_file")),
        (None, Some(field)) => Some((field, "key_file needs cert_file")),
        _ => None,
    };
    if let Some((field, problem)) = missing {
        return Err(ConfigError::Combination {
            place: section.place(field),
            problem: format!("nats.tls.{problem}"),
        });
    }
    Ok(TlsSettings {
        required: value_or(&raw.required, false),
        handshake_first: value_or(&raw.handshake_first, false),
        ca_file: section.path("ca_file", &raw.ca_file)?,
        cert_file: section.path("cert_file", &raw.cert_file)?,
        key_file: section.path("key_file", &raw.key_file)?,
    })
}

fn backpressure(
    layers: &Layers<'_>,
    routes: &[Route],
    preset: BackpressureSettings,
) -> Result<BackpressureSettings, ConfigError> {
    let section = Section::new(layers.file, "backpressure");
    let raw = &layers.file.raw.backpressure;
    let subject = match &raw.subject {
        None => preset.subject,
        Some(field) => {
            let subject = Subject::try_from(field.get_ref().clone()).map_err(|error| {
                let shown = format!("{:?}", field.get_ref());
                section.refuse("subject", field, shown, error.to_string())
            })?;
            Some(subject.to_string())
        }
    };
    let poll_interval = match &raw.poll_interval {
        None => preset.poll_interval,
        Some(_) => Some(section.duration(
            "poll_interval",
            &raw.poll_interval,
            Duration::from_millis(100)..=Duration::from_secs(300),
            Duration::ZERO,
        )?),
    };
    Ok(BackpressureSettings {
        subject: subject.filter(|_| value_or(&raw.enabled, true)),
        poll_interval,
        routes: backpressure_routes(&section, layers, routes)?,
    })
}

/// Places of the routes that backpressure closes: those named, or the one called `decide`.
fn backpressure_routes(
    section: &Section<'_>,
    layers: &Layers<'_>,
    routes: &[Route],
) -> Result<Vec<u16>, ConfigError> {
    let Some(field) = &layers.file.raw.backpressure.routes else {
        return Ok(place(routes, "decide").into_iter().collect());
    };
    places(section, field, routes)
}
