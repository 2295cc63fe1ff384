//! What one check has seen: sent, captured, got, and what must have been so.

use core::fmt::Display;

use super::client::Client;
use super::failure::Failure;
use super::orders::{Ask, FlowReport, Got};
use super::wire::Message;
use crate::artifact::{Check, Verdict};
use serde_json::{Value, json};

/// Entries of each list.
const KEPT: usize = 30;

/// What one check has seen.
#[derive(Debug, Default)]
pub struct Report {
    sent: Vec<Value>,
    wire: Vec<Value>,
    got: Vec<Value>,
    held: Vec<String>,
    wrong: Vec<String>,
    figures: serde_json::Map<String, Value>,
    not_listed: u64,
}

impl Report {
    /// What must be so. All of it is in the evidence, whether it is so or not.
    pub fn must(&mut self, is_so: bool, what: impl Display) {
        let list = if is_so {
            &mut self.held
        } else {
            &mut self.wrong
        };
        if list.len() < KEPT {
            list.push(what.to_string());
        }
    }

    /// Two things that must be equal.
    pub fn equal<T: PartialEq + Display>(&mut self, what: impl Display, found: &T, expected: &T) {
        if found == expected {
            self.must(true, format_args!("{what} is {found}"));
        } else {
            self.must(false, format_args!("{what} is {found}, not {expected}"));
        }
    }

    /// Asks through this client, and keeps both for the evidence.
    ///
    /// # Errors
    /// Those of [`Client::call`].
    pub fn call(&mut self, client: &mut Client, ask: Ask) -> Result<Got, Failure> {
        self.sent(&ask);
        let got = client.call(ask)?;
        self.got(&got);
        Ok(got)
    }

    /// A request that was sent.
    pub fn sent(&mut self, ask: &Ask) {
        self.keep(|own| &mut own.sent, ask.shown());
    }

    /// A completion.
    pub fn got(&mut self, got: &Got) {
        self.keep(|own| &mut own.got, got.shown());
    }

    /// Many requests and completions.
    pub fn flow(&mut self, flow: &FlowReport) {
        let shown = serde_json::to_value(flow).unwrap_or(Value::Null);
        self.keep(|own| &mut own.got, shown);
    }

    /// A message on the wire.
    pub fn captured(&mut self, message: &Message) {
        self.keep(|own| &mut own.wire, message.shown());
    }

    /// A number or a text that belongs to the evidence.
    pub fn figure(&mut self, name: &str, value: impl Into<Value>) {
        self.figures.insert(name.to_owned(), value.into());
    }

    /// Every request of a flow completed exactly once, with its own answer.
    pub fn whole(&mut self, flow: &FlowReport) {
        self.flow(flow);
        self.must(
            flow.is_whole(),
            format_args!(
                "each of {} requests completes once, with its own answer ({} completed, {} \
                 wrong, {} unanswered{}{})",
                flow.sent,
                flow.completed,
                flow.wrong,
                flow.unanswered,
                if flow.faults.is_empty() { "" } else { ": " },
                flow.faults.join("; "),
            ),
        );
    }

    /// A completion has this code and status.
    pub fn answer(&mut self, what: &str, got: &Got, code: &str, status: u16) {
        let found = format!("{} {}", got.code, got.status);
        self.equal(what, &found, &format!("{code} {status}"));
    }

    fn keep(&mut self, list: impl Fn(&mut Self) -> &mut Vec<Value>, value: Value) {
        let list = list(self);
        if list.len() < KEPT {
            list.push(value);
        } else {
            self.not_listed += 1;
        }
    }

    /// The check, given how it ended. One that has looked at nothing has failed.
    #[must_use]
    pub fn check(
        mut self,
        (id, category, name): (&str, &str, &str),
        ended: Result<(), Failure>,
    ) -> Check {
        if let Err(failure) = ended {
            self.wrong.push(failure.to_string());
        } else if self.held.is_empty() && self.wrong.is_empty() {
            self.wrong.push("nothing was checked".to_owned());
        }
        let is_right = self.wrong.is_empty();
        let seen = if is_right { &self.held } else { &self.wrong };
        let detail = json!({
            "seen": seen.join("; "), "wrong": self.wrong, "held": self.held, "sent": self.sent,
            "wire": self.wire, "got": self.got, "figures": self.figures,
            "not_listed": self.not_listed,
        });
        Check::new(id, category, name, Verdict::from(is_right)).detail(detail)
    }
}

/// The text at a JSON pointer; `absent` when there is none.
#[must_use]
pub fn said<'a>(body: &'a Value, pointer: &str) -> &'a str {
    let found = body.pointer(pointer).and_then(Value::as_str);
    found.unwrap_or("absent")
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHO: (&str, &str, &str) = ("a.1", "a", "n");

    #[test]
    fn a_check_passes_only_when_something_held_and_nothing_was_wrong() {
        let mut good = Report::default();
        good.equal("one", &1, &1);
        assert_eq!(good.check(WHO, Ok(())).verdict, Verdict::Pass);
        let mut bad = Report::default();
        bad.must(true, "one");
        bad.equal("two", &1, &2);
        let check = bad.check(WHO, Ok(()));
        assert_eq!(check.verdict, Verdict::Fail);
        assert_eq!(check.detail["seen"], "two is 1, not 2");
        assert_eq!(Report::default().check(WHO, Ok(())).verdict, Verdict::Fail);
        let mut broken = Report::default();
        broken.must(true, "one");
        let check = broken.check(WHO, Err(Failure::new("it ended")));
        assert_eq!(check.verdict, Verdict::Fail);
    }
}
