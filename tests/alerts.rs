//! The alert rules and the dashboard of `deploy/`: whether each query asks for what the gateway
//! exports, whether each alert is documented, and whether one fires and resolves in earnest.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use ipc_ringbuf::{Code, Request};
use serde_json::Value;

use crate::support::admin::ask;
use crate::support::decide;
use crate::support::eventually;
use crate::support::gateway::{Gateway, attach, start, until_connected};
use crate::support::openmetrics;
use crate::support::prometheus::{Prometheus, promtool};
use crate::support::router::Router;
use crate::support::server::Server;

const RULES: &str = include_str!("../deploy/prometheus/ipc-gateway.rules.yml");
const RULES_TEST: &str = include_str!("../deploy/prometheus/ipc-gateway.rules.test.yml");
const DASHBOARD: &str = include_str!("../deploy/grafana/ipc-gateway.json");
const DOCUMENT: &str = include_str!("../docs/OPERATIONS.md");
/// By how much the rules' times are divided.
const FACTOR: &str = "60";

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// A gateway whose metrics Prometheus can reach, and where that is.
fn gateway(server: &Server) -> (Gateway, String) {
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let metrics = free.local_addr().unwrap().to_string();
    drop(free);
    let gateway = start(&["--nats", &server.url(), "--metrics", &metrics]);
    until_connected(&mut attach(&gateway));
    (gateway, metrics)
}

/// Series that a gateway exports, and the families of its histograms, which have native buckets
/// under that name.
fn exported(metrics: &str) -> BTreeSet<String> {
    let stream = std::net::TcpStream::connect(metrics).unwrap();
    let families = openmetrics::parse(&ask(stream, "/metrics").1);
    let mut names = BTreeSet::new();
    for family in families {
        names.extend(family.samples.into_iter().map(|sample| sample.name));
        if family.kind == "histogram" {
            names.insert(family.name);
        }
    }
    names
}

/// The metrics of this gateway that a text names.
fn named(text: &str) -> BTreeSet<String> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words = text.split(|c: char| !is_part(c));
    let words = words.filter(|word| word.starts_with("ipcgw_"));
    words.map(str::to_owned).collect()
}

/// The rules with short times.
fn fast_rules() -> String {
    let mut child = Command::new("python3")
        .arg(root().join("tools/scale-rules.py"))
        .arg(FACTOR)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(RULES.as_bytes()).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
}

/// The values of a key in the rules, in order.
fn values(key: &str) -> Vec<String> {
    let lines = RULES.lines().map(str::trim_start);
    let found = lines.filter_map(|line| line.trim_start_matches("- ").strip_prefix(key));
    found.map(|value| value.trim().to_owned()).collect()
}

#[test]
fn promtool_accepts_the_rules_and_their_tests() {
    let directory = root().join("deploy/prometheus");
    let (content, said) = promtool(&directory, &["check", "rules", "ipc-gateway.rules.yml"]);
    assert!(content, "{said}");
    let (content, said) = promtool(&directory, &["test", "rules", "ipc-gateway.rules.test.yml"]);
    assert!(content, "{said}");
}

#[test]
fn promtool_finds_a_rule_that_was_changed() {
    let dir = tempfile::tempdir().unwrap();
    let test = |rules: &str| {
        std::fs::write(dir.path().join("ipc-gateway.rules.yml"), rules).unwrap();
        std::fs::write(dir.path().join("test.yml"), RULES_TEST).unwrap();
        promtool(dir.path(), &["test", "rules", "test.yml"])
    };
    assert!(test(RULES).0);
    for (right, wrong) in [
        ("ipcgw_nats_connected == 0", "ipcgw_nats_connected == 2"),
        (
            "ipcgw_breaker_state[2m])) == 2",
            "ipcgw_breaker_state[2m])) == 1",
        ),
        // It never stays open for long: a probe that passes makes it half open.
        (
            "(max_over_time(ipcgw_breaker_state[2m]))",
            "(ipcgw_breaker_state)",
        ),
        ("reason=\"OVERLOADED\"", "reason=\"PROTOCOL\""),
        ("> 1.1 * sum", "> 0 * sum"),
        ("reason=\"SLOW_CLIENT\"", "reason=\"DETACHED\""),
        ("outcome=\"unknown\"", "outcome=\"rejected\""),
        (
            "ipcgw_start_time_seconds[15m]) > 2",
            "ipcgw_start_time_seconds[15m]) > 1",
        ),
        ("result=~\"invalid|restart\"", "result=~\"invalid\""),
        (" unless ipcgw_nats_connected == 0", ""),
    ] {
        let changed = RULES.replace(right, wrong);
        assert_ne!(changed, RULES, "{right}");
        let (content, said) = test(&changed);
        assert!(!content, "{wrong}: {said}");
    }
}

