//! What evidence comes to.

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
    let words = "not enough (120 seconds, at least 1800 are asked for), where it said pass: run";
    assert!(why_short.starts_with(words), "{why_short}");
    assert_eq!(verdict_of(&short, "a storm"), Verdict::Insufficient);
    assert!(!short.production.open && short.overall < 1.0);

    let light = changed("soak", |run| run.configuration["rate"] = "5%".into());
    let (verdict, why_light) = why(&light, "half of capacity");
    assert_eq!(verdict, Verdict::Insufficient);
    assert!(why_light.contains("rate was 5%, not 50%"), "{why_light}");
    assert_eq!(verdict_of(&light, "a storm"), Verdict::Insufficient);
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

/// One more soak without faults, of these seconds, that began later than all others.
fn later_soak(revision: &str, seconds: u32, outcome: &str) -> Score {
    let mut evidence = all();
    let mut later = self::evidence("soak", revision, outcome);
    later.configuration["faults"] = "none".into();
    later.configuration["duration_s"] = seconds.into();
    later.add("correct", outcome, 1);
    later.started = 10;
    later.path = "artifacts/soak/later".into();
    evidence.push(later);
    Score::new(&evidence, &revisions("head"), 20)
}

#[test]
fn a_newer_run_that_failed_is_not_hidden_by_one_that_passed() {
    for seconds in [120, 1800] {
        let score = later_soak("head", seconds, "fail");
        let (verdict, words) = why(&score, "half of capacity");
        assert_eq!(verdict, Verdict::Fail, "{seconds} s");
        assert!(words.contains("did not pass: correct."), "{words}");
        let line = score
            .lines
            .iter()
            .find(|it| it.name.contains("half of capacity"));
        let line = line.unwrap();
        assert_eq!(
            line.evidence.as_deref(),
            Some(std::path::Path::new("artifacts/soak/later"))
        );
        assert_eq!((line.passed, line.age_seconds), (0, Some(10)));
        assert!(!score.production.open);
        assert_eq!(verdict_of(&score, "a storm"), Verdict::Pass);
    }
    // Of other code it says nothing of this.
    let score = later_soak("other", 120, "fail");
    assert_eq!(verdict_of(&score, "half of capacity"), Verdict::Pass);
    // What could not tell leaves it at what was shown.
    let score = later_soak("head", 120, "inconclusive");
    assert_eq!(verdict_of(&score, "half of capacity"), Verdict::Pass);
}

#[test]
fn a_run_that_is_enough_makes_an_older_failure_good() {
    let mut evidence = all();
    let mut failed = self::evidence("loom", "head", "fail");
    for run in &mut evidence {
        run.started = 10;
    }
    failed.started = 5;
    evidence.push(failed);
    let score = Score::new(&evidence, &revisions("head"), 20);
    assert_eq!(verdict_of(&score, "interleaving"), Verdict::Pass);
}

/// The end-to-end run of everything, and a later one of one check that came out so.
fn with_one_check(verdict: &str) -> Score {
    let mut evidence = all();
    let mut one = self::evidence("e2e", "head", verdict);
    one.configuration["checks"] = serde_json::json!(["subjects.1"]);
    one.add("subjects", verdict, 1);
    one.started = 10;
    evidence.push(one);
    Score::new(&evidence, &revisions("head"), 20)
}

#[test]
fn a_run_of_one_check_does_not_take_the_place_of_one_of_all() {
    let score = with_one_check("pass");
    assert!(score.production.open, "{score:?}");
    // Its failure counts all the same, for its own line.
    let score = with_one_check("fail");
    assert_eq!(verdict_of(&score, "subjects and headers"), Verdict::Fail);
    assert_eq!(verdict_of(&score, "errors, 6 checks"), Verdict::Pass);
    assert_eq!(score.production.blocking.len(), 1, "{score:?}");
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
