//! The file as a tree: which known keys stand where, and everything that is wrong with its words.
//!
//! The parser proper ([`super::raw`]) ends at the first thing that it does not know. This one goes
//! on, with the table of keys at hand.

use core::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::nearest;
use super::keys::{self, Form, Key, Kind, SECTIONS, Section};

/// A known key in the file.
#[derive(Clone, Debug)]
pub(super) struct Leaf {
    /// Its full name: `nats.urls`, `route.audit.timeout`, `policy[1].uids`.
    pub(super) name: String,
    pub(super) key: &'static Key,
    /// Bytes of the value.
    pub(super) value: Range<usize>,
}

/// Something that is wrong.
#[derive(Clone, Debug)]
pub(super) struct Fault {
    /// Where, in bytes.
    pub(super) at: usize,
    pub(super) what: What,
}

#[derive(Clone, Debug)]
pub(super) enum What {
    /// Not TOML, or not the right type or word.
    Wrong(String),
    /// A key that is not known, and one that was probably meant.
    Unknown(String, Option<String>),
}

/// What a file holds.
#[derive(Clone, Debug, Default)]
pub(super) struct Tree {
    pub(super) leaves: Vec<Leaf>,
    pub(super) faults: Vec<Fault>,
}

impl Tree {
    /// Reads as much as can be read.
    pub(super) fn read(text: &str) -> Self {
        let mut tree = Self::default();
        let (table, errors) = DeTable::parse_recoverable(text);
        for error in errors {
            tree.faults.push(Fault {
                at: error.span().map_or(0, |span| span.start),
                what: What::Wrong(error.message().lines().collect::<Vec<_>>().join(", ")),
            });
        }
        if !tree.faults.is_empty() {
            // What is made of the rest is a guess; one of these a line is enough.
            let line =
                |fault: &mut Fault| text.get(..fault.at).map_or(0, |t| t.matches('\n').count());
            tree.faults.sort_by_key(|fault| fault.at);
            tree.faults.dedup_by_key(line);
            return tree;
        }
        if let Some(top) = keys::section("") {
            tree.walk(table.get_ref(), top, "");
        }
        tree.faults.sort_by_key(|fault| fault.at);
        tree
    }

    /// `label` is the section's name with those of routes in it.
    fn walk(&mut self, table: &DeTable<'_>, section: &'static Section, label: &str) {
        for (name, value) in table {
            let word: &str = name.get_ref();
            let full = join(label, word);
            if let Some(key) = section.keys.iter().find(|key| key.name == word) {
                self.check(key, value);
                self.leaves.push(Leaf {
                    name: full,
                    key,
                    value: value.span(),
                });
                continue;
            }
            let mut inner = SECTIONS.iter().filter(|inner| inner.is_in(section.name));
            match inner.find(|inner| inner.last() == word) {
                Some(inner) => self.descend(value, inner, &full),
                None => self.faults.push(Fault {
                    at: name.span().start,
                    what: What::Unknown(word.to_owned(), meant(word, section)),
                }),
            }
        }
    }

    fn descend(&mut self, value: &Spanned<DeValue<'_>>, section: &'static Section, label: &str) {
        match (section.form, value.get_ref()) {
            (Form::Table, DeValue::Table(table)) => self.walk(table, section, label),
            (Form::List, DeValue::Array(items)) => {
                for (item, number) in items.iter().zip(1_u32..) {
                    let DeValue::Table(table) = item.get_ref() else {
                        self.wrong(item, "wrong type, expected a section");
                        continue;
                    };
                    let name = table.get("name").and_then(|name| name.get_ref().as_str());
                    // A policy has no name.
                    let label = match name.filter(|_| section.name == "route") {
                        Some(name) => format!("{label}.{name}"),
                        None => format!("{label}[{number}]"),
                    };
                    self.walk(table, section, &label);
                }
            }
            (Form::Table, _) => self.wrong(value, "wrong type, expected a section"),
            (Form::List, _) => {
                let head = section.name;
                self.wrong(value, format!("wrong type, expected sections [[{head}]]"));
            }
        }
    }

