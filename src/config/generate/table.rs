//! The table in `docs/OPERATIONS.md`.

use core::fmt::Write as _;

use super::super::keys::{Absent, Change, Key, SECTIONS, Section};

/// The rows, with their head.
pub(in super::super) fn table() -> String {
    let mut text = "\
| Key | Meaning | Values | Default | Variable `IPC_GATEWAY_`, flag | Live |
|---|---|---|---|---|---|
"
    .to_owned();
    for section in SECTIONS {
        for key in section.keys {
            row(&mut text, section, key);
        }
    }
    text
}

fn row(text: &mut String, section: &Section, key: &Key) {
    let given: Vec<String> = [key.variable, key.flag]
        .into_iter()
        .flatten()
        .map(|name| format!("`{name}`"))
        .collect();
    let default = match key.absent {
        Absent::Default(value) => format!("`{}`", value.replace('|', "\\|")),
        _ => super::absent(key).unwrap_or_default().to_owned(),
    };
    let live = match key.change {
        Change::Live => "yes",
        Change::Restart => "",
    };
    writeln!(
        text,
        "| `{}` | {} | {} | {default} | {} | {live} |",
        section.full(key),
        first_sentence(key.prose),
        super::values(key.kind),
        given.join(", "),
    )
    .ok();
}

fn first_sentence(prose: &str) -> &str {
    match prose.split_once(". ") {
        Some((first, _)) => first,
        None => prose.trim_end_matches('.'),
    }
}
