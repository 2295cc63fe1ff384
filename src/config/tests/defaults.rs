//! The defaults, and that the documents and `--print` say the same as the code.

use super::*;
use crate::route::Route;
use crate::settings::{
    AdminAddress, LogSettings, NatsAuth, NatsSettings, Quota, Secret, Threads, UpstreamKind,
    WorkerSettings,
};

const EXAMPLE: &str = include_str!("../../../docs/config.example.toml");

/// The example with every commented key (`#key = value`) and section (`#[section]`) switched on: what
/// shows defaults, and the routes and policies. Prose and examples have a space after the `#`.
fn example_switched_on() -> (String, String) {
    let (defaults, examples) = EXAMPLE.split_once("\n# A route: ").unwrap();
    let examples = format!("# {examples}");
    let switch_on = |text: &str| {
        let line = |line: &str| match line.strip_prefix('#') {
            Some(rest) if rest.starts_with(|c: char| c.is_ascii_lowercase() || c == '[') => {
                format!("{rest}\n")
            }
            _ => format!("{line}\n"),
        };
        text.lines().map(line).collect::<String>()
    };
    (switch_on(defaults), switch_on(&examples))
}

#[test]
fn the_empty_file_gives_the_documented_defaults() {
    let config = parse("").unwrap();
    assert_eq!(config.nats, NatsSettings::default());
    assert_eq!(config.routes, [Route::decide()]);
    assert_eq!(config.upstream, UpstreamKind::Nats);
    assert_eq!(config.log, LogSettings::default());
    let control = config.control;
    let directory = PathBuf::from("/run/user/1000/ipc-gateway");
    assert_eq!(control.socket, directory.join("gateway.sock"));
    assert_eq!(
        control.admin,
        AdminAddress::Unix(directory.join("admin.sock"))
    );
    assert_eq!((control.socket_mode, control.admin_mode), (0o600, 0o600));
    assert_eq!(control.metrics, None);
    assert_eq!(control.quota, Quota::default());
    assert_eq!(control.policies, []);
    let workers = WorkerSettings {
        workers: 2,
        ..WorkerSettings::default()
    };
    assert_eq!(config.workers, workers);
}

#[test]
fn the_example_as_delivered_changes_nothing() {
    assert_eq!(parse(EXAMPLE).unwrap(), parse("").unwrap());
}

#[test]
fn every_default_that_the_example_shows_is_the_default_of_the_code() {
    let (defaults, _) = example_switched_on();
    assert_eq!(parse(&defaults).unwrap(), parse("").unwrap());
}

#[test]
fn the_examples_of_the_example_file_are_valid() {
    let (_, examples) = example_switched_on();
    let config = parse(&examples).unwrap();
    assert!(config.routes.len() > 1);
    assert!(!config.control.policies.is_empty());
}

#[test]
fn root_has_its_socket_in_run_and_opens_it_to_its_group() {
    let root = Host {
        uid: 0,
        runtime_dir: None,
        ..host()
    };
    let control = load(&Overrides::default(), &[], "", &root).unwrap().control;
    assert_eq!(
        control.socket,
        PathBuf::from("/run/ipc-gateway/gateway.sock")
    );
    assert_eq!((control.socket_mode, control.admin_mode), (0o660, 0o660));
}

#[test]
fn without_a_runtime_directory_the_socket_is_where_the_client_library_looks() {
    let nobody = Host {
        runtime_dir: None,
        ..host()
    };
    let control = load(&Overrides::default(), &[], "", &nobody)
        .unwrap()
        .control;
    assert_eq!(
        control.socket,
        PathBuf::from("/run/ipc-gateway/gateway.sock")
    );
    assert_eq!((control.socket_mode, control.admin_mode), (0o600, 0o600));
}

#[test]
fn the_number_of_workers_follows_the_cores() {
    let on = |cores| {
        let host = Host { cores, ..host() };
        let workers = load(&Overrides::default(), &[], "", &host).unwrap().workers;
        (workers.workers, workers.threads)
    };
    assert_eq!(on(1), (1, Threads::Merged));
    assert_eq!(on(2), (1, Threads::Merged));
    assert_eq!(on(3), (1, Threads::Split));
    assert_eq!(on(6), (4, Threads::Split));
    assert_eq!(on(64), (8, Threads::Split));
}

#[test]
fn what_is_printed_reads_back_as_the_same_configuration() {
    let (_, examples) = example_switched_on();
    for text in ["", &examples] {
        let mut config = parse(text).unwrap();
        let printed = config.to_toml();
        if let NatsAuth::Password { password, .. } = &mut config.nats.auth {
            *password = Secret::new("***".to_owned());
        }
        assert_eq!(parse(&printed).unwrap(), config, "{printed}");
    }
}

#[test]
fn no_output_shows_a_secret() {
    let texts = [
        "nats.urls = ['nats://bob:s3cret@h:4222']",
        "nats.user = 'bob'\nnats.password = 's3cret'",
        "nats.token = 's3cret'",
        "nats.urls = ['s3cret@h:4222']",
    ];
    for text in texts {
        let config = parse(text).unwrap();
        let printed = config.to_toml();
        assert!(printed.contains("***"), "{printed}");
        assert!(!printed.contains("s3cret"), "{printed}");
        assert!(!format!("{config:?}").contains("s3cret"));
    }
    let bad = [
        "nats.urls = ['nats://bob:s3cret@h:x']",
        "nats.urls = ['bob:s3cret@h:4222/path']",
        "nats.urls = ['http://bob:s3cret@h:1']",
        "nats.token = ['s3cret']",
        "nats.urls = 'nats://bob:s3cret@h'",
        "nats.urls = [['nats://bob:s3cret@h']]",
        "nats.tls = 's3cret, expected x'",
        "nats = 's3cret'",
        "workers.count = 's3cret'",
        "nats.token = s3cret",
        "nats.password = 's3cret'",
        "nats.urls = ['a:s3cret@h', 'b:s3cret@h']",
        "nats.token = 's3cret'\nnats.user = 'bob'\nnats.password = 's3cret'",
    ];
    for text in bad {
        assert!(!refusal(text).contains("s3cret"), "{}", refusal(text));
    }
}
