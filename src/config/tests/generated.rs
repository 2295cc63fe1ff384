//! The table of keys, the parser and the documents say the same.

use std::collections::BTreeSet;
use std::path::Path;

use super::super::generate::{example, schema, table};
use super::super::keys::{Absent, Form, Key, Kind, SECTIONS, Section, names_in};
use super::super::units::{parse_duration, parse_size};
use super::*;

/// The file with this name in `docs` holds `made` between these marks, or as a whole. With
/// `IPCGW_WRITE=1` it is written.
fn holds(name: &str, made: &str, marks: Option<(&str, &str)>) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("docs")
        .join(name);
    let text = std::fs::read_to_string(&path).unwrap_or_default();
    let (before, now, after) = match marks {
        None => ("", text.as_str(), ""),
        Some((begin, end)) => {
            let (before, rest) = text.split_once(begin).unwrap();
            let (now, _) = rest.split_once(end).unwrap();
            let before = &text[..before.len() + begin.len()];
            (before, now, &text[before.len() + now.len()..])
        }
    };
    if now == made {
        return;
    }
    if std::env::var_os("IPCGW_WRITE").is_some_and(|value| value == "1") {
        std::fs::write(&path, [before, made, after].concat()).unwrap();
        return;
    }
    panic!("docs/{name} is not what the code makes: run this test with IPCGW_WRITE=1");
}

#[test]
fn the_documents_are_what_the_code_makes() {
    holds("config.example.toml", &example(), None);
    holds("config.schema.json", &schema().unwrap(), None);
    let marks = ("<!-- keys -->\n\n", "<!-- end of keys -->");
    holds("OPERATIONS.md", &(table() + "\n"), Some(marks));
}

/// A file with one key.
fn file(section: &Section, key: &Key, value: &str) -> String {
    let list = |name: &str| format!("[[{name}]]\n");
    let head = match section.name {
        "" => String::new(),
        // What a route must have.
        "route" if key.name == "name" => list("route") + "subject = 'a'\n",
        "route" if key.name == "subject" => list("route") + "name = 'a'\n",
        "route" => list("route") + "name = 'a'\nsubject = 'a'\n",
        "route.breaker" => list("route") + "name = 'a'\nsubject = 'a'\n[route.breaker]\n",
        "policy.quota" => list("policy") + "[policy.quota]\n",
        name if section.form == Form::List => list(name),
        name => format!("[{name}]\n"),
    };
    let with = match (section.name, key.name) {
        ("nats", "user") => "password = 'x'\n",
        ("nats", "password") => "user = 'x'\n",
        ("nats", "reconnect_max") => "reconnect_min = '1ms'\n",
        ("nats.tls", "cert_file") => "key_file = '/x'\n",
        ("nats.tls", "key_file") => "cert_file = '/x'\n",
        ("route", "timeout") => "max_timeout = '1h'\n",
        ("route.breaker", "max_open_time") => "open_time = '10ms'\n",
        _ => "",
    };
    format!("{head}{with}{} = {value}\n", key.name)
}

fn each_key() -> impl Iterator<Item = (&'static Section, &'static Key)> {
    let keys = |section: &'static Section| section.keys.iter().map(move |key| (section, key));
    SECTIONS.iter().flat_map(keys)
}

#[test]
fn the_parser_takes_every_key_of_the_table() {
    for (section, key) in each_key() {
        if section.full(key) == "tracing.endpoint" && !cfg!(feature = "otel") {
            let text = file(section, key, key.sample());
            assert!(refusal(&text).contains("--features otel"));
            continue;
        }
        let text = file(section, key, key.sample());
        parse(&text).unwrap_or_else(|error| panic!("{text}\n{error}"));
    }
}

#[test]
fn the_table_has_every_key_of_the_parser() {
    for section in SECTIONS {
        let nonsense = Key {
            name: "no_such_key",
            ..each_key().next().map(|(_, key)| *key).unwrap()
        };
        let text = file(section, &nonsense, "1");
        let error = toml::from_str::<super::super::raw::RawConfig>(&text).unwrap_err();
        // serde's wording: unknown field `x`, expected one of `a`, `b`
        let known: BTreeSet<&str> = error.message().split('`').skip(3).step_by(2).collect();
        let table: BTreeSet<&str> = names_in(section.name).into_iter().collect();
        assert_eq!(known, table, "[{}]: {error}", section.name);
    }
}

