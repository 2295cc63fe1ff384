//! Flags over environment over file over defaults.

use super::*;
use crate::settings::{LogFormat, NatsAuth, Secret, UpstreamKind};

const FILE: &str = "
upstream = 'loopback'
nats.urls = ['tls://file:1111']
workers.count = 3
[control]
socket = '/file/g.sock'
admin = '/file/a.sock'
metrics = '127.0.0.1:1'
socket_mode = 0o600
admin_mode = 0o600
[log]
filter = 'warn'
format = 'json'
";

const VARIABLES: [(&str, &str); 10] = [
    ("IPC_GATEWAY_SOCKET", "/env/g.sock"),
    ("IPC_GATEWAY_NATS", "nats://env1:1,env2"),
    ("IPC_GATEWAY_UPSTREAM", "nats"),
    ("IPC_GATEWAY_WORKERS", "5"),
    ("IPC_GATEWAY_ADMIN", "127.0.0.1:9464"),
    ("IPC_GATEWAY_METRICS", "[::1]:2"),
    ("IPC_GATEWAY_SOCKET_MODE", "0660"),
    ("IPC_GATEWAY_ADMIN_MODE", "0o640"),
    ("IPC_GATEWAY_LOG", "debug"),
    ("IPC_GATEWAY_LOG_FORMAT", "text"),
];

fn flags() -> Overrides {
    Overrides {
        config: None,
        socket: Some("/flag/g.sock".to_owned()),
        nats: vec!["nats://flag:7".to_owned()],
        upstream: Some("loopback".to_owned()),
        workers: Some("6".to_owned()),
        admin: Some("/flag/a.sock".to_owned()),
        metrics: Some("127.0.0.1:3".to_owned()),
    }
}

/// What can be overridden, in a form that is easy to compare.
fn seen(flags: &Overrides, variables: &[(&str, &str)], text: &str) -> [String; 8] {
    let config = load(flags, variables, text, &host()).unwrap();
    let control = &config.control;
    [
        control.socket.display().to_string(),
        control.admin.to_string(),
        control.metrics.unwrap().to_string(),
        format!("{:o} {:o}", control.socket_mode, control.admin_mode),
        config.nats.urls.join(" "),
        config.upstream.name().to_owned(),
        config.workers.workers.to_string(),
        format!("{} {}", config.log.filter, config.log.format.name()),
    ]
}

#[test]
fn the_file_wins_over_the_defaults() {
    assert_eq!(
        seen(&Overrides::default(), &[], FILE),
        [
            "/file/g.sock",
            "/file/a.sock",
            "127.0.0.1:1",
            "600 600",
            "tls://file:1111",
            "loopback",
            "3",
            "warn json"
        ]
    );
}

#[test]
fn the_environment_wins_over_the_file() {
    assert_eq!(
        seen(&Overrides::default(), &VARIABLES, FILE),
        [
            "/env/g.sock",
            "127.0.0.1:9464",
            "[::1]:2",
            "660 640",
            "nats://env1:1 nats://env2:4222",
            "nats",
            "5",
            "debug text"
        ]
    );
}

#[test]
fn the_flags_win_over_the_environment() {
    assert_eq!(
        seen(&flags(), &VARIABLES, FILE),
        [
            "/flag/g.sock",
            "/flag/a.sock",
            "127.0.0.1:3",
            "660 640",
            "nats://flag:7",
            "loopback",
            "6",
            "debug text"
        ]
    );
}

#[test]
fn an_empty_variable_leaves_the_file_alone() {
    let config = load(
        &Overrides::default(),
        &[("IPC_GATEWAY_LOG", "")],
        FILE,
        &host(),
    );
    let config = config.unwrap();
    assert_eq!(config.log.filter, "warn");
    assert_eq!(config.log.format, LogFormat::Json);
    assert_eq!(config.upstream, UpstreamKind::Loopback);
}

#[test]
fn credentials_come_from_the_most_important_source_that_has_any() {
    let file = "nats.urls = ['nats://u:file@h']";
    let auth = |flags: &[&str], variables: &[(&str, &str)]| {
        let flags = Overrides {
            nats: flags.iter().map(|&url| url.to_owned()).collect(),
            ..Overrides::default()
        };
        load(&flags, variables, file, &host()).unwrap().nats.auth
    };
    let password = |user: &str, password: &str| NatsAuth::Password {
        user: user.to_owned(),
        password: Secret::new(password.to_owned()),
    };
    let token = ("IPC_GATEWAY_NATS_TOKEN", "env");
    assert_eq!(auth(&[], &[]), password("u", "file"));
    assert_eq!(
        auth(&[], &[token]),
        NatsAuth::Token(Secret::new("env".to_owned()))
    );
    assert_eq!(
        auth(&["nats://u:fl%40g@x"], &[token]),
        password("u", "fl@g")
    );
    // Credentials of a URL do not go to a server that they were not written for.
    assert_eq!(auth(&["nats://x"], &[]), NatsAuth::None);
    let pair = [
        ("IPC_GATEWAY_NATS_USER", "e"),
        ("IPC_GATEWAY_NATS_PASSWORD", "p"),
    ];
    assert_eq!(auth(&[], &pair), password("e", "p"));
    assert_eq!(
        auth(&[], &[("IPC_GATEWAY_NATS_CREDS", "/c")]),
        NatsAuth::CredentialsFile("/c".into())
    );
    assert_eq!(
        auth(&[], &[("IPC_GATEWAY_NATS_NKEY", "/n")]),
        NatsAuth::NkeySeedFile("/n".into())
    );
}

#[test]
fn a_missing_file_is_an_error_only_if_it_was_named() {
    let named = |flag: Option<&str>, variable: Option<&str>| {
        let flags = Overrides {
            config: flag.map(str::to_owned),
            ..Overrides::default()
        };
        let lookup = |name: &str| match name {
            "IPC_GATEWAY_CONFIG" => variable.map(Into::into),
            _ => None,
        };
        Config::load_from(&flags, lookup, &host())
    };
    let missing = Some("/does/not/exist.toml");
    for error in [named(missing, None), named(None, missing)] {
        let message = error.unwrap_err().to_string();
        assert!(
            message.starts_with("/does/not/exist.toml: cannot read"),
            "{message}"
        );
    }
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "workers.count = 7").unwrap();
    let config = named(file.path().to_str(), missing).unwrap();
    assert_eq!(config.workers.workers, 7);
    assert_eq!(named(None, None).unwrap().log.filter, "info");
}
