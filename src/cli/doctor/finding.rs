//! The checks by name, and what one has found.

use core::fmt;

use serde::Serialize;

/// How grave it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub(super) enum Level {
    Ok,
    /// It works, but slower, or with less than it could.
    Warn,
    /// A gateway would not start, or requests would fail.
    Fail,
}

/// What is checked; `docs/OPERATIONS.md` has a line for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) enum Check {
    #[serde(rename = "process")]
    Process,
    #[serde(rename = "kernel")]
    Kernel,
    #[serde(rename = "descriptors")]
    Descriptors,
    #[serde(rename = "memory")]
    Memory,
    #[serde(rename = "swap")]
    Swap,
    #[serde(rename = "users")]
    Users,
    #[serde(rename = "processes")]
    Processes,
    #[serde(rename = "clock")]
    Clock,
    #[serde(rename = "cores")]
    Cores,
    #[serde(rename = "isolation")]
    Isolation,
    #[serde(rename = "governor")]
    Governor,
    #[serde(rename = "socket")]
    Socket,
    #[serde(rename = "nats.connect")]
    Connect,
    #[serde(rename = "nats.secrets")]
    Secrets,
    #[serde(rename = "nats.version")]
    Version,
    #[serde(rename = "nats.inbox")]
    Inbox,
    #[serde(rename = "nats.round_trip")]
    RoundTrip,
    #[serde(rename = "nats.max_payload")]
    MaxPayload,
    #[serde(rename = "nats.permission")]
    Permission,
    #[serde(rename = "nats.backpressure")]
    Backpressure,
    #[serde(rename = "nats.stream")]
    Stream,
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

/// What a check has found, and what to do about it (nothing, if it is OK).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    pub(super) check: Check,
    pub(super) level: Level,
    pub(super) found: String,
    pub(super) advice: String,
}

impl Finding {
    pub(super) fn ok(check: Check, found: impl Into<String>) -> Self {
        Self::new(check, Level::Ok, found, "")
    }

    pub(super) fn warn(check: Check, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self::new(check, Level::Warn, found, advice)
    }

    pub(super) fn fail(check: Check, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self::new(check, Level::Fail, found, advice)
    }

    fn new(
        check: Check,
        level: Level,
        found: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        Self {
            check,
            level,
            found: found.into(),
            advice: advice.into(),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let level = match self.level {
            Level::Ok => "OK",
            Level::Warn => "WARN",
            Level::Fail => "FAIL",
        };
        let Self {
            check,
            found,
            advice,
            ..
        } = self;
        write!(f, "{level:<5} {check}: {found}")?;
        if !advice.is_empty() {
            write!(f, "\n      {advice}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_check_is_documented_and_every_documented_check_is_one() {
        let source = include_str!("finding.rs");
        let (source, _) = source.split_once("#[cfg(test)]").unwrap();
        let names = source.lines().filter_map(|line| {
            let name = line.trim().strip_prefix("#[serde(rename = \"")?;
            name.strip_suffix("\")]")
        });
        let names: BTreeSet<&str> = names.collect();
        let document = include_str!("../../../docs/OPERATIONS.md");
        let (_, table) = document.split_once("<!-- doctor -->").unwrap();
        let (table, _) = table.split_once("<!-- end of doctor -->").unwrap();
        let rows = table.lines().filter_map(|line| line.strip_prefix("| `"));
        let documented: BTreeSet<&str> = rows.filter_map(|row| row.split('`').next()).collect();
        assert!(names.len() > 15);
        assert_eq!(names, documented);
    }

    #[test]
    fn a_line_says_the_level_and_what_to_do() {
        let finding = Finding::warn(Check::MaxPayload, "small", "make it larger");
        let text = "WARN  nats.max_payload: small\n      make it larger";
        assert_eq!(finding.to_string(), text);
        let json = serde_json::to_value(&finding).unwrap();
        assert_eq!(json["check"], "nats.max_payload");
        assert_eq!(json["level"], "WARN");
        assert_eq!(
            Finding::ok(Check::Swap, "none").to_string(),
            "OK    swap: none"
        );
    }
}
