//! What came out of the last run of a kind, and why it is no more than that.

use std::path::Path;

use ipc_tools::artifact::{Artifact, Verdict, runs};

/// The verdict of the last run, and lines that say where it is and what did not pass.
///
/// # Errors
/// A line: there is none, it did not end, or it cannot be read.
pub(crate) fn last(root: &Path, kind: &str) -> Result<(Verdict, String), String> {
    let runs = runs(root, kind).map_err(|error| error.to_string())?;
    let path = runs.last();
    let path = path.ok_or_else(|| format!("{}: no run", root.join(kind).display()))?;
    let record = Artifact::read(path).map_err(|error| error.to_string())?;
    let ended = record.conclusion.as_ref();
    let ended = ended.ok_or_else(|| format!("{}: did not end", path.display()))?;
    let mut lines = vec![format!(
        "{}: {}: {} passed, {} failed, {} inconclusive",
        path.display(),
        ended.verdict,
        ended.passed,
        ended.failed,
        ended.inconclusive
    )];
    let open = record.checks.iter();
    for check in open.filter(|check| check.verdict != Verdict::Pass) {
        let seen = check.seen().replace('\n', " ");
        lines.push(format!("  {} {}: {seen}", check.id, check.verdict));
    }
    Ok((ended.verdict, lines.join("\n")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ipc_tools::artifact::Check;
    use serde_json::json;

    #[test]
    fn the_last_run_says_what_did_not_pass_and_why() {
        let dir = tempfile::tempdir().unwrap();
        let none = last(dir.path(), "soak").unwrap_err();
        assert!(none.ends_with("soak: no run"), "{none}");
        let mut run = Artifact::create(dir.path(), "soak", json!({})).unwrap();
        run.check(&Check::new("a.1", "a", "", Verdict::Pass))
            .unwrap();
        run.finish("").unwrap();
        assert_eq!(last(dir.path(), "soak").unwrap().0, Verdict::Pass);
        let mut run = Artifact::create(dir.path(), "soak", json!({})).unwrap();
        assert!(
            last(dir.path(), "soak")
                .unwrap_err()
                .ends_with("did not end")
        );
        let slope = Check::new("steady.heap", "steady", "", Verdict::Inconclusive);
        run.check(&slope.detail("too short")).unwrap();
        run.check(&Check::new("a.1", "a", "", Verdict::Pass))
            .unwrap();
        run.finish("").unwrap();
        let (verdict, text) = last(dir.path(), "soak").unwrap();
        assert_eq!(verdict, Verdict::Inconclusive);
        let what = "inconclusive: 1 passed, 0 failed, 1 inconclusive\n  \
                    steady.heap inconclusive: too short";
        assert!(text.ends_with(what), "{text}");
    }
}
