//! What is different between two configurations, key by key, and which keys can change while the
//! gateway runs.

use std::collections::BTreeMap;

use toml::Value;

use super::keys::{self, Kind};
use super::resolve::Config;
use crate::settings::NatsAuth;

/// A key that has another value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The full name of the key, as in `route.decide.timeout`.
    pub key: String,
    /// The same without the name of the route or the number of the policy: `route.timeout`.
    rule: String,
    /// The route that it is about.
    pub route: Option<String>,
    /// Its value before, as it stands in a file; none if it was not there. Secrets are masked.
    pub from: Option<String>,
    /// Its value after.
    pub to: Option<String>,
}

impl Difference {
    /// Whether this key can change while the gateway runs.
    #[must_use]
    pub fn can_be_live(&self) -> bool {
        keys::find(&self.rule).is_some_and(|key| key.change == keys::Change::Live)
    }
}

impl Config {
    /// What is different in `newer`, in the order of the keys' names.
    #[must_use]
    pub fn differences(&self, newer: &Self) -> Vec<Difference> {
        let (before, after) = (self.flat(), newer.flat());
        let mut keys: Vec<&Key> = before.keys().chain(after.keys()).collect();
        keys.sort_unstable();
        keys.dedup();
        let mut found: Vec<Difference> = keys
            .into_iter()
            .filter(|key| before.get(*key) != after.get(*key))
            .map(|key| Difference {
                key: key.name.clone(),
                rule: key.rule.clone(),
                route: key.route.clone(),
                from: before.get(key).map(Value::to_string),
                to: after.get(key).map(Value::to_string),
            })
            .collect();
        let is_auth = |difference: &Difference| difference.key.starts_with("nats.");
        if self.nats.auth != newer.nats.auth && !found.iter().any(is_auth) {
            let key = match newer.nats.auth {
                NatsAuth::Token(_) => "nats.token",
                _ => "nats.password",
            };
            found.push(Difference {
                key: key.to_owned(),
                rule: key.to_owned(),
                route: None,
                from: Some("***".to_owned()),
                to: Some("*** (another)".to_owned()),
            });
        }
        found
    }

    /// Every key in full, what values it may have, and the one that it has; secrets are masked.
    pub(super) fn entries(&self) -> Vec<(String, Option<Kind>, Value)> {
        let entry = |(key, value): (Key, Value)| {
            let kind = keys::find(&key.rule).map(|key| key.kind);
            (key.name, kind, value)
        };
        self.flat().into_iter().map(entry).collect()
    }

    /// Every key with its value.
    fn flat(&self) -> BTreeMap<Key, Value> {
        let mut flat = BTreeMap::new();
        for (key, value) in self.document() {
            flatten(Key::new(key), value, &mut flat);
        }
        flat
    }
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    name: String,
    rule: String,
    route: Option<String>,
}

impl Key {
    fn new(name: String) -> Self {
        Self {
            rule: name.clone(),
            name,
            route: None,
        }
    }

    fn below(&self, part: &str) -> Self {
        Self {
            name: format!("{}.{part}", self.name),
            rule: format!("{}.{part}", self.rule),
            route: self.route.clone(),
        }
    }

    /// One of several, which has a name if it is a route.
    fn item(&self, number: u32, name: Option<&str>) -> Self {
        Self {
            name: match name {
                Some(name) => format!("{}.{name}", self.name),
                None => format!("{}[{number}]", self.name),
            },
            rule: self.rule.clone(),
            route: name.map(str::to_owned),
        }
    }
}

fn flatten(key: Key, value: Value, flat: &mut BTreeMap<Key, Value>) {
    match value {
        Value::Table(table) => {
            for (part, value) in table {
                flatten(key.below(&part), value, flat);
            }
        }
        Value::Array(items) if items.iter().any(Value::is_table) => {
            for (item, number) in items.into_iter().zip(1_u32..) {
                let name = item.get("name").and_then(Value::as_str);
                let key = key.item(number, name);
                flatten(key, item, flat);
            }
        }
        value => drop(flat.insert(key, value)),
    }
}
