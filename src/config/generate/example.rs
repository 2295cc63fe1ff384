//! The example: a file in which everything is a comment.

use core::fmt::Write as _;

use super::super::keys::{Absent, Change, Form, Key, SECTIONS, Section};

/// Longest line, in bytes.
const WIDTH: usize = 100;

const HEAD: &str = "\
Configuration of ipc-gateway, with every key. Made by: ipc-gateway print-config --default

Lines that begin with `#key` show the default; uncomment to change. Lines that begin with `# key` \
are examples of keys whose default depends on others or on the machine. Routes and policies are \
examples as a whole. Unknown keys are errors.

Durations are a whole number and a unit: ns us ms s m h. Sizes are bytes, or a whole number and a \
unit: B KiB MiB GiB. Flags and environment variables win over this file.

In brackets: what is allowed, the default where it is not shown, variable and flag, and whether the \
key can change while the gateway runs (\"live\": SIGHUP or POST /reload) or needs a restart.

Check a file with: ipc-gateway check-config --config FILE
See what holds with: ipc-gateway print-config --effective --config FILE";

/// The commented example with every key: it changes nothing as it is.
#[must_use]
pub fn example() -> String {
    let mut text = String::new();
    for paragraph in HEAD.split('\n') {
        comment(&mut text, paragraph);
    }
    for section in SECTIONS {
        text.push('\n');
        if !section.prose.is_empty() {
            comment(&mut text, section.prose);
        }
        head(&mut text, section);
        for key in section.keys {
            comment(&mut text, &format!("{} [{}]", key.prose, facts(key)));
            let is_example = is_in_list(section) || matches!(key.absent, Absent::Default(_));
            let mark = if is_example { "#" } else { "# " };
            writeln!(text, "{mark}{} = {}", key.name, key.sample()).ok();
        }
    }
    text
}

fn head(text: &mut String, section: &Section) {
    match (section.name, section.form) {
        ("", _) => Ok(()),
        (name, Form::Table) => writeln!(text, "#[{name}]"),
        (name, Form::List) => writeln!(text, "#[[{name}]]"),
    }
    .ok();
}

/// Whether it stands once for each route or policy.
fn is_in_list(section: &Section) -> bool {
    SECTIONS.iter().any(|outer| {
        outer.form == Form::List && (section.is_in(outer.name) || section.name == outer.name)
    })
}

fn facts(key: &Key) -> String {
    let mut facts = vec![super::values(key.kind)];
    facts.extend(super::absent(key).map(|words| format!("default: {words}")));
    facts.extend(key.variable.map(|name| format!("IPC_GATEWAY_{name}")));
    facts.extend(key.flag.map(str::to_owned));
    facts.push(match key.change {
        Change::Live => "live".to_owned(),
        Change::Restart => "restart".to_owned(),
    });
    facts.join("; ")
}

/// Writes a paragraph as comment lines.
fn comment(text: &mut String, paragraph: &str) {
    let mut line = "#".to_owned();
    for word in paragraph.split_whitespace() {
        if line.len() + 1 + word.len() > WIDTH {
            writeln!(text, "{line}").ok();
            "#".clone_into(&mut line);
        }
        line.push(' ');
        line.push_str(word);
    }
    writeln!(text, "{line}").ok();
}
