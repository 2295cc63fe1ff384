//! The gateway's books: every accepted request is completed, abandoned or in flight.

use super::admin::get;
use super::eventually;
use super::gateway::Gateway;

/// The four sums of one look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Books {
    pub(crate) accepted: u64,
    pub(crate) completed: u64,
    pub(crate) abandoned: u64,
    pub(crate) in_flight: u64,
}

impl Books {
    /// What the gateway says now.
    pub(crate) fn of(gateway: &Gateway) -> Self {
        let (status, text) = get(gateway, "/metrics");
        assert_eq!(status, 200);
        let sum = |name: &str| {
            let samples = text.lines().filter_map(|line| {
                let (series, value) = line.rsplit_once(' ')?;
                let series = series.split('{').next()?;
                (series == name).then(|| value.parse::<u64>().unwrap())
            });
            samples.sum()
        };
        Self {
            accepted: sum("ipcgw_accepted_total"),
            completed: sum("ipcgw_completions_total"),
            abandoned: sum("ipcgw_abandoned_total"),
            in_flight: sum("ipcgw_in_flight"),
        }
    }

    const fn balance(self) -> bool {
        self.accepted == self.completed + self.abandoned + self.in_flight
    }
}

/// Waits until nothing is in flight, when the books must balance; returns them. The caller sees to
/// it that nobody submits.
pub(crate) fn at_rest(gateway: &Gateway) -> Books {
    let mut books = Books::of(gateway);
    eventually("nothing is in flight and the books balance", || {
        books = Books::of(gateway);
        books.in_flight == 0 && books.balance()
    });
    books
}
