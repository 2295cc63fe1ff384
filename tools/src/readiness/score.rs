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
    let candidates = evidence.iter().filter(|it| it.shows(line));
    // The last one of this code that is enough; without one, the last that is enough.
    let rank = |it: &&Evidence| {
        (
            it.lacks(line).is_empty(),
            revisions.is_same_code(it),
            it.started,
        )
    };
    let Some(best) = candidates.max_by_key(rank) else {
        return judged;
    };
    judged.evidence = Some(best.path.clone());
    judged.revision = Some(best.shown_revision());
    judged.age_seconds = Some(now.saturating_sub(best.started));
    judged.note.clone_from(&best.note);
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
mod tests {
    use super::*;
    use crate::evidence::tests::{evidence, revisions};

    fn verdict_of(score: &Score, name: &str) -> Verdict {
        let line = score.lines.iter().find(|line| line.name.contains(name));
        line.unwrap().verdict
    }

    /// Passing evidence for every line, and enough.
    fn all() -> Vec<Evidence> {
        PLAN.iter()
            .map(|line| {
                let mut all = evidence(line.kind, "head", "pass");
                for (pointer, value) in line.when {
                    all.configuration[&pointer[1..]] = (*value).into();
                }
                for line in PLAN.iter().filter(|other| other.kind == line.kind) {
                    if let Wanted::Category(category, checks) = line.wanted {
                        all.add(category, "pass", checks);
                    }
                }
                all
            })
            .collect()
    }

    #[test]
    fn without_evidence_everything_is_missing_and_counts_nothing() {
        let score = Score::new(&[], &revisions("head"), 0);
        assert!(score.lines.iter().all(|it| it.verdict == Verdict::Missing));
        assert!(score.overall.abs() < f64::EPSILON);
        assert!(!score.staging.open && !score.production.open);
        assert_eq!(score.production.blocking.len(), PLAN.len());
    }

    #[test]
    fn with_all_evidence_both_gates_are_open() {
        let score = Score::new(&all(), &revisions("head"), 0);
        assert!((score.overall - 1.0).abs() < 1e-9, "{score:?}");
        assert!(score.staging.open && score.production.open, "{score:?}");
    }

    #[test]
    fn each_failure_closes_the_gate_that_asks_for_it() {
        let mut evidence = all();
        evidence.retain(|it| it.kind != "compare-nats");
        let score = Score::new(&evidence, &revisions("head"), 0);
        assert!(score.staging.open);
        assert_eq!(score.production.blocking.len(), 1);
        let core = 2.0 / 3.0 + (2.0 / 3.0) / 3.0;
        assert!((score.overall - 0.4 * core - 0.6).abs() < 1e-9, "{score:?}");

        evidence.retain(|it| it.kind != "asan");
        let score = Score::new(&evidence, &revisions("head"), 0);
        assert!(!score.staging.open);
    }

    #[test]
    fn evidence_of_other_code_is_stale_unless_there_is_newer_or_older_of_this() {
        let other = evidence("loom", "other", "pass");
        let score = Score::new(&[other], &revisions("head"), 0);
        assert_eq!(verdict_of(&score, "interleaving"), Verdict::Stale);
        assert!(score.overall.abs() < f64::EPSILON);

        let mut old = evidence("loom", "head", "fail");
        old.started = 1;
        let mut other = evidence("loom", "other", "pass");
        other.started = 2;
        let score = Score::new(&[other, old], &revisions("head"), 3);
        assert_eq!(verdict_of(&score, "interleaving"), Verdict::Fail);
    }

    #[test]
    fn the_last_run_of_the_same_code_counts() {
        let mut failed = evidence("loom", "head", "fail");
        failed.started = 2;
        let passed = evidence("loom", "head", "pass");
        let score = Score::new(&[failed, passed], &revisions("head"), 3);
        assert_eq!(verdict_of(&score, "interleaving"), Verdict::Fail);
    }

    #[test]
    fn a_category_is_worth_the_part_of_its_checks_that_pass() {
        let mut run = evidence("e2e", "head", "fail");
        run.add("timeouts", "pass", 5);
        run.add("timeouts", "fail", 2);
        run.add("errors", "pass", 5);
        let score = Score::new(&[run], &revisions("head"), 0);
        let timeouts = score.lines.iter().find(|it| it.area == "timeouts").unwrap();
        assert_eq!((timeouts.passed, timeouts.verdict), (5, Verdict::Fail));
        assert!((timeouts.score() - 5.0 / 7.0).abs() < 1e-9);
        // A check that is not there has not passed.
        let errors = score.lines.iter().find(|it| it.area == "error semantics");
        assert_eq!(errors.unwrap().verdict, Verdict::Fail);
        assert!(errors.unwrap().why.contains("only 5 of 6"));
    }