    fn check(&mut self, key: &Key, value: &Spanned<DeValue<'_>>) {
        let it = value.get_ref();
        match key.kind {
            Kind::Words(words) => match it.as_str() {
                Some(word) if !words.contains(&word) => {
                    let known: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
                    let known = match known.as_slice() {
                        [first, second] => format!("{first} or {second}"),
                        all => format!("one of {}", all.join(", ")),
                    };
                    let meant = nearest(word, words)
                        .map_or_else(String::new, |meant| format!(", did you mean `{meant}`?"));
                    let text = format!("unknown variant `{word}`, expected {known}{meant}");
                    self.wrong(value, text);
                }
                Some(_) => {}
                None => self.wrong(value, "wrong type, expected a string"),
            },
            Kind::Text(_) | Kind::Duration(..) if !it.is_str() => {
                self.wrong(value, "wrong type, expected a string");
            }
            Kind::Secret if !it.is_str() => self.wrong(value, "a secret must be a string"),
            Kind::Bool if !it.is_bool() => self.wrong(value, "wrong type, expected true or false"),
            Kind::Ratio if !it.is_float() && !it.is_integer() => {
                self.wrong(value, "wrong type, expected a number");
            }
            Kind::Integer(..) | Kind::Mode if !it.is_integer() => {
                self.wrong(value, "wrong type, expected a whole number");
            }
            Kind::Size(..) if !it.is_integer() && !it.is_str() => {
                let expected = "expected a size: bytes as an integer, or text such as \"64KiB\"";
                self.wrong(value, expected);
            }
            Kind::Texts(_) | Kind::Ids => match it.as_array() {
                None => self.wrong(value, "wrong type, expected a list"),
                Some(items) => {
                    let is_text = matches!(key.kind, Kind::Texts(_));
                    for item in items.iter() {
                        match item.get_ref() {
                            DeValue::String(_) if is_text => {}
                            DeValue::Integer(_) if !is_text => {}
                            _ if is_text => self.wrong(item, "wrong type, expected a string"),
                            _ => self.wrong(item, "wrong type, expected a whole number"),
                        }
                    }
                }
            },
            _ => {}
        }
    }

    fn wrong(&mut self, value: &Spanned<DeValue<'_>>, text: impl Into<String>) {
        self.faults.push(Fault {
            at: value.span().start,
            what: What::Wrong(text.into()),
        });
    }
}

fn join(label: &str, name: &str) -> String {
    match label {
        "" => name.to_owned(),
        label => format!("{label}.{name}"),
    }
}

/// What was probably meant by a word in a section: something that stands there, or a key of another
/// section.
fn meant(word: &str, section: &Section) -> Option<String> {
    let near = nearest(word, &keys::names_in(section.name));
    near.or_else(|| {
        let mut others = SECTIONS.iter().filter(|other| other.form == Form::Table);
        others.find_map(|other| {
            let key = other.keys.iter().find(|key| key.name == word)?;
            Some(other.full(key))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(text: &str) -> Vec<String> {
        let faults = Tree::read(text).faults;
        faults
            .into_iter()
            .map(|fault| format!("{} {:?}", fault.at, fault.what))
            .collect()
    }

    #[test]
    fn everything_that_is_wrong_is_found_at_once() {
        let text = "[nats]\nconections = 2\nname = 3\n[[route]]\nname = 'a'\nkind = 'streem'\n\
                    [[policy]]\nuids = ['x']\nurls = []\n";
        let found = faults(text);
        for (found, words) in found.iter().zip([
            "Unknown(\"conections\", Some(\"connections\"))",
            "expected a string",
            "did you mean `stream`?",
            "expected a whole number",
            "Some(\"nats.urls\")",
        ]) {
            assert!(found.contains(words), "{found}");
        }
        assert_eq!(found.len(), 5, "{found:?}");
        assert_eq!(faults("a = = 1\nb = 'x\n").len(), 2);
    }

    #[test]
    fn keys_have_the_names_of_their_routes() {
        let text = "upstream = 'nats'\nnats.tls.required = true\n[[route]]\nname = 'a.b'\n\
                    breaker = { probes = 3 }\n[[policy]]\n[[policy]]\nquota.sessions = 1\n";
        let tree = Tree::read(text);
        let mut names: Vec<&str> = tree.leaves.iter().map(|leaf| leaf.name.as_str()).collect();
        names.sort_unstable();
        let expected = [
            "nats.tls.required",
            "policy[2].quota.sessions",
            "route.a.b.breaker.probes",
            "route.a.b.name",
            "upstream",
        ];
        assert_eq!(names, expected);
        assert!(tree.faults.is_empty());
    }
}
