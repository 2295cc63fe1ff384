//! A strict reader of the OpenMetrics text format: what breaks its rules fails the test.

use std::collections::{BTreeMap, BTreeSet};

/// The samples that belong to one `# TYPE` line.
pub(crate) struct Family {
    pub(crate) name: String,
    pub(crate) kind: String,
    /// Empty when there is none.
    pub(crate) unit: String,
    pub(crate) samples: Vec<Sample>,
}

pub(crate) struct Sample {
    pub(crate) name: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) value: f64,
}

pub(crate) fn parse(text: &str) -> Vec<Family> {
    let body = text
        .strip_suffix("# EOF\n")
        .expect("the text ends with EOF");
    let mut families: Vec<Family> = Vec::new();
    let mut names = BTreeSet::new();
    for line in body.lines() {
        if let Some(rest) = line.strip_prefix("# ") {
            let (word, rest) = rest.split_once(' ').unwrap();
            let (name, rest) = rest.split_once(' ').unwrap();
            assert!(matches!(word, "HELP" | "TYPE" | "UNIT"), "{line}");
            if word == "UNIT" {
                assert!(name.ends_with(&format!("_{rest}")), "{line}");
            }
            if names.insert(name.to_owned()) {
                families.push(Family {
                    name: name.to_owned(),
                    kind: String::new(),
                    unit: String::new(),
                    samples: Vec::new(),
                });
            }
            let family = families.last_mut().unwrap();
            assert_eq!(family.name, name, "families are not mixed: {line}");
            match word {
                "TYPE" => rest.clone_into(&mut family.kind),
                "UNIT" => rest.clone_into(&mut family.unit),
                _ => {}
            }
            continue;
        }
        let sample = sample(line);
        let family = families.last_mut().expect("a family comes first");
        let suffix = sample.name.strip_prefix(&family.name);
        let is_right = match family.kind.as_str() {
            "counter" => suffix == Some("_total"),
            "gauge" => suffix == Some(""),
            "info" => suffix == Some("_info"),
            "histogram" => matches!(suffix, Some("_bucket" | "_count" | "_sum")),
            other => unreachable!("{other}"),
        };
        assert!(is_right, "{line} in {} {}", family.kind, family.name);
        family.samples.push(sample);
    }
    for family in families.iter().filter(|family| family.kind == "histogram") {
        check_histogram(family);
    }
    families
}

fn sample(line: &str) -> Sample {
    let (series, value) = line.rsplit_once(' ').unwrap();
    let (name, labels) = match series.split_once('{') {
        Some((name, labels)) => (name, labels.strip_suffix('}').unwrap()),
        None => (series, ""),
    };
    let is_plain = |c: char| c.is_ascii_lowercase() || c == '_';
    assert!(name.chars().all(is_plain), "{line}");
    let labels = labels.split(',').filter(|label| !label.is_empty());
    let labels = labels.map(|label| {
        let (key, value) = label.split_once("=\"").unwrap();
        assert!(key.chars().all(is_plain), "{line}");
        (key.to_owned(), value.strip_suffix('"').unwrap().to_owned())
    });
    Sample {
        name: name.to_owned(),
        labels: labels.collect(),
        value: value.parse().unwrap(),
    }
}

/// Bounds grow, counts are cumulative, and the last bucket holds everything.
fn check_histogram(family: &Family) {
    let last = |suffix| {
        let name = format!("{}{suffix}", family.name);
        let found = family.samples.iter().filter(move |s| s.name == name);
        found.map(|s| (s.labels.get("le").cloned(), s.value))
    };
    let buckets: Vec<(f64, f64)> = last("_bucket")
        .map(|(bound, count)| {
            (
                bound.unwrap().replace("+Inf", "inf").parse().unwrap(),
                count,
            )
        })
        .collect();
    for pair in buckets.windows(2) {
        assert!(pair[0].0 < pair[1].0 && pair[0].1 <= pair[1].1, "{pair:?}");
    }
    let (bound, count) = buckets.last().unwrap();
    assert!(bound.is_infinite(), "{}", family.name);
    let counts: Vec<f64> = last("_count").map(|(_, count)| count).collect();
    assert_eq!(counts, [*count]);
    assert_eq!(last("_sum").count(), 1);
}