    #[test]
    fn a_soak_shows_only_the_faults_that_it_had() {
        let mut run = evidence("soak", "head", "pass");
        run.configuration["faults"] = "storm".into();
        let score = Score::new(&[run], &revisions("head"), 0);
        assert_eq!(verdict_of(&score, "a storm"), Verdict::Pass);
        assert_eq!(verdict_of(&score, "half of capacity"), Verdict::Missing);
    }

    /// What comes of all evidence when that of this kind is changed so.
    fn changed(kind: &str, change: impl Fn(&mut Evidence)) -> Score {
        let mut evidence = all();
        evidence
            .iter_mut()
            .filter(|it| it.kind == kind)
            .for_each(change);
        Score::new(&evidence, &revisions("head"), 0)
    }

    fn why<'a>(score: &'a Score, name: &str) -> (Verdict, &'a str) {
        let line = score.lines.iter().find(|line| line.name.contains(name));
        line.map(|line| (line.verdict, line.why.as_str())).unwrap()
    }

    #[test]
    fn a_short_or_light_soak_is_not_half_an_hour_at_half_of_capacity() {
        let short = changed("soak", |run| run.configuration["duration_s"] = 120.0.into());
        let (verdict, why_short) = why(&short, "half of capacity");
        assert_eq!(verdict, Verdict::Insufficient);
        let words =
            "not enough (120 seconds, at least 1800 are asked for), where it said pass: run";
        assert!(why_short.starts_with(words), "{why_short}");
        assert_eq!(verdict_of(&short, "a storm"), Verdict::Insufficient);
        assert!(!short.production.open && short.overall < 1.0);

        let light = changed("soak", |run| run.configuration["rate"] = "5%".into());
        let (verdict, why_light) = why(&light, "half of capacity");
        assert_eq!(verdict, Verdict::Insufficient);
        assert!(why_light.contains("rate was 5%, not 50%"), "{why_light}");
        assert_eq!(verdict_of(&light, "a storm"), Verdict::Pass);
    }

    #[test]
    fn a_debug_build_shows_no_line_of_the_release_build() {
        for kind in ["e2e", "contract", "soak", "soak-events", "compare-nats"] {
            let score = changed(kind, |run| run.profile = Some("debug".to_owned()));
            for (line, judged) in PLAN.iter().zip(&score.lines) {
                let expected = if line.kind == kind {
                    Verdict::Insufficient
                } else {
                    Verdict::Pass
                };
                assert_eq!(judged.verdict, expected, "{kind}: {}", line.name);
            }
        }
    }

    #[test]
    fn events_of_which_none_were_made_or_with_another_limit_are_not_shown() {
        let none = changed("soak-events", |run| {
            run.configuration["counts"]["reconnects"] = 0.into();
            run.checks.retain(|check| check.id != "events.reconnects");
        });
        let (verdict, words) = why(&none, "bytes for each");
        assert_eq!(verdict, Verdict::Insufficient);
        assert!(words.contains("0 reconnects, at least 200"), "{words}");
        assert!(words.contains("events.reconnects was not tried"), "{words}");
        let lenient = changed("soak-events", |run| {
            run.configuration["limit_bytes"] = 8.into();
        });
        assert_eq!(
            verdict_of(&lenient, "bytes for each"),
            Verdict::Insufficient
        );
    }

    #[test]
    fn an_older_run_that_is_enough_counts_before_a_newer_one_that_is_not() {
        let mut evidence = all();
        let mut short = self::evidence("soak", "head", "pass");
        short.configuration["faults"] = "none".into();
        short.configuration["duration_s"] = 120.into();
        short.started = 10;
        evidence.push(short);
        let score = Score::new(&evidence, &revisions("head"), 20);
        assert_eq!(verdict_of(&score, "half of capacity"), Verdict::Pass);
    }

    #[test]
    fn what_is_said_of_the_revision_stands_beside_the_verdict() {
        let score = changed("contract", |run| {
            run.note = "the gateway was built of other".to_owned();
            run.revision = "other".to_owned();
        });
        let line = score.lines.iter().find(|it| it.name.contains("contract"));
        let line = line.unwrap();
        assert_eq!(line.verdict, Verdict::Stale);
        assert_eq!(line.note, "the gateway was built of other");
        assert!(
            line.why
                .starts_with("evidence of other code (other), where it said pass")
        );
    }
}
