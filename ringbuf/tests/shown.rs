//! Every public item that an application calls is shown by an example, which rustdoc compiles.
//!
//! An item is shown when its documentation has an example, when the example of its type uses it, or
//! when its documentation, or its type's, links to an item whose example does.
//! `an_item_without_an_example_is_found` shows that the check can fail.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// What an application imports, and the file that has it: `lib.rs` and `decide/mod.rs` say the same.
const EXPORTED: &[(&str, &[&str])] = &[
    ("client/builder.rs", &["ClientBuilder"]),
    (
        "client/completion.rs",
        &["Completion", "OwnedCompletion", "Timing"],
    ),
    ("client/error.rs", &["CallError", "SubmitError"]),
    ("client/handle.rs", &["Client"]),
    ("client/loan.rs", &["Loan"]),
    ("client/reattach.rs", &["Reattach"]),
    ("client/request.rs", &["Request", "RouteRef", "Ticket"]),
    ("client/route.rs", &["RouteId"]),
    ("client/shared.rs", &["SharedClient"]),
    ("client/tasks.rs", &["AsyncClient"]),
    ("client/waiting.rs", &["WaitStrategy"]),
    ("client/watched.rs", &["Client"]),
    ("code.rs", &["Code", "Outcome"]),
    ("decide/error.rs", &["DecideError", "Field"]),
    ("decide/format.rs", &["trace_id_of"]),
    ("decide/request.rs", &["Decide", "DecideRequest"]),
    ("decide/task.rs", &["Task"]),
    ("error.rs", &["AttachError", "EndReason"]),
    ("headers.rs", &["HeaderError"]),
    ("layout.rs", &["GeometryError"]),
    ("sys/time.rs", &["monotonic_ns"]),
];

/// Items without an example, and why.
const BARE: &[(&str, &str)] = &[(
    "ClientBuilder::connect_over",
    "for simulations, which hold both ends of a session",
)];

/// A public item: its documentation, and what it belongs to.
struct Item {
    /// `Client::submit`, `Client`.
    path: String,
    docs: String,
}

impl Item {
    fn owner(&self) -> &str {
        self.path.split("::").next().unwrap()
    }

    fn name(&self) -> &str {
        self.path.rsplit("::").next().unwrap()
    }

    /// The lines of its examples.
    fn examples(&self) -> String {
        let parts = self.docs.split("```").skip(1).step_by(2);
        parts.filter(|part| !part.starts_with("text")).collect()
    }

    /// The names of the items that its documentation links to.
    fn links(&self) -> impl Iterator<Item = &str> {
        let links = self.docs.split("[`").skip(1);
        links.filter_map(|link| link.split("`]").next()?.rsplit("::").next())
    }
}

fn is_word_of(text: &str, word: &str) -> bool {
    text.split(|c: char| !c.is_alphanumeric() && c != '_')
        .any(|found| found == word)
}

/// The name that a line declares: of a public type, function or constant.
fn declared(line: &str) -> Option<&str> {
    let mut words = line.strip_prefix("pub ")?.split(' ');
    let constant = line
        .strip_prefix("pub const ")
        .and_then(|rest| rest.split_once(':'));
    if let Some((name, _)) = constant.filter(|(name, _)| !name.contains(['(', ' '])) {
        return Some(name);
    }
    let kind = words.find(|word| !matches!(*word, "const" | "async"))?;
    let name = words
        .next()
        .filter(|_| matches!(kind, "struct" | "enum" | "fn"))?;
    name.split(|c: char| !c.is_alphanumeric() && c != '_')
        .next()
}

/// The type that an inherent `impl` is of.
fn implemented(line: &str) -> Option<&str> {
    let rest = line.strip_prefix("impl")?;
    if line.contains(" for ") {
        return Some("");
    }
    let rest = rest
        .strip_prefix('<')
        .map_or(rest, |generic| generic.split_once('>').unwrap().1);
    rest.trim().split(|c: char| !c.is_alphanumeric()).next()
}

/// The public types, functions and methods of a source file that is formatted.
fn items(source: &str) -> Vec<Item> {
    let (mut found, mut docs) = (Vec::new(), String::new());
    // The innermost `impl` and its indentation.
    let mut inside: Option<(&str, usize)> = None;
    for line in source.lines() {
        let bare = line.trim_start();
        let depth = line.len() - bare.len();
        if let Some(text) = bare.strip_prefix("///") {
            docs.push_str(text);
            docs.push('\n');
            continue;
        }
        if bare == "}" && inside.is_some_and(|(_, at)| at == depth) {
            inside = None;
        } else if let Some(of) = implemented(bare) {
            inside = (!bare.ends_with("{}")).then_some((of, depth));
        } else if let Some(name) = declared(bare) {
            let path = match inside {
                Some((of, _)) => format!("{of}::{name}"),
                None => name.to_owned(),
            };
            let docs = docs.clone();
            found.push(Item { path, docs });
        }
        // Attributes stand between the documentation and what it is of.
        if !bare.starts_with('#') {
            docs.clear();
        }
    }
    found
}

