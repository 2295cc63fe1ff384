//! `/metrics` of the real binary, and the document that lists what is there.

use std::collections::{BTreeMap, BTreeSet};

use ipc_gateway::clock::unix_seconds;
use ipc_ringbuf::{Code, Request};
use prometheus_client::encoding::prometheus_protobuf::prometheus_data_model::{
    Histogram, MetricFamily, MetricType,
};
use prost::Message as _;

use crate::support::admin::{fetch, get, metric};
use crate::support::decide;
use crate::support::eventually;
use crate::support::gateway::{Gateway, attach, connected, connected_as};
use crate::support::openmetrics::{self, Family};
use crate::support::router::Router;
use crate::support::server::Server;

/// Labels that may occur. None of them is a client's, a user's or a request's.
const LABELS: &[&str] = &[
    "code",
    "errno",
    "kind",
    "outcome",
    "reason",
    "resource",
    "result",
    "revision",
    "route",
    "understood",
    "version",
    "worker",
];
/// Series of a gateway with one route and one worker, with room for a few more.
const MOST_SERIES: usize = 500;
/// What Prometheus sends when it takes native histograms.
const PROTOBUF: &str = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;\
                        encoding=delimited,application/openmetrics-text;version=1.0.0;q=0.8";
const STAGES: [&str; 4] = ["ring_wait", "publish", "upstream", "deliver"];

/// A line of the document's table, or what would be one for a family that is exported.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Row {
    name: String,
    labels: BTreeSet<String>,
    kind: String,
    unit: String,
}

fn documented() -> BTreeSet<Row> {
    let document = include_str!("../docs/OPERATIONS.md").lines();
    let rows = document.filter(|line| line.starts_with("| `ipcgw_"));
    // Only a gateway that counts it knows.
    let rows = rows.filter(|line| cfg!(feature = "counted") || !line.contains("`counted`"));
    let rows = rows.map(|row| {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        assert_eq!(cells.len(), 4, "{row}: name, type, unit, meaning");
        let (name, kind, unit, meaning) = (cells[0], cells[1], cells[2], cells[3]);
        assert!(meaning.len() > 3, "{row}");
        let name = name.trim_matches('`');
        let (name, labels) = name.split_once('{').unwrap_or((name, ""));
        let labels = labels.trim_end_matches('}').split(',');
        Row {
            name: name.to_owned(),
            labels: labels
                .filter(|label| !label.is_empty())
                .map(str::to_owned)
                .collect(),
            kind: kind.to_owned(),
            unit: unit.to_owned(),
        }
    });
    rows.collect()
}

fn exported(families: &[Family]) -> BTreeSet<Row> {
    let rows = families.iter().map(|family| {
        let suffix = match family.kind.as_str() {
            "counter" => "_total",
            "info" => "_info",
            _ => "",
        };
        assert!(!family.samples.is_empty(), "{}", family.name);
        let labels = |sample: &openmetrics::Sample| -> BTreeSet<String> {
            let labels = sample.labels.keys().filter(|label| *label != "le");
            labels.cloned().collect()
        };
        let first = labels(&family.samples[0]);
        for sample in &family.samples {
            assert!(sample.value >= 0.0, "{}", sample.name);
            assert_eq!(labels(sample), first, "{}", sample.name);
        }
        Row {
            name: format!("{}{suffix}", family.name),
            labels: first,
            kind: family.kind.clone(),
            unit: if family.unit.is_empty() {
                "1".to_owned()
            } else {
                family.unit.clone()
            },
        }
    });
    rows.collect()
}

/// A gateway that has answered requests and rejected one.
fn after_traffic(server: &Server) -> Gateway {
    let _router = Router::start(server, &[]);
    let gateway = connected(server);
    let mut client = attach(&gateway);
    for number in 0..20 {
        let body = decide(&number.to_string(), 64);
        let answer = client.call(Request::to("decide").payload(&body)).unwrap();
        assert_eq!(answer.code(), Code::Ok);
    }
    let reserved = Request::to("decide").header("ipcgw-x", "1").payload(b"x");
    assert_eq!(client.call(reserved).unwrap().code(), Code::BadHeader);
    gateway
}

#[test]
fn every_family_is_documented_and_every_documented_family_is_exported() {
    let server = Server::start();
    let gateway = after_traffic(&server);
    let (status, text) = get(&gateway, "/metrics");
    assert_eq!(status, 200);
    let (exported, documented) = (exported(&openmetrics::parse(&text)), documented());
    let undocumented: Vec<_> = exported.difference(&documented).collect();
    let missing: Vec<_> = documented.difference(&exported).collect();
    assert!(
        undocumented.is_empty() && missing.is_empty(),
        "exported and not in docs/OPERATIONS.md: {undocumented:#?}\n\
         in docs/OPERATIONS.md and not exported: {missing:#?}"
    );
}

#[test]
fn when_it_began_and_the_connections_that_are_wanted_are_said() {
    let server = Server::start();
    let before = unix_seconds();
    let gateway = connected_as("[nats]\nconnections = 3\n", &server);
    let began = metric(&gateway, "ipcgw_start_time_seconds", "");
    assert!((before..=unix_seconds()).contains(&began), "{began}");
    assert_eq!(metric(&gateway, "ipcgw_nats_configured", ""), 3);
    eventually("all are up", || {
        metric(&gateway, "ipcgw_nats_connected", "") == 3
    });
    assert_eq!(metric(&gateway, "ipcgw_start_time_seconds", ""), began);
}

