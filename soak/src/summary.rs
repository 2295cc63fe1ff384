//! What was promised, whether it held, and what was measured.

use std::fmt;
use std::time::Duration;

use crate::ledger::Account;
use crate::sampler::Sample;

/// One promise.
#[derive(Clone, Debug)]
struct Promise {
    held: Held,
    text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Held {
    Yes,
    No,
}

/// The result of a run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Summary {
    promises: Vec<Promise>,
    /// Sums of the clients that lived to the end.
    pub(crate) account: Account,
    /// How long there was load.
    pub(crate) load: Duration,
    /// The gateway over time.
    pub(crate) samples: Vec<Sample>,
}

impl Summary {
    /// Records a promise and whether it held.
    pub(crate) fn promise(&mut self, held: bool, text: impl Into<String>) {
        self.promises.push(Promise {
            held: if held { Held::Yes } else { Held::No },
            text: text.into(),
        });
    }

    /// Whether every promise held.
    pub(crate) fn all_held(&self) -> bool {
        self.promises
            .iter()
            .all(|promise| promise.held == Held::Yes)
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "SUMMARY")?;
        let seconds = self.load.as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "for people")]
        let rate = self.account.sent as f64 / seconds;
        let sent = self.account.sent;
        writeln!(
            f,
            "  load        {sent} requests in {seconds:.1} s, {rate:.0}/s"
        )?;
        write!(f, "  completions")?;
        for (code, count) in &self.account.codes {
            write!(f, " {code} {count}")?;
        }
        let resident = self.samples.iter().map(|sample| sample.resident >> 10);
        let descriptors = self.samples.iter().map(|sample| sample.descriptors);
        writeln!(f)?;
        writeln!(
            f,
            "  gateway     resident {} to {} KiB, {} to {} descriptors, {} samples",
            resident.clone().min().unwrap_or(0),
            resident.max().unwrap_or(0),
            descriptors.clone().min().unwrap_or(0),
            descriptors.max().unwrap_or(0),
            self.samples.len()
        )?;
        for promise in &self.promises {
            let mark = match promise.held {
                Held::Yes => "held  ",
                Held::No => "BROKEN",
            };
            writeln!(f, "  {mark}      {}", promise.text)?;
        }
        let verdict = if self.all_held() { "PASS" } else { "FAIL" };
        write!(f, "  verdict     {verdict}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_broken_promise_fails_the_run() {
        let mut summary = Summary::default();
        summary.promise(true, "one");
        assert!(summary.all_held() && summary.to_string().ends_with("PASS"));
        summary.promise(false, "two");
        assert!(!summary.all_held());
        let text = summary.to_string();
        assert!(
            text.contains("BROKEN      two") && text.ends_with("FAIL"),
            "{text}"
        );
    }
}