#[test]
fn each_alert_says_what_to_do_and_is_tested_both_ways() {
    let alerts = values("alert:");
    assert!(alerts.len() >= 15);
    for key in ["summary:", "description:", "severity:"] {
        assert_eq!(values(key).len(), alerts.len(), "{key}");
    }
    let runbooks = values("runbook_url:");
    assert_eq!(runbooks.len(), alerts.len());
    let (_, section) = DOCUMENT.split_once("\n## Alerts\n").unwrap();
    let (section, _) = section.split_once("\n## ").unwrap();
    for (alert, runbook) in alerts.iter().zip(&runbooks) {
        let anchor = alert.to_lowercase();
        assert!(
            runbook.ends_with(&format!("/docs/OPERATIONS.md#{anchor}")),
            "{runbook}"
        );
        let (_, text) = section
            .split_once(&format!("\n### {alert}\n"))
            .expect(alert);
        let text = text.split("\n### ").next().unwrap();
        for word in ["**Means:**", "**Likely:**", "**Do:**"] {
            assert!(text.contains(word), "{alert}: {word}");
        }
        for name in [
            format!("{alert} fires"),
            format!("{alert} does not fire without its cause"),
        ] {
            assert!(RULES_TEST.contains(&name), "{name}");
        }
    }
    assert_eq!(section.matches("\n### ").count(), alerts.len());
}

/// The queries of the dashboard, with its variables filled in.
fn queries() -> Vec<String> {
    fn collect(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(map) => {
                if let Some(Value::String(text)) = map.get("expr") {
                    found.push(text.clone());
                }
                map.values().for_each(|value| collect(value, found));
            }
            Value::Array(list) => list.iter().for_each(|value| collect(value, found)),
            _ => {}
        }
    }
    let dashboard: Value = serde_json::from_str(DASHBOARD).expect("the dashboard is valid JSON");
    let mut found = Vec::new();
    collect(&dashboard["panels"], &mut found);
    let filled = |text: String| {
        text.replace("$__rate_interval", "5s")
            .replace("$job", "ipc-gateway")
            .replace("$instance", ".*")
    };
    found.into_iter().map(filled).collect()
}

#[test]
fn every_query_of_the_rules_and_the_dashboard_asks_for_what_is_exported() {
    let server = Server::start();
    let (_gateway, metrics) = gateway(&server);
    let exported = exported(&metrics);
    let of_rules = named(RULES);
    assert!(of_rules.len() > 15, "{of_rules:?}");
    for name in of_rules {
        assert!(exported.contains(&name), "the rules ask for {name}");
    }
    let queries = queries();
    assert!(queries.len() >= 20, "{}", queries.len());
    for query in &queries {
        let names = named(query);
        assert!(!names.is_empty(), "{query}");
        for name in names {
            assert!(exported.contains(&name), "{query} asks for {name}");
        }
    }
}

fn call(gateway: &Gateway) {
    let mut client = attach(gateway);
    for number in 0..50 {
        let body = decide(&number.to_string(), 64);
        let answer = client.call(Request::to("decide").payload(&body)).unwrap();
        assert_eq!(answer.code(), Code::Ok);
    }
}

#[test]
fn every_query_of_the_dashboard_is_answered_with_classic_and_with_native_histograms() {
    let server = Server::start();
    let _router = Router::start(&server, &[]);
    let (gateway, metrics) = gateway(&server);
    for flags in [&[][..], &["--enable-feature=native-histograms"]] {
        let prometheus = Prometheus::start(&metrics, &fast_rules(), flags);
        eventually("it has scraped", || {
            !prometheus.query("ipcgw_build_info").is_empty()
        });
        call(&gateway);
        let native = "histogram_count(ipcgw_upstream_seconds) >= 50";
        let classic = "ipcgw_upstream_seconds_bucket{le=\"+Inf\"} >= 50";
        let kind = if flags.is_empty() { classic } else { native };
        eventually("the histograms have come", || {
            !prometheus.query(kind).is_empty()
        });
        for query in queries() {
            let answered = || !prometheus.query(&query).is_empty();
            eventually(&query, answered);
        }
        let rules = prometheus.api("rules");
        for rule in rules["groups"][0]["rules"].as_array().unwrap() {
            assert_ne!(rule["health"], "err", "{rule}");
        }
    }
}

#[test]
fn an_alert_fires_when_nats_is_gone_and_resolves_when_it_is_back() {
    let mut server = Server::start();
    let _router = Router::start(&server, &[]);
    let (gateway, metrics) = gateway(&server);
    let prometheus = Prometheus::start(&metrics, &fast_rules(), &[]);
    eventually("it has scraped", || {
        !prometheus.query("ipcgw_nats_connected > 0").is_empty()
    });
    call(&gateway);
    assert!(!is_firing(&prometheus));
    server.kill();
    eventually("the alert fires", || is_firing(&prometheus));
    let firing = prometheus.firing();
    assert!(!firing.contains(&"IpcGatewayDown".to_owned()), "{firing:?}");
    server.restart();
    eventually("the alert resolves", || !is_firing(&prometheus));
    assert!(!prometheus.query("ipcgw_nats_connected > 0").is_empty());
}

fn is_firing(prometheus: &Prometheus) -> bool {
    let firing = prometheus.firing();
    firing.iter().any(|alert| alert == "IpcGatewayNatsDown")
}

#[test]
fn the_scaled_rules_are_rules_and_only_times_have_changed() {
    let dir = tempfile::tempdir().unwrap();
    let fast = fast_rules();
    std::fs::write(dir.path().join("fast.yml"), &fast).unwrap();
    let (content, said) = promtool(dir.path(), &["check", "rules", "fast.yml"]);
    assert!(content, "{said}");
    assert!(fast.contains("for: 500ms") && !fast.contains("[5m]"));
    assert_eq!(fast.lines().count(), RULES.lines().count());
}
