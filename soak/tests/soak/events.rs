//! What events leave behind, in so few that only a gross leak would show.

use super::soak;

#[test]
fn a_few_events_of_each_kind_are_made_and_none_leaks_grossly() {
    let root = tempfile::tempdir().unwrap();
    let artifacts = root.path().to_str().unwrap();
    let flags = [
        "events",
        "--scale",
        "0.002",
        "--reconnects",
        "4000",
        "--artifacts",
        artifacts,
    ];
    let output = soak(root.path(), &flags);
    // Some counts are too small to show half a byte.
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    let text = String::from_utf8_lossy(&output.stdout);
    for kind in [
        "timeouts",
        "late-replies",
        "attaches",
        "violations",
        "reconnects",
    ] {
        assert!(text.contains(&format!("| events.{kind} |")), "{text}");
    }
    assert!(!text.contains("FAIL"), "{text}");
    assert!(text.contains("the least that could be told is"), "{text}");
}