/// The names that an item's documentation links to, and its type's.
fn links_of<'i>(items: &'i [Item], item: &'i Item) -> impl Iterator<Item = &'i str> {
    let owner = items.iter().filter(|other| other.path == item.owner());
    owner.chain(std::iter::once(item)).flat_map(Item::links)
}

/// Which of these items no example shows.
fn bare(items: &[Item]) -> Vec<&str> {
    let examples: BTreeMap<&str, String> = items
        .iter()
        .map(|item| (item.path.as_str(), item.examples()))
        .collect();
    let shows = |owner: &str, name: &str| {
        examples
            .get(owner)
            .is_some_and(|example| is_word_of(example, name))
    };
    let is_shown = |item: &Item| {
        !item.examples().is_empty()
            || shows(item.owner(), item.name())
            || links_of(items, item).any(|link| shows(link, item.name()))
    };
    let bare = items.iter().filter(|item| !is_shown(item));
    bare.map(|item| item.path.as_str()).collect()
}

fn exported() -> Vec<Item> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut all = Vec::new();
    for (file, names) in EXPORTED {
        let source = std::fs::read_to_string(root.join(file)).unwrap();
        let of_these = items(&source)
            .into_iter()
            .filter(|item| names.contains(&item.owner()));
        all.extend(of_these);
    }
    all
}

#[test]
fn every_item_that_an_application_calls_is_shown() {
    let items = exported();
    let known: BTreeSet<&str> = items.iter().map(|item| item.path.as_str()).collect();
    for (_, names) in EXPORTED {
        let gone = names.iter().find(|name| !known.contains(*name));
        assert_eq!(gone, None, "it is where the table says");
    }
    assert!(known.len() > 80, "only {} items", known.len());
    let allowed: Vec<&str> = BARE.iter().map(|(path, _)| *path).collect();
    assert_eq!(
        bare(&items),
        allowed,
        "left: without an example; right: may be without"
    );
}

/// The names between braces, and after the last `::`, of the lines that export something.
fn exports(source: &str) -> BTreeSet<String> {
    let statements = source.split("pub use ").skip(1);
    let lists = statements.filter_map(|rest| rest.split(';').next());
    let names = lists.flat_map(|list| {
        let last = list.rsplit("::").next().unwrap();
        last.split(|c: char| !c.is_alphanumeric() && c != '_')
    });
    names
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect()
}

#[test]
fn the_table_has_what_is_exported() {
    let mut exported = exports(include_str!("../src/lib.rs"));
    exported.extend(exports(include_str!("../src/decide/mod.rs")));
    let names = EXPORTED.iter().flat_map(|(_, names)| names.iter());
    assert_eq!(exported, names.map(|name| (*name).to_owned()).collect());
}

#[test]
fn what_is_not_exported_is_hidden() {
    let source = include_str!("../src/lib.rs");
    let shown: Vec<&str> = source
        .split("pub mod ")
        .collect::<Vec<_>>()
        .windows(2)
        .filter(|pair| {
            let attributes = pair[0].rsplit("\n\n").next().unwrap();
            let own = attributes.rsplit(';').next().unwrap();
            !own.contains("#[doc(hidden)]")
        })
        .filter_map(|pair| pair[1].split(';').next())
        .collect();
    assert_eq!(shown, ["decide"]);
}

#[test]
fn an_item_without_an_example_is_found() {
    let source = "\
/// Docs.
///
/// ```
/// Shown::new().used();
/// ```
#[derive(Debug)]
pub struct Shown;

impl Shown {
    /// Docs.
    pub const fn new() -> Self {
    }

    /// Docs.
    pub fn used(self) {
    }

    /// Docs.
    pub fn unused(self) {
    }

    /// Docs.
    pub const LEFT: usize = 1;
}

impl Marked for Shown {}

impl Default for Shown {
    fn default() -> Self {
    }
}

/// See [`Shown`].
pub struct Other;

/// See [`Other`].
pub fn new() {}
";
    assert_eq!(
        bare(&items(source)),
        ["Shown::unused", "Shown::LEFT", "Other", "new"]
    );
}
