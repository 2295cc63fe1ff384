//! One thing that was checked, and what all of them come to.

use std::fmt;

use ipc_tools::artifact;
use serde_json::{Map, Value};

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Verdict {
    Pass,
    /// The run cannot tell.
    Inconclusive,
    Fail,
}

impl Verdict {
    /// Pass or fail.
    pub(crate) const fn of(holds: bool) -> Self {
        if holds { Self::Pass } else { Self::Fail }
    }

    /// The exit code.
    pub(crate) const fn exit(self) -> u8 {
        match self {
            Self::Pass => 0,
            Self::Fail => 1,
            Self::Inconclusive => 3,
        }
    }

    /// The worst of these; inconclusive of none.
    pub(crate) fn worst(checks: &[Check]) -> Self {
        let verdicts = checks.iter().map(|check| check.verdict);
        verdicts.max().unwrap_or(Self::Inconclusive)
    }
}

impl From<Verdict> for artifact::Verdict {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Pass => Self::Pass,
            Verdict::Inconclusive => Self::Inconclusive,
            Verdict::Fail => Self::Fail,
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Pass => "pass",
            Self::Fail => "FAIL",
            Self::Inconclusive => "inconclusive",
        })
    }
}

/// One check.
#[derive(Clone, Debug)]
pub(crate) struct Check {
    /// Category and name, stable for readers of the file.
    pub(crate) name: &'static str,
    pub(crate) verdict: Verdict,
    /// What is required.
    pub(crate) required: String,
    /// What was found.
    pub(crate) found: String,
    /// The same for programs, by name.
    pub(crate) figures: Map<String, Value>,
}

impl Check {
    /// One that holds or not.
    pub(crate) fn new(
        name: &'static str,
        verdict: Verdict,
        required: impl Into<String>,
        found: impl Into<String>,
    ) -> Self {
        Self {
            name,
            verdict,
            required: required.into(),
            found: found.into(),
            figures: Map::new(),
        }
    }

    /// Adds a figure.
    pub(crate) fn figure(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.figures.insert(name.to_owned(), value.into());
        self
    }

    /// As a line of `checks.jsonl`.
    pub(crate) fn line(&self) -> artifact::Check {
        let (category, _) = self.name.split_once('.').unwrap_or((self.name, ""));
        let (required, verdict) = (self.required.as_str(), self.verdict.into());
        let check = artifact::Check::new(self.name, category, required, verdict);
        if self.figures.is_empty() {
            return check.detail(self.found.as_str());
        }
        let mut detail = self.figures.clone();
        detail.insert("seen".to_owned(), self.found.as_str().into());
        check.detail(detail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_stand_beside_the_words_in_the_file() {
        let plain = Check::new("a.b", Verdict::Pass, "", "it is so");
        assert_eq!(plain.line().detail, "it is so");
        let with = plain.figure("limit_bytes", 0.5).line();
        assert_eq!(with.seen(), "it is so");
        assert_eq!(with.detail["limit_bytes"], 0.5);
    }

    #[test]
    fn one_failure_outweighs_everything_and_nothing_is_no_pass() {
        let check = |verdict| Check::new("x", verdict, "", "");
        let worst = |verdicts: &[Verdict]| {
            Verdict::worst(&verdicts.iter().copied().map(check).collect::<Vec<_>>())
        };
        assert_eq!(worst(&[Verdict::Pass, Verdict::Pass]), Verdict::Pass);
        let mixed = [Verdict::Pass, Verdict::Inconclusive];
        assert_eq!(worst(&mixed), Verdict::Inconclusive);
        assert_eq!(
            worst(&[Verdict::Fail, Verdict::Inconclusive]),
            Verdict::Fail
        );
        assert_eq!(worst(&[]), Verdict::Inconclusive);
    }
}
