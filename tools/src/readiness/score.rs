//! What the evidence is worth: each line, each area, both axes, and the two gates.

use std::path::PathBuf;

use ipc_tools::artifact::Verdict as Said;
use serde::Serialize;

use crate::evidence::{Evidence, Revisions};
use crate::plan::{Axis, Line, PLAN, Wanted};

/// What became of a line. Only what passes counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Verdict {
    Pass,
    Fail,
    /// It ran, and could not tell.
    Inconclusive,
    /// It was shorter or lighter than the line says.
    Insufficient,
    /// There is evidence, of other code.
    Stale,
    /// There is none.
    Missing,
}

impl Verdict {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "FAIL",
            Self::Inconclusive => "INCONCLUSIVE",
            Self::Insufficient => "INSUFFICIENT",
            Self::Stale => "STALE",
            Self::Missing => "MISSING",
        }
    }
}

/// A line with its evidence.
#[derive(Debug, Serialize)]
pub(crate) struct Judged {
    pub(crate) axis: Axis,
    pub(crate) area: &'static str,
    pub(crate) name: &'static str,
    pub(crate) verdict: Verdict,
    pub(crate) passed: usize,
    pub(crate) expected: usize,
    /// Why it does not pass; empty when it does.
    pub(crate) why: String,
    /// What is to be said of the revision; empty as a rule.
    pub(crate) note: String,
    pub(crate) evidence: Option<PathBuf>,
    pub(crate) revision: Option<String>,
    pub(crate) age_seconds: Option<u64>,
    /// What writes the evidence.
    pub(crate) command: &'static str,
    #[serde(skip)]
    staging: bool,
}

impl Judged {
    /// It is judged by this run. `now` is in seconds since 1970.
    fn show(&mut self, run: &Evidence, now: u64) {
        self.evidence = Some(run.path.clone());
        self.revision = Some(run.shown_revision());
        self.age_seconds = Some(now.saturating_sub(run.started));
        self.note.clone_from(&run.note);
    }

    /// Part of the line that is shown, 0 to 1.
    pub(crate) fn score(&self) -> f64 {
        match self.verdict {
            Verdict::Insufficient | Verdict::Stale | Verdict::Missing => 0.0,
            _ => self.passed as f64 / self.expected.max(1) as f64,
        }
    }
}

/// An area: the mean of its lines.
#[derive(Debug, Serialize)]
pub(crate) struct AreaScore {
    pub(crate) name: &'static str,
    pub(crate) score: f64,
}

/// An axis: the mean of its areas.
#[derive(Debug, Serialize)]
pub(crate) struct AxisScore {
    pub(crate) axis: Axis,
    pub(crate) score: f64,
    pub(crate) areas: Vec<AreaScore>,
}

/// Whether the gateway may be run there, and what stands in the way.
#[derive(Debug, Serialize)]
pub(crate) struct Gate {
    pub(crate) open: bool,
    pub(crate) blocking: Vec<String>,
}

impl Gate {
    fn new(blocking: Vec<String>) -> Self {
        Self {
            open: blocking.is_empty(),
            blocking,
        }
    }
}

/// The whole.
#[derive(Debug, Serialize)]
pub(crate) struct Score {
    pub(crate) axes: Vec<AxisScore>,
    /// 0 to 1: the axes by their weights.
    pub(crate) overall: f64,
    pub(crate) staging: Gate,
    pub(crate) production: Gate,
    pub(crate) lines: Vec<Judged>,
}

impl Score {
    /// Holds the plan against the evidence. `now` is in seconds since 1970.
    pub(crate) fn new(evidence: &[Evidence], revisions: &Revisions, now: u64) -> Self {
        let lines: Vec<Judged> = PLAN
            .iter()
            .map(|line| judge(line, evidence, revisions, now))
            .collect();
        let axes: Vec<AxisScore> = Axis::ALL
            .into_iter()
            .map(|axis| axis_score(axis, &lines))
            .collect();
        let overall = axes
            .iter()
            .map(|axis| axis.score * f64::from(axis.axis.percent()) / 100.0)
            .sum();
        let blocking = |asked: fn(&Judged) -> bool| {
            let mut blocking: Vec<String> = lines
                .iter()
                .filter(|line| asked(line) && line.verdict != Verdict::Pass)
                .map(|line| format!("{}: {}: {}", line.area, line.name, line.why))
                .collect();
            if revisions.is_dirty() {
                blocking.push("this checkout has changes that are not committed".to_owned());
            }
            blocking
        };
        Self {
            overall,
            staging: Gate::new(blocking(|line| line.staging)),
            production: Gate::new(blocking(|_| true)),
            axes,
            lines,
        }
    }
}