#[test]
fn ranges_and_words_are_those_of_the_parser() {
    for (section, key) in each_key() {
        let (good, bad, rule) = match key.kind {
            Kind::Integer(least, most) => (
                vec![least.to_string(), most.to_string()],
                vec![(least - 1).to_string(), (most + 1).to_string()],
                format!("must be from {least} to {most}"),
            ),
            Kind::Duration(least, most) => {
                let nanos = |text| parse_duration(text).unwrap().as_nanos();
                let mut bad = vec![format!("'{}ns'", nanos(most) + 1)];
                bad.extend((nanos(least) > 0).then(|| format!("'{}ns'", nanos(least) - 1)));
                (
                    vec![format!("'{least}'"), format!("'{most}'")],
                    bad,
                    "must be from ".to_owned(),
                )
            }
            Kind::Size(least, most) => {
                let bytes = |text| parse_size(text).unwrap();
                (
                    vec![format!("'{least}'"), format!("'{most}'")],
                    vec![
                        (bytes(least) - 1).to_string(),
                        (bytes(most) + 1).to_string(),
                    ],
                    format!("must be from {least} to {most}"),
                )
            }
            Kind::Ratio => (
                ["0", "1", "0.5"].map(str::to_owned).to_vec(),
                ["-0.1", "1.1", "nan"].map(str::to_owned).to_vec(),
                "must be from 0.0 to 1.0".to_owned(),
            ),
            Kind::Words(words) => (
                Vec::new(),
                vec![format!("'{}x'", words[0])],
                format!("did you mean `{}`?", words[0]),
            ),
            _ => continue,
        };
        for value in good {
            let text = file(section, key, &value);
            parse(&text).unwrap_or_else(|error| panic!("{text}\n{error}"));
        }
        for value in bad {
            let text = file(section, key, &value);
            let message = refusal(&text);
            assert!(message.contains(&rule), "{text}\n{message}\n{rule}");
        }
    }
}

#[test]
fn the_schema_takes_the_example_with_every_line_switched_on() {
    let every_line: String = example()
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(rest) if is_toml(rest.trim_start()) => format!("{}\n", rest.trim_start()),
            _ => format!("{line}\n"),
        })
        .collect();
    let document: toml::Table = toml::from_str(&every_line).unwrap();
    for (section, key) in each_key() {
        let at = section.name.split('.').chain([key.name]);
        let value = at.filter(|part| !part.is_empty()).try_fold(
            toml::Value::Table(document.clone()),
            |value, part| match value {
                toml::Value::Array(items) => items[0].get(part).cloned(),
                value => value.get(part).cloned(),
            },
        );
        assert!(
            value.is_some(),
            "{} is not in the example",
            section.full(key)
        );
    }
    let mut wrong = document.clone();
    wrong.insert("nonsense".to_owned(), 1.into());
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("schema"), schema().unwrap()).unwrap();
    let setup = concat!(env!("CARGO_MANIFEST_DIR"), "/tools/setup.sh");
    let setup = std::process::Command::new(setup)
        .arg("--python")
        .output()
        .unwrap();
    assert!(setup.status.success(), "{setup:?}");
    let setup = String::from_utf8(setup.stdout).unwrap();
    let python = setup.lines().last().unwrap();
    let check = |document: &toml::Table| {
        let path = dir.path().join("document");
        std::fs::write(path, serde_json::to_string(document).unwrap()).unwrap();
        let program = "import json,jsonschema\n\
             s=json.load(open('schema'))\n\
             jsonschema.Draft202012Validator.check_schema(s)\n\
             jsonschema.Draft202012Validator(s).validate(json.load(open('document')))\n";
        std::process::Command::new(python)
            .args(["-c", program])
            .current_dir(dir.path())
            .output()
            .unwrap()
    };
    let output = check(&document);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let output = check(&wrong);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("nonsense"), "{said}");
}

/// Whether a comment is a section or a key with a value, and no prose.
fn is_toml(text: &str) -> bool {
    let key = text.split_once(" = ").map(|(key, _)| key);
    text.starts_with('[') || key.is_some_and(|key| each_key().any(|(_, known)| known.name == key))
}

#[test]
fn a_key_without_a_default_has_an_example_and_one_with_a_default_has_none() {
    for (section, key) in each_key() {
        let has_default = matches!(key.absent, Absent::Default(_));
        assert_eq!(key.example.is_empty(), has_default, "{}", section.full(key));
        assert!(key.prose.ends_with('.'), "{}", section.full(key));
    }
}
