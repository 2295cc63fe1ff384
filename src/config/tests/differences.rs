//! What is different between two configurations, where it cannot be shown.

use super::parse;

/// The keys that differ between two files.
fn keys(before: &str, after: &str) -> Vec<String> {
    let (before, after) = (parse(before).unwrap(), parse(after).unwrap());
    let found = before.differences(&after).into_iter();
    found.map(|difference| difference.key).collect()
}

#[test]
fn a_secret_that_changes_is_named_and_not_shown() {
    let password = |word: &str| format!("[nats]\nuser = \"a\"\npassword = \"{word}\"\n");
    let token = |word: &str| format!("[nats]\ntoken = \"{word}\"\n");
    assert_eq!(keys(&password("x"), &password("y")), ["nats.password"]);
    assert_eq!(keys(&token("x"), &token("y")), ["nats.token"]);
    assert_eq!(keys(&token("x"), &token("x")), [""; 0]);
    let found = parse(&token("xyzzy"))
        .unwrap()
        .differences(&parse(&token("plugh")).unwrap());
    let shown = format!("{found:?}");
    assert!(
        !shown.contains("xyzzy") && !shown.contains("plugh"),
        "{shown}"
    );
}