fn axis_score(axis: Axis, lines: &[Judged]) -> AxisScore {
    let areas: Vec<AreaScore> = axis
        .areas()
        .iter()
        .map(|&name| AreaScore {
            name,
            score: mean(
                lines
                    .iter()
                    .filter(|line| line.axis == axis && line.area == name)
                    .map(Judged::score),
            ),
        })
        .collect();
    AxisScore {
        axis,
        score: mean(areas.iter().map(|area| area.score)),
        areas,
    }
}

fn mean(scores: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = scores.fold((0.0, 0_u32), |(sum, count), score| (sum + score, count + 1));
    sum / f64::from(count.max(1))
}

fn judge(line: &Line, evidence: &[Evidence], revisions: &Revisions, now: u64) -> Judged {
    let mut judged = Judged {
        axis: line.axis,
        area: line.area,
        name: line.name,
        verdict: Verdict::Missing,
        passed: 0,
        expected: match line.wanted {
            Wanted::Whole => 1,
            Wanted::Category(_, checks) => checks,
        },
        why: format!("no evidence: run {}", line.command),
        note: String::new(),
        evidence: None,
        revision: None,
        age_seconds: None,
        command: line.command,
        staging: line.staging,
    };
    let candidates: Vec<&Evidence> = evidence.iter().filter(|it| it.shows(line)).collect();
    // The last one of this code that is enough, and was told to make every check; without one, the
    // last that is enough.
    let rank = |it: &&Evidence| {
        (
            it.lacks(line).is_empty(),
            revisions.is_same_code(it),
            !it.is_restricted(),
            it.started,
        )
    };
    let Some(best) = candidates.iter().copied().max_by_key(rank) else {
        return judged;
    };
    // What has failed is not made good by what passed before it, however short or restricted it was.
    let failed = candidates
        .iter()
        .copied()
        .filter(|it| it.started >= best.started && revisions.is_same_code(it))
        .filter(|it| it.has_failed(line.wanted))
        .max_by_key(|it| it.started);
    if let Some(failed) = failed {
        judged.show(failed, now);
        let (_, passed, why) = outcome(line.wanted, failed);
        let is_enough = failed.lacks(line).is_empty() && !failed.is_restricted();
        judged.verdict = Verdict::Fail;
        judged.passed = if is_enough { passed } else { 0 };
        judged.why = why;
        return judged;
    }
    judged.show(best, now);
    let (verdict, passed, why) = outcome(line.wanted, best);
    (judged.verdict, judged.passed, judged.why) = (verdict, passed, why);
    let said = verdict.name().to_lowercase();
    let lacks = best.lacks(line);
    let mut doubts = Vec::new();
    if !revisions.is_same_code(best) {
        judged.verdict = Verdict::Stale;
        let revision = best.shown_revision();
        doubts.push(format!("evidence of other code ({revision})"));
    }
    if !lacks.is_empty() {
        if judged.verdict != Verdict::Stale {
            judged.verdict = Verdict::Insufficient;
        }
        doubts.push(format!("not enough ({})", lacks.join("; ")));
    }
    if !doubts.is_empty() {
        judged.why = format!(
            "{}, where it said {said}: run {}",
            doubts.join(" and "),
            line.command
        );
    }
    judged
}

/// What the artifact says, how many checks passed, and why not all.
fn outcome(wanted: Wanted, evidence: &Evidence) -> (Verdict, usize, String) {
    match wanted {
        Wanted::Whole => match evidence.verdict {
            Said::Pass => (Verdict::Pass, 1, String::new()),
            Said::Fail => (Verdict::Fail, 0, evidence.failures(None)),
            Said::Inconclusive => (Verdict::Inconclusive, 0, evidence.failures(None)),
        },
        Wanted::Category(category, expected) => {
            let passed = evidence.passed_in(category).min(expected);
            let failures = evidence.failures(Some(category));
            if passed == expected && failures.is_empty() {
                return (Verdict::Pass, passed, String::new());
            }
            let why = if failures.is_empty() {
                format!("only {passed} of {expected} checks are there")
            } else {
                failures
            };
            (Verdict::Fail, passed, why)
        }
    }
}

#[cfg(test)]
mod tests;