#[test]
fn names_have_base_units_and_series_do_not_depend_on_clients() {
    let server = Server::start();
    let gateway = after_traffic(&server);
    let series = |gateway: &Gateway| -> BTreeSet<String> {
        let families = openmetrics::parse(&get(gateway, "/metrics").1);
        let samples = families.into_iter().flat_map(|family| family.samples);
        samples
            .map(|sample| format!("{} {:?}", sample.name, sample.labels))
            .collect()
    };
    for row in exported(&openmetrics::parse(&get(&gateway, "/metrics").1)) {
        let base = ["1", "seconds", "bytes"].contains(&row.unit.as_str());
        assert!(base, "{row:?}");
        let derived = ["_ms", "_ns", "_us", "_milliseconds", "_kib", "_percent"];
        assert!(
            !derived.iter().any(|unit| row.name.contains(unit)),
            "{row:?}"
        );
        assert_eq!(
            row.name.contains("_seconds"),
            row.unit == "seconds",
            "{row:?}"
        );
        assert_eq!(row.name.contains("_bytes"), row.unit == "bytes", "{row:?}");
        for label in &row.labels {
            assert!(LABELS.contains(&label.as_str()), "{row:?}");
        }
    }
    let before = series(&gateway);
    assert!(before.len() < MOST_SERIES, "{}", before.len());
    let clients: Vec<_> = (0..20).map(|_| attach(&gateway)).collect();
    drop(clients);
    assert_eq!(series(&gateway), before);
}

#[test]
fn each_stage_of_an_answered_request_is_counted_and_together_they_last_as_long_as_it_did() {
    let server = Server::start();
    let gateway = after_traffic(&server);
    let families = openmetrics::parse(&get(&gateway, "/metrics").1);
    let value = |name: &str| {
        let samples = families.iter().flat_map(|family| &family.samples);
        let found = samples.filter(|sample| sample.name == format!("ipcgw_{name}"));
        found.map(|sample| sample.value).next().expect(name)
    };
    for stage in STAGES {
        let count = value(&format!("{stage}_seconds_count"));
        assert!(count >= 20.0, "{stage}: {count}");
    }
    // Acceptance to completion: the stages but the first, for those that were answered.
    let stages = value("publish_seconds_sum") + value("upstream_seconds_sum");
    let stages = stages + value("deliver_seconds_sum");
    let whole = value("completion_seconds_sum");
    assert!(stages <= whole * 1.01, "{stages} of {whole}");
    assert!(value("upstream_seconds_sum") > 0.0);
}

/// The families of the protobuf format, by name.
fn protobuf(gateway: &Gateway) -> BTreeMap<String, MetricFamily> {
    let (head, body) = fetch(gateway, "/metrics", &[("Accept", PROTOBUF)]);
    assert!(head.contains("application/vnd.google.protobuf"), "{head}");
    let mut rest = &body[..];
    let mut families = BTreeMap::new();
    while !rest.is_empty() {
        let family = MetricFamily::decode_length_delimited(&mut rest).unwrap();
        families.insert(family.name.clone(), family);
    }
    families
}

/// The native buckets, by index, from spans and differences as the format has them.
fn native(histogram: &Histogram) -> BTreeMap<i32, i64> {
    let (mut index, mut count) = (0, 0);
    let mut deltas = histogram.positive_delta.iter();
    let mut buckets = BTreeMap::new();
    for span in &histogram.positive_span {
        index += span.offset;
        for _ in 0..span.length {
            count += deltas.next().unwrap();
            assert!(count >= 0);
            buckets.insert(index, count);
            index += 1;
        }
    }
    assert!(deltas.next().is_none());
    buckets
}

#[test]
fn a_scraper_that_asks_for_protobuf_gets_native_histograms() {
    let server = Server::start();
    let gateway = after_traffic(&server);
    let families = protobuf(&gateway);
    let text = openmetrics::parse(&get(&gateway, "/metrics").1);
    // The same families in both formats.
    let names: BTreeSet<String> = exported(&text).into_iter().map(|row| row.name).collect();
    assert_eq!(families.keys().cloned().collect::<BTreeSet<_>>(), names);
    for stage in STAGES.into_iter().chain(["completion"]) {
        let family = &families[&format!("ipcgw_{stage}_seconds")];
        assert_eq!(family.r#type(), MetricType::Histogram);
        let histogram = family.metric[0].histogram.as_ref().unwrap();
        assert!(histogram.sample_count >= 20, "{stage}");
        assert_eq!(histogram.schema, 2, "{stage}");
        let buckets = native(histogram);
        let counted: i64 = buckets.values().sum();
        let counted = u64::try_from(counted).unwrap() + histogram.zero_count;
        assert_eq!(counted, histogram.sample_count, "{stage}");
        // The sum lies between what the buckets' lower and upper bounds allow.
        let sum = |shift: i32| -> f64 {
            let each = buckets.iter();
            let each = each.map(|(&index, &count)| {
                f64::from(i32::try_from(count).unwrap()) * (f64::from(index - shift) / 4.0).exp2()
            });
            each.sum()
        };
        let zeros = f64::from(u32::try_from(histogram.zero_count).unwrap());
        let most = zeros.mul_add(histogram.zero_threshold, sum(0));
        let range = sum(1) * 0.999..=most * 1.001;
        assert!(
            range.contains(&histogram.sample_sum),
            "{stage} {histogram:?}"
        );
        let last = histogram.bucket.last().unwrap();
        assert!(last.upper_bound.is_infinite());
        assert_eq!(last.cumulative_count, histogram.sample_count, "{stage}");
    }
    let (head, _) = fetch(&gateway, "/metrics", &[("Accept", "text/plain")]);
    assert!(head.contains("application/openmetrics-text"), "{head}");
}
