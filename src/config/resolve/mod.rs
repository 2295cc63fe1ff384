//! The upper storey: what the program means. All defaults, ranges and rules live in this folder,
//! one file for each room that is told about them.

mod control;
mod credentials;
mod policy;
mod routes;
mod tracing;
mod upstream;
mod worker;

use std::env;
use std::path::PathBuf;

use tracing_subscriber::EnvFilter;

use super::check::{Section, value_or};
use super::error::{ConfigError, nearest};
use super::raw::{RawLogFormat, RawUpstream};
use super::source::{ConfigFile, Environment, Given, Host, Overrides, flag_or_variable};
use crate::route::Route;
use crate::settings::{
    AdminAddress, ControlSettings, LogFormat, LogSettings, NatsSettings, TracingSettings,
    UpstreamKind, WorkerSettings,
};

/// The whole configuration, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// What the NATS room is told.
    pub nats: NatsSettings,
    /// What the workers are told.
    pub workers: WorkerSettings,
    /// What the control thread is told.
    pub control: ControlSettings,
    /// The routes; a client's route number is a place in this list.
    pub routes: Vec<Route>,
    /// What answers.
    pub upstream: UpstreamKind,
    /// What is logged.
    pub log: LogSettings,
    /// What is traced.
    pub tracing: TracingSettings,
}

/// Everything that a [`Config`] is made of; the earlier field wins.
pub(super) struct Layers<'a> {
    pub(super) flags: &'a Overrides,
    pub(super) environment: &'a Environment,
    pub(super) file: &'a ConfigFile,
    pub(super) host: &'a Host,
}

impl TryFrom<Layers<'_>> for Config {
    type Error = ConfigError;

    fn try_from(layers: Layers<'_>) -> Result<Self, ConfigError> {
        let routes = routes::resolve(&layers)?;
        Ok(Self {
            nats: upstream::resolve(&layers, &routes)?,
            workers: worker::resolve(&layers)?,
            control: control::resolve(&layers, &routes)?,
            upstream: upstream_kind(&layers)?,
            log: log(&layers)?,
            tracing: tracing::resolve(&layers)?,
            routes,
        })
    }
}

/// The socket of the gateway, for programs that only talk to it: `--socket`, `IPC_GATEWAY_SOCKET`,
/// or the default place. The gateway's configuration file is not read.
///
/// # Errors
/// The path cannot be a Unix socket.
pub fn socket_path(flag: Option<&str>) -> Result<PathBuf, ConfigError> {
    let environment = Environment::read(|name| env::var_os(name))?;
    socket_of(flag, &environment, &Host::read())
}

/// The admin address of the gateway, for programs that only talk to it: `--admin`, the socket
/// beside `--socket`, `IPC_GATEWAY_ADMIN`, the socket beside `IPC_GATEWAY_SOCKET`, or the one
/// beside the default place.
///
/// # Errors
/// The address is neither a path nor `ADDRESS:PORT`, or there is no place beside the socket.
pub fn admin_address(
    admin: Option<&str>,
    socket: Option<&str>,
) -> Result<AdminAddress, ConfigError> {
    let environment = Environment::read(|name| env::var_os(name))?;
    admin_of(admin, socket, &environment, &Host::read())
}

fn socket_of(
    flag: Option<&str>,
    environment: &Environment,
    host: &Host,
) -> Result<PathBuf, ConfigError> {
    let flag = flag.map(str::to_owned);
    let given = flag_or_variable(
        ("--socket", flag.as_ref()),
        environment,
        "IPC_GATEWAY_SOCKET",
    );
    control::socket(given, host)
}

fn admin_of(
    admin: Option<&str>,
    socket: Option<&str>,
    environment: &Environment,
    host: &Host,
) -> Result<AdminAddress, ConfigError> {
    let admin = admin.map(str::to_owned);
    let given = match (&admin, socket) {
        (None, Some(_)) => None,
        _ => flag_or_variable(
            ("--admin", admin.as_ref()),
            environment,
            "IPC_GATEWAY_ADMIN",
        ),
    };
    match given {
        Some(given) => control::admin(&given),
        None => control::admin_beside(&socket_of(socket, environment, host)?),
    }
}

