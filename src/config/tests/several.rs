//! Several things that are wrong are told at once, each at its place.

use super::super::examine::examine;
use super::*;

fn refused(text: &str) -> super::super::Refused {
    let file = (PathBuf::from("test.toml"), text.to_owned());
    let environment = Environment::default();
    examine(&Overrides::default(), &environment, file, &host()).expect_err(text)
}

/// Each message begins and ends as said, and there are no others.
fn says(text: &str, expected: &[(&str, &str)]) {
    let refused = refused(text);
    let messages: Vec<String> = refused.errors().iter().map(ToString::to_string).collect();
    assert_eq!(messages.len(), expected.len(), "{messages:#?}");
    for (message, (start, end)) in messages.iter().zip(expected) {
        assert!(message.starts_with(start), "{message}\n{start}");
        assert!(message.ends_with(end), "{message}\n{end}");
    }
}

#[test]
fn misspelt_words_and_wrong_types_are_told_at_once() {
    says(
        "upstream = 'nuts'\n[nats]\nconections = 2\nname = 7\n[wrokers]\ncount = 1\n",
        &[
            (
                "test.toml:1:12: unknown variant `nuts`",
                "did you mean `nats`?",
            ),
            ("test.toml:3:1: unknown key", "did you mean `connections`?"),
            ("test.toml:4:8: wrong type", "expected a string"),
            ("test.toml:5:2: unknown key", "did you mean `workers`?"),
        ],
    );
    says(
        "urls = ['nats://h']\nbuiltin_routes = false\n",
        &[
            ("test.toml:1:1: unknown key", "did you mean `nats.urls`?"),
            ("test.toml:2:1: ", "did you mean `defaults.builtin_routes`?"),
        ],
    );
    says(
        "[[route]]\nname = 'a'\nsubject = 'b'\nkind = 'streem'\ncontract = 'oppaque'\n",
        &[
            (
                "test.toml:4:8: unknown variant `streem`, expected one of ",
                "`stream`?",
            ),
            (
                "test.toml:5:12: ",
                "expected `opaque` or `router`, did you mean `opaque`?",
            ),
        ],
    );
}

#[test]
fn values_that_are_not_allowed_are_told_at_once() {
    says(
        "[workers]\ncount = 0\nspin = '1h' # long\nburst = 70000\n\
         [control]\nquota = { sessions = 0, memory = '1B', attach_rate = 0 }\n\
         [[route]]\nname = 'a'\nsubject = 'a.*'\ntimeout = '5 parsecs'\n\
         [[policy]]\nuids = [1, 65534]\n",
        &[
            ("test.toml:2:9: workers.count = 0", "from 1 to 64"),
            ("test.toml:3:8: workers.spin", "from 0s to 10ms"),
            ("test.toml:4:9: workers.burst", "from 1 to 65536"),
            (
                "test.toml:6:22: control.quota.sessions = 0",
                "from 1 to 65536",
            ),
            (
                "test.toml:6:34: control.quota.memory",
                "from 1MiB to 1024GiB",
            ),
            (
                "test.toml:6:54: control.quota.attach_rate",
                "from 1 to 1000000",
            ),
            (
                "test.toml:9:11: route.a.subject",
                "is not allowed in a route's subject",
            ),
            (
                "test.toml:10:11: route.a.timeout",
                "such as 250ms, 5s or 1m",
            ),
            (
                "test.toml:12:12: policy[1].uids = 65534",
                "it cannot be allowed",
            ),
        ],
    );
}

#[test]
fn what_follows_from_an_error_is_not_told() {
    says(
        "[[route]]\nname = 'a b'\nsubject = 'x'\n[workers]\nyields = -1\n",
        &[
            ("test.toml:2:8: route.name", "0-9 - _ ."),
            ("test.toml:5:10: workers.yields", "from 0 to 10000"),
        ],
    );
    says(
        "nats.user = 'bob'\n",
        &[("test.toml:1:13: ", "must be given together")],
    );
    says("a = = 1\nb = 2\n", &[("test.toml:1:5: ", "")]);
}

#[test]
fn the_line_is_shown_with_a_mark_unless_it_may_hold_a_secret() {
    let excerpt = |text: &str| {
        let refused = refused(text);
        refused.excerpt(&refused.errors()[0])
    };
    let shown = "  2 | count = 0\n    |         ^".to_owned();
    assert_eq!(excerpt("[workers]\ncount = 0\n"), Some(shown));
    for text in [
        "[nats]\nurls = ['nats://bob:s3cret@h:x']\n",
        "[nats]\ntoken = s3cret\n",
        "[nats]\nconnections = 0\n",
        "nats.password = 7\n",
        "x = 'bob:s3cret@h'\n",
        "pasword = 's3cret'\n[nats]\n",
    ] {
        let shown = excerpt(text).unwrap_or_default();
        assert!(!shown.contains("s3cret"), "{text}\n{shown}");
    }
}
