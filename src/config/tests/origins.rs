//! What holds, and where it comes from.

use super::*;
use crate::config::Effective;

fn effective(flags: &Overrides, variables: &[(&str, &str)], text: &str) -> Effective {
    let variables: BTreeMap<&str, &str> = variables.iter().copied().collect();
    let environment = Environment::read(|name| variables.get(name).map(Into::into)).unwrap();
    let file = (PathBuf::from("test.toml"), text.to_owned());
    Effective::of(flags, &environment, file, &host()).unwrap()
}

const FILE: &str = "\
[workers]
count = 3
burst = 7
[control]
socket = '/x/y.sock'
quota.sessions = 5
[[route]]
name = 'a.b'
subject = 'c'
[route.breaker]
probes = 9
[[policy]]
allow = false
";

#[test]
fn each_value_says_where_it_comes_from_and_reads_back() {
    let flags = Overrides {
        workers: Some("4".to_owned()),
        ..Overrides::default()
    };
    let variables = [
        ("IPC_GATEWAY_SOCKET", "/z/y.sock"),
        ("IPC_GATEWAY_LOG", "debug"),
    ];
    let effective = effective(&flags, &variables, FILE);
    let text = effective.to_toml();
    for line in [
        "count = 4  # flag --workers",
        "burst = 7  # test.toml:3:9",
        "outbound = 8192  # default",
        "socket = \"/z/y.sock\"  # IPC_GATEWAY_SOCKET",
        "filter = \"debug\"  # IPC_GATEWAY_LOG",
        "sessions = 5  # test.toml:6:18",
        "subject = \"c\"  # test.toml:9:11",
        "subject = \"beamline.router.v1.decide\"  # default",
        "probes = 9  # test.toml:11:10",
        "allow = false  # test.toml:13:9",
        "socket_mode = 0o600  # default",
    ] {
        assert!(
            text.lines().any(|it| it == line),
            "{line} is not in\n{text}"
        );
    }
    let config = load(&flags, &variables, FILE, &host()).unwrap();
    assert_eq!(parse(&text).unwrap(), config, "{text}");
}

#[test]
fn the_json_says_the_same() {
    let effective = effective(&Overrides::default(), &[], FILE);
    let json = effective.to_json();
    assert_eq!(json["workers.burst"]["value"], 7);
    assert_eq!(json["workers.burst"]["source"], "file");
    assert_eq!(json["workers.burst"]["place"], "test.toml:3:9");
    assert_eq!(json["route.a.b.breaker.probes"]["place"], "test.toml:11:10");
    assert_eq!(json["nats.fail_fast"]["source"], "default");
    assert_eq!(json["nats.fail_fast"]["seconds"], 0.25);
    assert_eq!(json["policy[1].allow"]["value"], false);
    assert_eq!(json["route.decide.subject"]["source"], "default");
}

#[test]
fn credentials_come_from_where_they_are_taken_and_are_masked() {
    let in_file = "nats.user = 'bob'\nnats.password = 's3cret'\n";
    let line = |flags: &Overrides, variables: &[(&str, &str)], text: &str| {
        let text = effective(flags, variables, text).to_toml();
        assert!(!text.contains("s3cret"), "{text}");
        let mut lines = text.lines();
        let found = lines.find(|line| line.starts_with("password") || line.starts_with("token"));
        found.unwrap().to_owned()
    };
    let none = Overrides::default();
    let flags = Overrides {
        nats: vec!["nats://s3cret@h".to_owned()],
        ..Overrides::default()
    };
    let variables = [
        ("IPC_GATEWAY_NATS_USER", "eve"),
        ("IPC_GATEWAY_NATS_PASSWORD", "s3cret"),
    ];
    assert_eq!(
        line(&none, &[], in_file),
        "password = \"***\"  # test.toml:2:17"
    );
    assert_eq!(
        line(&none, &variables, in_file),
        "password = \"***\"  # IPC_GATEWAY_NATS_PASSWORD"
    );
    assert_eq!(
        line(&flags, &variables, in_file),
        "token = \"***\"  # flag --nats"
    );
    let urls = "nats.urls = ['nats://bob:s3cret@h']\n";
    assert_eq!(
        line(&none, &[], urls),
        "password = \"***\"  # test.toml:1:13"
    );
    assert_eq!(
        line(&none, &variables, urls),
        "password = \"***\"  # IPC_GATEWAY_NATS_PASSWORD"
    );
}
