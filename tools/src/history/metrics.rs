//! The gateway's counters, from the text of its admin server.

use std::collections::BTreeMap;

use thiserror::Error;

/// What the books say. All sums are over the workers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Books {
    /// Requests taken from rings.
    pub accepted: u64,
    /// Completions by code.
    pub completions: BTreeMap<String, u64>,
    /// Requests whose session ended before their completion.
    pub abandoned: u64,
    /// Requests accepted and not completed.
    pub in_flight: u64,
    /// Sessions served.
    pub sessions: u64,
    /// Answers that found no room, which must never be.
    pub answers_refused: u64,
}

/// The text is not what the gateway writes.
#[derive(Debug, Error)]
#[error("line '{0}' is no sample of OpenMetrics text")]
pub struct MetricsError(String);

impl Books {
    /// Reads them.
    ///
    /// # Errors
    /// When a line that matters is not well-formed.
    pub fn parse(text: &str) -> Result<Self, MetricsError> {
        let mut books = Self::default();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let name = line.split(['{', ' ']).next().unwrap_or_default();
            let target = match name {
                "ipcgw_accepted_total" => &mut books.accepted,
                "ipcgw_abandoned_total" => &mut books.abandoned,
                "ipcgw_in_flight" => &mut books.in_flight,
                "ipcgw_sessions" => &mut books.sessions,
                "ipcgw_answers_refused_total" => &mut books.answers_refused,
                "ipcgw_completions_total" => {
                    let code = label(line, "code").ok_or_else(|| bad(line))?;
                    books.completions.entry(code.to_owned()).or_default()
                }
                _ => continue,
            };
            let (_, value) = line.rsplit_once(' ').ok_or_else(|| bad(line))?;
            *target += value.parse::<u64>().map_err(|_| bad(line))?;
        }
        Ok(books)
    }

    /// Completions of every code.
    #[must_use]
    pub fn completed(&self) -> u64 {
        self.completions.values().sum()
    }

    /// What has been counted since `before`; what is a state stays as it is.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        let less = |code: &String, count: &u64| {
            count.saturating_sub(before.completions.get(code).copied().unwrap_or(0))
        };
        Self {
            accepted: self.accepted.saturating_sub(before.accepted),
            completions: self
                .completions
                .iter()
                .map(|(code, count)| (code.clone(), less(code, count)))
                .collect(),
            abandoned: self.abandoned.saturating_sub(before.abandoned),
            ..self.clone()
        }
    }
}

fn bad(line: &str) -> MetricsError {
    MetricsError(line.to_owned())
}

fn label<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = line.split_once(&format!("{name}=\""))?;
    rest.split('"').next()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# TYPE ipcgw_accepted counter\n\
        ipcgw_accepted_total{worker=\"0\"} 5\n\
        ipcgw_accepted_total{worker=\"1\"} 2\n\
        ipcgw_completions_total{outcome=\"answered\",code=\"OK\"} 4\n\
        ipcgw_completions_total{outcome=\"unknown\",code=\"TIMEOUT\"} 1\n\
        ipcgw_abandoned_total{worker=\"0\"} 1\n\
        ipcgw_in_flight{worker=\"0\"} 1\n\
        ipcgw_other 9\n# EOF\n";

    #[test]
    fn sums_are_over_the_workers_and_differences_over_time() {
        let books = Books::parse(TEXT).unwrap();
        assert_eq!((books.accepted, books.completed()), (7, 5));
        let later = books.since(&books);
        assert_eq!(
            (later.accepted, later.completed(), later.in_flight),
            (0, 0, 1)
        );
        Books::parse("ipcgw_accepted_total{worker=\"0\"} x").unwrap_err();
    }
}
