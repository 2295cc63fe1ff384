//! The effective configuration with where each value comes from.

use core::fmt::Write as _;
use std::collections::BTreeMap;
use std::env;

use serde_json::{Map, Value, json};

use super::error::Place;
use super::examine::{Refused, examine, file};
use super::keys::{Kind, SECTIONS};
use super::resolve::Config;
use super::source::{Environment, Host, Overrides};
use super::tree::Tree;
use super::units::parse_duration;

/// What is printed has every route, so this key is off there.
const BUILT_IN: &str = "defaults.builtin_routes";

/// A configuration that can be used, and where its values come from.
#[derive(Debug)]
pub struct Effective {
    config: Config,
    /// For each key that somebody gave: where.
    given: BTreeMap<String, Place>,
}

impl Effective {
    /// Reads everything, as [`Config::load`] does.
    ///
    /// # Errors
    /// Everything that is wrong, as far as it can be found at once.
    pub fn load(flags: &Overrides) -> Result<Self, Refused> {
        let environment = Environment::read(|name| env::var_os(name))?;
        let text = file(flags, &environment)?;
        Self::of(flags, &environment, text, &Host::read())
    }

    /// The same from sources that the caller makes up.
    pub(super) fn of(
        flags: &Overrides,
        environment: &Environment,
        file: (std::path::PathBuf, String),
        host: &Host,
    ) -> Result<Self, Refused> {
        let config = examine(flags, environment, file.clone(), host)?;
        let (path, text) = file;
        // The least important source first.
        let leaves = Tree::read(&text).leaves.into_iter();
        let mut given: BTreeMap<String, Place> = leaves
            .map(|leaf| {
                let place = Place::in_file(path.clone(), &text, leaf.value.start);
                (leaf.name, place)
            })
            .collect();
        for section in SECTIONS {
            for key in section.keys {
                let variable = key.variable.and_then(|name| environment.find(name));
                let flag = key.flag.filter(|flag| flags.has(flag)).map(Place::Flag);
                if let Some(place) = flag.or(variable) {
                    given.insert(section.full(key), place);
                }
            }
        }
        let mut this = Self { config, given };
        this.find_credentials(flags, environment, &text);
        Ok(this)
    }

    /// Credentials may stand in the URLs.
    fn find_credentials(&mut self, flags: &Overrides, environment: &Environment, text: &str) {
        let Some(urls) = self.given.get("nats.urls").cloned() else {
            return;
        };
        let is_in_urls = match &urls {
            Place::Flag(_) => flags.nats.iter().any(|url| url.contains('@')),
            Place::Variable(name) => environment
                .get(name)
                .is_some_and(|urls| urls.value.contains('@')),
            Place::File { .. } => {
                let tree = Tree::read(text);
                let mut leaves = tree.leaves.iter();
                let list = leaves.find(|leaf| leaf.name == "nats.urls");
                list.and_then(|leaf| text.get(leaf.value.clone()))
                    .is_some_and(|list| list.contains('@'))
            }
        };
        let keys = ["nats.user", "nats.password", "nats.token"];
        let wins = match urls {
            Place::Flag(_) => true,
            // One source has one kind only: the keys have none then.
            _ => keys.iter().all(|key| {
                let place = self.given.get(*key);
                !matches!(place, Some(Place::Variable(_)))
            }),
        };
        if is_in_urls && wins {
            for key in keys {
                self.given.insert(key.to_owned(), urls.clone());
            }
        }
    }

    /// TOML, with every key and at the end of its line where it comes from. Secrets are masked. It
    /// reads back as the same configuration, except for the secrets.
    #[must_use]
    pub fn to_toml(&self) -> String {
        let text = self.config.to_toml();
        let tree = Tree::read(&text);
        let mut ends: Vec<(usize, String)> = tree
            .leaves
            .iter()
            .map(|leaf| (leaf.value.end, self.origin(&leaf.name)))
            .collect();
        ends.sort_unstable();
        let mut annotated = String::new();
        let mut from = 0;
        for (end, origin) in ends {
            annotated += text.get(from..end).unwrap_or_default();
            write!(annotated, "  # {origin}").ok();
            from = end;
        }
        annotated + text.get(from..).unwrap_or_default()
    }

    /// One JSON object: for each key its value and where it comes from. Durations are also given in
    /// seconds.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let entry = |(name, kind, value): (String, Option<Kind>, toml::Value)| {
            let mut entry = Map::new();
            let mut say = |what: &str, it: Value| drop(entry.insert(what.to_owned(), it));
            if let (Some(Kind::Duration(..)), Some(text)) = (kind, value.as_str())
                && let Ok(duration) = parse_duration(text)
            {
                say("seconds", json!(duration.as_secs_f64()));
            }
            say("value", json!(value));
            match self.given.get(&name) {
                None => say("source", json!("default")),
                Some(place @ Place::File { .. }) => {
                    say("source", json!("file"));
                    say("place", json!(place.to_string()));
                }
                Some(Place::Flag(flag)) => {
                    say("source", json!("flag"));
                    say("place", json!(flag));
                }
                Some(Place::Variable(variable)) => {
                    say("source", json!("environment"));
                    say("place", json!(variable));
                }
            }
            (name, Value::Object(entry))
        };
        let entries = self.config.entries().into_iter();
        let entries = entries.filter(|(name, ..)| name != BUILT_IN).map(entry);
        Value::Object(entries.collect())
    }

    fn origin(&self, name: &str) -> String {
        if name == BUILT_IN {
            return "all routes there are stand below".to_owned();
        }
        match self.given.get(name) {
            None => "default".to_owned(),
            Some(place @ Place::File { .. }) => place.to_string(),
            Some(Place::Flag(flag)) => format!("flag {flag}"),
            Some(Place::Variable(name)) => (*name).to_owned(),
        }
    }
}
