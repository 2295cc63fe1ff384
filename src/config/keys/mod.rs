//! Every key of the configuration, once: what it is called, what it may be, what it is when it is
//! left out, and what it does. From this table come the commented example, the JSON schema, the
//! table in `docs/OPERATIONS.md`, the suggestions for misspelt keys, and which keys can change while
//! the gateway runs. Tests hold it to the parser in both directions.
//!
//! | file | what it has |
//! |---|---|
//! | `daemon` | the keys of the process: upstream, workers, control, log, tracing |
//! | `nats` | the keys of the connections to NATS, and backpressure |
//! | `routing` | the keys of routes and policies |

mod daemon;
mod nats;
mod routing;

/// What values a key may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Text, of which this is said.
    Text(&'static str),
    /// Text that is never shown.
    Secret,
    /// One of these words.
    Words(&'static [&'static str]),
    /// `true` or `false`.
    Bool,
    /// A whole number from the first to the second.
    Integer(i64, i64),
    /// A number from 0 to 1.
    Ratio,
    /// Permission bits.
    Mode,
    /// A duration from the first to the second.
    Duration(&'static str, &'static str),
    /// A size from the first to the second.
    Size(&'static str, &'static str),
    /// A list of texts, of which this is said.
    Texts(&'static str),
    /// A list of user or group numbers.
    Ids,
}

/// Whether a key can change while the gateway runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// It can.
    Live,
    /// A restart is needed.
    Restart,
}

/// What a key is when it is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Absent {
    /// This value, as it stands in a file.
    Default(&'static str),
    /// It depends; said in words.
    Depends(&'static str),
    /// It must be given.
    Required,
}

/// One key.
#[derive(Clone, Copy, Debug)]
pub(super) struct Key {
    /// The last part of its name.
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) absent: Absent,
    /// A value that it may have, as it stands in a file, where there is no default.
    pub(super) example: &'static str,
    /// The environment variable, without `IPC_GATEWAY_`.
    pub(super) variable: Option<&'static str>,
    pub(super) flag: Option<&'static str>,
    pub(super) change: Change,
    /// What it does. The first sentence stands for itself.
    pub(super) prose: &'static str,
}

impl Key {
    const fn new(name: &'static str, kind: Kind, absent: Absent, prose: &'static str) -> Self {
        Self {
            name,
            kind,
            absent,
            example: "",
            variable: None,
            flag: None,
            change: Change::Restart,
            prose,
        }
    }

    const fn like(mut self, example: &'static str) -> Self {
        self.example = example;
        self
    }

    const fn variable(mut self, name: &'static str) -> Self {
        self.variable = Some(name);
        self
    }

    const fn flag(mut self, name: &'static str) -> Self {
        self.flag = Some(name);
        self
    }

    const fn live(mut self) -> Self {
        self.change = Change::Live;
        self
    }

    /// A value that it may have: the default if there is one.
    pub(super) const fn sample(&self) -> &'static str {
        match self.absent {
            Absent::Default(value) => value,
            _ => self.example,
        }
    }
}

/// Some keys that stand together.
#[derive(Clone, Copy, Debug)]
pub(super) struct Section {
    /// Its full name; empty for the keys before any section.
    pub(super) name: &'static str,
    pub(super) form: Form,
    pub(super) prose: &'static str,
    pub(super) keys: &'static [Key],
}

/// How often a section may stand in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Once: `[section]`.
    Table,
    /// Any number of times: `[[section]]`.
    List,
}

/// All of them, in the order of the example. A section stands after the one that it is in.
pub(super) const SECTIONS: &[Section] = &[
    daemon::TOP,
    nats::NATS,
    nats::TLS,
    nats::BACKPRESSURE,
    daemon::WORKERS,
    daemon::CONTROL,
    daemon::QUOTA,
    daemon::LOG,
    daemon::TRACING,
    daemon::DEFAULTS,
    routing::ROUTE,
    routing::BREAKER,
    routing::POLICY,
    routing::POLICY_QUOTA,
];

impl Section {
    /// The full name of a key: `nats.tls.required`.
    pub(super) fn full(&self, key: &Key) -> String {
        match self.name {
            "" => key.name.to_owned(),
            section => format!("{section}.{}", key.name),
        }
    }

    /// Whether its name is that of another section and one part more.
    pub(super) fn is_in(&self, name: &str) -> bool {
        match self.name.rsplit_once('.') {
            Some((outer, _)) => outer == name,
            None => name.is_empty() && !self.name.is_empty(),
        }
    }

    /// The last part of its name.
    pub(super) fn last(&self) -> &'static str {
        self.name
            .rsplit_once('.')
            .map_or(self.name, |(_, last)| last)
    }
}

/// The section with this name.
pub(super) fn section(name: &str) -> Option<&'static Section> {
    SECTIONS.iter().find(|section| section.name == name)
}

/// The key with this full name.
pub(super) fn find(full: &str) -> Option<&'static Key> {
    let (name, last) = full.rsplit_once('.').unwrap_or(("", full));
    section(name)?.keys.iter().find(|key| key.name == last)
}

/// Whether a key or a section has this as the last part of its name.
pub(super) fn is_known(last: &str) -> bool {
    let mut sections = SECTIONS.iter();
    sections
        .any(|section| section.last() == last || section.keys.iter().any(|key| key.name == last))
}

/// What may stand in a section: its keys, and the sections that are in it.
pub(super) fn names_in(name: &str) -> Vec<&'static str> {
    let keys = section(name).map_or(&[][..], |section| section.keys);
    let inner = SECTIONS.iter().filter(|section| section.is_in(name));
    keys.iter()
        .map(|key| key.name)
        .chain(inner.map(Section::last))
        .collect()
}
