//! The report as Markdown.

use core::fmt::Write as _;

use serde::Serialize;

use crate::plan::Axis;
use crate::score::{Gate, Judged, Score};

/// Everything that is said.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// The form of this document.
    pub(crate) schema: u32,
    pub(crate) revision: String,
    pub(crate) dirty: bool,
    /// Coordinated universal time.
    pub(crate) date: String,
    #[serde(flatten)]
    pub(crate) score: Score,
    /// What was found and does not count.
    pub(crate) unusable: Vec<String>,
}

impl Report {
    pub(crate) fn markdown(&self) -> String {
        let mut out = String::new();
        let dirty = if self.dirty {
            ", with changes that are not committed"
        } else {
            ""
        };
        let score = &self.score;
        write!(
            out,
            "# Readiness\n\nRevision {}{dirty}, {}.\n\n\
             | axis | weight | score |\n|---|---:|---:|\n",
            short(&self.revision),
            self.date
        )
        .ok();
        for axis in &score.axes {
            writeln!(
                out,
                "| {} | {} % | {} |",
                axis.axis.name(),
                axis.axis.percent(),
                percent(axis.score)
            )
            .ok();
        }
        write!(
            out,
            "| **overall** | 100 % | **{}** |\n\n{}{}",
            percent(score.overall),
            gate("Staging", &score.staging),
            gate("Production", &score.production)
        )
        .ok();
        for axis in Axis::ALL {
            self.axis(&mut out, axis);
        }
        if !self.unusable.is_empty() {
            out.push_str("\n## Not counted\n\n");
        }
        for what in &self.unusable {
            writeln!(out, "- {}", cell(what)).ok();
        }
        out
    }

    fn axis(&self, out: &mut String, axis: Axis) {
        let areas = self.score.axes.iter().find(|it| it.axis == axis);
        let areas = areas.map_or(&[][..], |it| &it.areas);
        for area in areas {
            write!(
                out,
                "\n## {}: {}, {}\n\n\
                 | what must be shown | verdict | checks | evidence | age | revision |\n\
                 |---|---|---:|---|---:|---|\n",
                axis.name(),
                area.name,
                percent(area.score)
            )
            .ok();
            let lines = self.score.lines.iter();
            for line in lines.filter(|it| it.axis == axis && it.area == area.name) {
                out.push_str(&row(line));
            }
        }
    }
}

fn row(line: &Judged) -> String {
    let mut name = line.name.to_owned();
    for said in [&line.why, &line.note] {
        if !said.is_empty() {
            write!(name, "<br>{}", cell(said)).ok();
        }
    }
    format!(
        "| {name} | {} | {}/{} | {} | {} | {} |\n",
        line.verdict.name(),
        line.passed,
        line.expected,
        line.evidence
            .as_ref()
            .map_or_else(|| "-".to_owned(), |path| path.display().to_string()),
        line.age_seconds.map_or_else(|| "-".to_owned(), age),
        line.revision.as_deref().unwrap_or("-"),
    )
}

fn gate(name: &str, gate: &Gate) -> String {
    let mut out = format!("{name}: **{}**\n", if gate.open { "yes" } else { "no" });
    for why in &gate.blocking {
        writeln!(out, "- blocked by {}", cell(why)).ok();
    }
    out.push('\n');
    out
}

/// Text that cannot break a table.
fn cell(text: &str) -> String {
    text.replace('\n', " ").replace('|', "\\|")
}

/// The first letters of a revision.
pub(crate) fn short(revision: &str) -> &str {
    revision.get(..12).unwrap_or(revision)
}

fn percent(part: f64) -> String {
    format!("{:.1} %", part * 100.0)
}

fn age(seconds: u64) -> String {
    match seconds {
        0..3600 => format!("{} min", seconds / 60),
        3600..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::tests::{evidence, revisions};

    #[test]
    fn the_report_says_axes_gates_and_what_blocks_them() {
        let runs = [evidence("loom", "head", "pass")];
        let report = Report {
            schema: 1,
            revision: "0123456789abcdef".to_owned(),
            dirty: false,
            date: "2026-11-26".to_owned(),
            score: Score::new(&runs, &revisions("head"), 7200),
            unusable: vec!["artifacts/e2e/x: did not end".to_owned()],
        };
        let text = report.markdown();
        assert!(
            text.contains("Revision 0123456789ab, 2026-11-26."),
            "{text}"
        );
        assert!(text.contains("| Core | 40 % | 6.7 % |"), "{text}");
        assert!(text.contains("| System | 60 % | 0.0 % |"), "{text}");
        assert!(
            text.contains("| **overall** | 100 % | **2.7 %** |"),
            "{text}"
        );
        assert!(text.contains("Production: **no**\n- blocked by "), "{text}");
        assert!(text.ends_with("## Not counted\n\n- artifacts/e2e/x: did not end\n"));
        assert!(text.contains("| pass | 1/1 | artifacts/loom/run | 2 h | head |"));
    }

    #[test]
    fn text_of_a_check_cannot_break_the_table() {
        assert_eq!(cell("a|b\nc"), "a\\|b c");
    }
}