fn upstream_kind(layers: &Layers<'_>) -> Result<UpstreamKind, ConfigError> {
    let given = flag_or_variable(
        ("--upstream", layers.flags.upstream.as_ref()),
        layers.environment,
        "IPC_GATEWAY_UPSTREAM",
    );
    let kinds = [UpstreamKind::Nats, UpstreamKind::Loopback];
    match given {
        Some(given) => word(&given, "upstream", kinds, UpstreamKind::name),
        None => Ok(
            match value_or(&layers.file.raw.upstream, RawUpstream::Nats) {
                RawUpstream::Nats => UpstreamKind::Nats,
                RawUpstream::Loopback => UpstreamKind::Loopback,
            },
        ),
    }
}

fn log(layers: &Layers<'_>) -> Result<LogSettings, ConfigError> {
    let section = Section::new(layers.file, "log");
    let raw = &layers.file.raw.log;
    let mut log = LogSettings::default();
    let filter = layers.environment.get("IPC_GATEWAY_LOG");
    if let Some(given) = filter.or_else(|| section.given(&raw.filter)) {
        check_filter(&given)?;
        log.filter = given.value;
    }
    log.format = match layers.environment.get("IPC_GATEWAY_LOG_FORMAT") {
        Some(given) => word(
            &given,
            "log.format",
            [LogFormat::Text, LogFormat::Json],
            LogFormat::name,
        )?,
        None => match value_or(&raw.format, RawLogFormat::Text) {
            RawLogFormat::Text => LogFormat::Text,
            RawLogFormat::Json => LogFormat::Json,
        },
    };
    Ok(log)
}

fn check_filter(given: &Given<String>) -> Result<(), ConfigError> {
    let refused =
        |reason: String| refuse(given, "log.filter", format!("not a log filter: {reason}"));
    EnvFilter::builder()
        .parse(&given.value)
        .map(drop)
        .map_err(|error| refused(error.to_string()))
}

/// One of a closed list of words.
fn word<T: Copy, const N: usize>(
    given: &Given<String>,
    key: &str,
    values: [T; N],
    name: fn(T) -> &'static str,
) -> Result<T, ConfigError> {
    let found = values.into_iter().find(|value| name(*value) == given.value);
    found.ok_or_else(|| {
        let names = values.map(name);
        let mut rule = format!("must be one of {}", names.join(", "));
        if let Some(meant) = nearest(&given.value, &names) {
            rule = format!("{rule}; did you mean {meant}?");
        }
        refuse(given, key, rule)
    })
}

/// The error that a value from a flag, a variable or the file breaks `rule`.
fn refuse(given: &Given<String>, key: &str, rule: impl Into<String>) -> ConfigError {
    ConfigError::Value {
        place: given.place.clone(),
        key: key.to_owned(),
        value: format!("{:?}", given.value),
        rule: rule.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host() -> Host {
        Host {
            uid: 0,
            cores: 1,
            runtime_dir: None,
            overflow_uid: 65_534,
            overflow_gid: 65_534,
        }
    }

    #[test]
    fn the_admin_socket_is_found_beside_the_socket_that_was_named() {
        let environment = Environment::read(|name| match name {
            "IPC_GATEWAY_ADMIN" => Some("127.0.0.1:9464".into()),
            _ => None,
        });
        let environment = environment.unwrap();
        let at = |admin, socket| {
            admin_of(admin, socket, &environment, &host())
                .unwrap()
                .to_string()
        };
        assert_eq!(at(None, Some("/a/b.sock")), "/a/admin.sock");
        assert_eq!(at(None, None), "127.0.0.1:9464");
        assert_eq!(at(Some("/x.sock"), Some("/a/b.sock")), "/x.sock");
        let empty = Environment::default();
        let default = admin_of(None, None, &empty, &host()).unwrap();
        assert_eq!(default.to_string(), "/run/ipc-gateway/admin.sock");
    }
}
