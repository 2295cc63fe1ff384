//! What must be so of a run, besides its verdict, so that it shows a line: a short or light one that
//! passes shows less than what the line says.

use std::path::Path;

use serde_json::Value;

use crate::evidence::Evidence;

/// One thing that must be so.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Need {
    /// Its configuration says this: a JSON pointer, and the text there.
    Says(&'static str, &'static str),
    /// Its configuration has a number there that is not less, and what the number counts.
    AtLeast(&'static str, f64, &'static str),
    /// The same, that is not more.
    AtMost(&'static str, f64, &'static str),
    /// Its programs were built with optimisations.
    Release,
    /// It has this check, whatever came out.
    Check(&'static str),
    /// It has this check, held to so many bytes an event at most, of a gateway that counts what it
    /// allocates.
    Counted(&'static str, f64),
    /// The command that it has recorded is this one, and no more: words, the first of which is the end
    /// of the program's path.
    Ran(&'static str),
}

impl Need {
    /// What is missing, in words; none when it is so.
    pub(crate) fn lacks(self, evidence: &Evidence) -> Option<String> {
        let at = |pointer| evidence.configuration.pointer(pointer);
        match self {
            Self::Says(pointer, wanted) => {
                let name = pointer.trim_start_matches('/');
                match at(pointer).and_then(Value::as_str) {
                    Some(said) if said == wanted => None,
                    Some(said) => Some(format!("{name} was {said}, not {wanted}")),
                    None => Some(format!(
                        "it does not say its {name}, which must be {wanted}"
                    )),
                }
            }
            Self::AtLeast(pointer, least, what) => {
                number(at(pointer), what, |found| found >= least, "at least", least)
            }
            Self::AtMost(pointer, most, what) => {
                number(at(pointer), what, |found| found <= most, "at most", most)
            }
            Self::Release => match evidence.profile.as_deref() {
                Some("release") => None,
                Some(profile) => Some(format!("a {profile} build ran, not a release build")),
                None => Some("it does not say that a release build ran".to_owned()),
            },
            Self::Check(id) => {
                let is_there = evidence.checks.iter().any(|check| check.id == id);
                (!is_there).then(|| format!("{id} was not tried"))
            }
            Self::Counted(id, most) => counted(evidence, id, most),
            Self::Ran(words) => {
                let command = at("/recorded").and_then(Value::as_array);
                let command = command.map_or(&[][..], Vec::as_slice);
                let all: Vec<&str> = command.iter().filter_map(Value::as_str).collect();
                (!is_command(&all, words))
                    .then(|| format!("`{}` ran, not `{words}`", all.join(" ")))
            }
        }
    }
}

/// What is missing that this check shows so small a leak.
fn counted(evidence: &Evidence, id: &str, most: f64) -> Option<String> {
    let check = evidence.checks.iter().find(|check| check.id == id);
    let Some(detail) = check.map(|check| &check.detail) else {
        return Some(format!("{id} was not tried"));
    };
    match detail.get("gauge").and_then(Value::as_str) {
        Some("allocated") => {}
        gauge => {
            let by = gauge.unwrap_or("nobody knows what");
            return Some(format!(
                "{id} was measured by {by}: a gateway of the feature counted is asked for"
            ));
        }
    }
    match detail.get("limit_bytes").and_then(Value::as_f64) {
        Some(limit) if limit <= most => None,
        Some(limit) => Some(format!(
            "{id} was held to {limit} bytes an event, at most {most} are asked for"
        )),
        None => Some(format!("{id} does not say what it was held to")),
    }
}

/// Whether what ran is the wanted command, with these arguments and no others.
fn is_command(ran: &[&str], wanted: &str) -> bool {
    let wanted: Vec<&str> = wanted.split(' ').collect();
    match (ran.split_first(), wanted.split_first()) {
        (Some((ran, told)), Some((program, arguments))) => {
            Path::new(ran).ends_with(program) && told == arguments
        }
        _ => false,
    }
}

fn number(
    found: Option<&Value>,
    what: &str,
    is_enough: impl Fn(f64) -> bool,
    bound: &str,
    limit: f64,
) -> Option<String> {
    match found.and_then(Value::as_f64) {
        Some(found) if is_enough(found) => None,
        Some(found) => Some(format!("{found} {what}, {bound} {limit} are asked for")),
        None => Some(format!(
            "it does not say how many {what}: {bound} {limit} are asked for"
        )),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::evidence::tests::evidence;
    use ipc_tools::artifact::{Check, Verdict};
    use serde_json::json;

    impl Need {
        /// Makes it so.
        pub(crate) fn fulfil(self, evidence: &mut Evidence) {
            let (pointer, value) = match self {
                Self::Says(pointer, text) => (pointer, json!(text)),
                Self::AtLeast(pointer, number, _) | Self::AtMost(pointer, number, _) => {
                    (pointer, json!(number))
                }
                Self::Ran(words) => ("/recorded", json!(words.split(' ').collect::<Vec<_>>())),
                Self::Release => {
                    evidence.profile = Some("release".to_owned());
                    return;
                }
                Self::Counted(id, most) => {
                    let detail = json!({ "gauge": "allocated", "limit_bytes": most });
                    let check = Check::new(id, "needed", "", Verdict::Pass);
                    evidence.checks.push(check.detail(detail));
                    return;
                }
                Self::Check(id) => {
                    let check = Check::new(id, "needed", "", Verdict::Pass);
                    evidence.checks.push(check);
                    return;
                }
            };
            let mut place = &mut evidence.configuration;
            for name in pointer.split('/').skip(1) {
                place = &mut place[name];
            }
            *place = value;
        }
    }

    #[test]
    fn each_need_says_what_is_missing_and_is_content_with_what_it_asks_for() {
        let duration = Need::AtLeast("/duration_s", 1800.0, "seconds");
        let limit = Need::AtMost("/limit_bytes", 0.5, "bytes");
        let faults = Need::Says("/rate", "50%");
        let ran = Need::Ran("tools/proofs.sh loom");
        let check = Need::Check("events.timeouts");
        let mut run = evidence("none", "head", "pass");
        for (need, words) in [
            (
                duration,
                "it does not say how many seconds: at least 1800 are asked for",
            ),
            (
                limit,
                "it does not say how many bytes: at most 0.5 are asked for",
            ),
            (faults, "it does not say its rate, which must be 50%"),
            (ran, "`` ran, not `tools/proofs.sh loom`"),
            (check, "events.timeouts was not tried"),
            (Need::Release, "it does not say that a release build ran"),
        ] {
            assert_eq!(need.lacks(&run).as_deref(), Some(words));
            need.fulfil(&mut run);
            assert_eq!(need.lacks(&run), None, "{need:?}");
        }
        run.configuration = json!({
            "duration_s": 120.0, "limit_bytes": 8, "rate": "70%", "recorded": ["true"],
        });
        run.profile = Some("debug".to_owned());
        for (need, words) in [
            (duration, "120 seconds, at least 1800 are asked for"),
            (limit, "8 bytes, at most 0.5 are asked for"),
            (faults, "rate was 70%, not 50%"),
            (ran, "`true` ran, not `tools/proofs.sh loom`"),
            (Need::Release, "a debug build ran, not a release build"),
        ] {
            assert_eq!(need.lacks(&run).as_deref(), Some(words));
        }
    }

    #[test]
    fn a_part_of_a_command_or_more_than_it_is_another_command() {
        let lacks = |ran: &[&str], wanted| {
            let mut run = evidence("none", "head", "pass");
            run.configuration = json!({ "recorded": ran });
            Need::Ran(wanted).lacks(&run)
        };
        let fuzz = "tools/proofs.sh fuzz";
        assert_eq!(lacks(&["./tools/proofs.sh", "fuzz"], fuzz), None);
        assert_eq!(lacks(&["/src/tools/proofs.sh", "fuzz"], fuzz), None);
        // A second of each target, one fault, and another script.
        let short = lacks(&["tools/proofs.sh", "fuzz", "1"], fuzz);
        let words = "`tools/proofs.sh fuzz 1` ran, not `tools/proofs.sh fuzz`";
        assert_eq!(short.as_deref(), Some(words));
        assert!(lacks(&["true", "tools/proofs.sh", "fuzz"], fuzz).is_some());
        assert!(lacks(&["my-tools/proofs.sh", "fuzz"], fuzz).is_some());
        let faults = "cargo test --test tests faults::";
        let one = ["cargo", "test", "--test", "tests", "faults::one_test"];
        assert!(lacks(&one, faults).is_some());
        assert_eq!(lacks(&[&one[..4], &["faults::"]].concat(), faults), None);
        assert!(lacks(&[], faults).is_some());
    }

    #[test]
    fn bytes_an_event_are_shown_by_what_is_allocated_and_by_each_kinds_own_limit() {
        let need = Need::Counted("events.reconnects", 128.0);
        let lacks = |detail: Value| {
            let mut run = evidence("none", "head", "pass");
            let check = Check::new("events.reconnects", "events", "", Verdict::Pass);
            run.checks.push(check.detail(detail));
            need.lacks(&run)
        };
        let detail = |gauge: &str, limit: f64| json!({ "gauge": gauge, "limit_bytes": limit });
        assert_eq!(lacks(detail("allocated", 128.0)), None);
        let resident = lacks(detail("resident", 4096.0)).unwrap();
        assert!(resident.contains("measured by resident"), "{resident}");
        let raised = "events.reconnects was held to 4096 bytes an event, at most 128 are asked for";
        assert_eq!(lacks(detail("allocated", 4096.0)).as_deref(), Some(raised));
        let old = lacks(json!("0.1 bytes for each of 200")).unwrap();
        assert!(old.contains("measured by nobody knows what"), "{old}");
        let none = need.lacks(&evidence("none", "head", "pass"));
        assert_eq!(none.as_deref(), Some("events.reconnects was not tried"));
    }
}
