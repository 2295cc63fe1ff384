//! What was checked, and what came out.

use core::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What came out of a check, or of a whole run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// It is as it must be.
    Pass,
    /// It is not, or it could not be tried: a check that was skipped has failed.
    Fail,
    /// It was tried, and what was seen decides nothing, for example because the run was too short.
    Inconclusive,
}

impl Verdict {
    /// The word in the files.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::Inconclusive => "inconclusive",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl From<bool> for Verdict {
    fn from(is_right: bool) -> Self {
        if is_right { Self::Pass } else { Self::Fail }
    }
}

/// One line of `checks.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Check {
    /// Category and number or word: `subjects.1`, `slo.p99`. Unique within a run.
    pub id: String,
    /// What it belongs to.
    pub category: String,
    /// What must be so, in a few words.
    pub name: String,
    /// Whether it is.
    pub verdict: Verdict,
    /// What was seen: text or an object.
    pub detail: Value,
}

impl Check {
    /// A check without detail.
    pub fn new(
        id: impl Into<String>,
        category: impl Into<String>,
        name: impl Into<String>,
        verdict: Verdict,
    ) -> Self {
        Self {
            id: id.into(),
            category: category.into(),
            name: name.into(),
            verdict,
            detail: Value::from(""),
        }
    }

    /// Says what was seen.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<Value>) -> Self {
        self.detail = detail.into();
        self
    }

    /// What was seen, in words: the detail's member `seen`, or the detail itself.
    #[must_use]
    pub fn seen(&self) -> String {
        let seen = self.detail.get("seen").unwrap_or(&self.detail);
        seen.as_str()
            .map_or_else(|| seen.to_string(), str::to_owned)
    }
}

/// What came out of all checks: `verdict.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Conclusion {
    /// Fail when one failed; else inconclusive when one was, or when there was none; else pass.
    pub verdict: Verdict,
    /// Checks that passed.
    pub passed: u64,
    /// Checks that failed.
    pub failed: u64,
    /// Checks that decided nothing.
    pub inconclusive: u64,
    /// When the run ended, as in RFC 3339, in UTC.
    pub finished: String,
}

impl Conclusion {
    /// Counts the checks of a run that ended at `finished`.
    #[must_use]
    pub fn of(checks: &[Check], finished: String) -> Self {
        let count = |verdict| {
            let found = checks.iter().filter(|check| check.verdict == verdict);
            found.map(|_| 1).sum()
        };
        let (passed, failed) = (count(Verdict::Pass), count(Verdict::Fail));
        let inconclusive = count(Verdict::Inconclusive);
        let verdict = match (passed, failed, inconclusive) {
            (1.., 0, 0) => Verdict::Pass,
            (_, 0, _) => Verdict::Inconclusive,
            _ => Verdict::Fail,
        };
        Self {
            verdict,
            passed,
            failed,
            inconclusive,
            finished,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_check_decides_and_none_is_inconclusive() {
        use Verdict::{Fail, Inconclusive, Pass};
        for (verdicts, expected) in [
            (vec![Pass, Pass], Pass),
            (vec![Pass, Inconclusive], Inconclusive),
            (vec![Inconclusive, Fail, Pass], Fail),
            (vec![], Inconclusive),
        ] {
            let checks: Vec<Check> = verdicts
                .iter()
                .map(|verdict| Check::new("a.1", "a", "n", *verdict))
                .collect();
            let conclusion = Conclusion::of(&checks, String::new());
            assert_eq!(conclusion.verdict, expected, "{verdicts:?}");
            let all = conclusion.passed + conclusion.failed + conclusion.inconclusive;
            assert_eq!(usize::try_from(all).unwrap(), verdicts.len());
        }
    }
}
