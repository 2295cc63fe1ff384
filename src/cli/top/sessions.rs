//! The table of sessions: its columns, which of its rows are shown, and in which order.

use core::cmp::Ordering;

use clap::ValueEnum;

use super::figures::{NONE, clean, count, percent, rate, time};
use super::sample::SessionSample;

/// A column of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Column {
    /// Number of the session: the order in which they attached.
    Session,
    /// The client's process.
    Pid,
    /// The client's user.
    Uid,
    /// What the process is called.
    Command,
    /// The worker that serves it.
    Worker,
    /// Requests accepted and not completed.
    InFlight,
    /// How full the submission ring is.
    Ring,
    /// Completions per second.
    Rate,
    /// Time that half of the newest requests took at most.
    P50,
    /// Time that 99 of 100 of them took at most.
    P99,
}

impl Column {
    /// All of them, in the order of the table.
    pub(super) const ALL: [Self; 10] = [
        Self::Session,
        Self::Pid,
        Self::Uid,
        Self::Command,
        Self::Worker,
        Self::InFlight,
        Self::Ring,
        Self::Rate,
        Self::P50,
        Self::P99,
    ];

    /// What stands above it.
    pub(super) const fn title(self) -> &'static str {
        match self {
            Self::Session => "SESSION",
            Self::Pid => "PID",
            Self::Uid => "UID",
            Self::Command => "COMMAND",
            Self::Worker => "WORKER",
            Self::InFlight => "IN FLIGHT",
            Self::Ring => "RING",
            Self::Rate => "RATE/S",
            Self::P50 => "P50",
            Self::P99 => "P99",
        }
    }

    /// The column that is so many places further; the first follows the last.
    pub(super) fn step(self, by: isize) -> Self {
        let at = Self::ALL.iter().position(|column| *column == self);
        let at = at.unwrap_or(0).checked_add_signed(by);
        let at = at.unwrap_or(Self::ALL.len() - 1) % Self::ALL.len();
        Self::ALL.get(at).copied().unwrap_or(self)
    }

    /// Whether the largest comes first unless told otherwise: what is measured, not what names.
    const fn is_falling(self) -> bool {
        matches!(
            self,
            Self::InFlight | Self::Ring | Self::Rate | Self::P50 | Self::P99
        )
    }

    /// What stands in it.
    pub(super) fn cell(self, row: &SessionSample) -> String {
        let now = &row.now;
        match self {
            Self::Session => now.session.to_string(),
            Self::Pid => now.pid.to_string(),
            Self::Uid => now.uid.to_string(),
            Self::Command => command(row),
            Self::Worker => now.worker.to_string(),
            Self::InFlight => count(now.in_flight),
            Self::Ring => percent(row.ring_fill),
            Self::Rate => rate(row.completed_per_second),
            Self::P50 => time(now.p50_seconds),
            Self::P99 => time(now.p99_seconds),
        }
    }

    fn compare(self, a: &SessionSample, b: &SessionSample) -> Ordering {
        // What was not measured is less than anything that was.
        let time = |a: Option<f64>, b: Option<f64>| a.unwrap_or(-1.0).total_cmp(&b.unwrap_or(-1.0));
        let (x, y) = (&a.now, &b.now);
        match self {
            Self::Session => x.session.cmp(&y.session),
            Self::Pid => x.pid.cmp(&y.pid),
            Self::Uid => x.uid.cmp(&y.uid),
            Self::Command => command(a).cmp(&command(b)),
            Self::Worker => x.worker.cmp(&y.worker),
            Self::InFlight => x.in_flight.cmp(&y.in_flight),
            Self::Ring => a.ring_fill.total_cmp(&b.ring_fill),
            Self::Rate => a.completed_per_second.total_cmp(&b.completed_per_second),
            Self::P50 => time(x.p50_seconds, y.p50_seconds),
            Self::P99 => time(x.p99_seconds, y.p99_seconds),
        }
    }
}

/// What the kernel calls the process, and what the client calls itself if that is something else.
fn command(row: &SessionSample) -> String {
    let name = clean(&row.now.name);
    match row.now.command.as_deref().map(clean) {
        Some(command) if name.is_empty() || name == command => command,
        Some(command) => format!("{command} ({name})"),
        None if name.is_empty() => NONE.to_owned(),
        None => format!("({name})"),
    }
}

/// In which order rows come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sort {
    pub(super) column: Column,
    pub(super) is_reversed: bool,
}

impl Sort {
    /// By this column, what matters first.
    pub(super) const fn by(column: Column) -> Self {
        Self {
            column,
            is_reversed: false,
        }
    }

    /// Whether the largest comes first.
    pub(super) const fn is_falling(self) -> bool {
        self.column.is_falling() != self.is_reversed
    }
}

/// The rows that contain `filter`, in this order. Those that are equal come in the order in which
/// they attached, so that they do not change places without a reason.
pub(super) fn arrange<'s>(
    sessions: &'s [SessionSample],
    filter: &str,
    sort: Sort,
) -> Vec<&'s SessionSample> {
    let filter = filter.to_lowercase();
    let contains = |row: &&SessionSample| {
        let mut texts = [Column::Pid, Column::Uid, Column::Command].map(|column| column.cell(row));
        let mut texts = texts.iter_mut();
        filter.is_empty() || texts.any(|text| text.to_lowercase().contains(&filter))
    };
    let mut rows: Vec<_> = sessions.iter().filter(contains).collect();
    rows.sort_by(|a, b| {
        let order = sort.column.compare(a, b);
        let order = if sort.is_falling() {
            order.reverse()
        } else {
            order
        };
        order.then(a.now.session.cmp(&b.now.session))
    });
    rows
}

#[cfg(test)]
mod tests {
    use super::super::fixture;
    use super::super::sample::Sampler;
    use super::*;

    fn rows() -> Vec<SessionSample> {
        let (earlier, later) = fixture::statuses();
        let mut sampler = Sampler::default();
        sampler.push(earlier);
        sampler.push(later).unwrap().sessions
    }

    fn numbers(rows: &[SessionSample], filter: &str, sort: Sort) -> Vec<u32> {
        let rows = arrange(rows, filter, sort);
        rows.iter().map(|row| row.now.session).collect()
    }

    #[test]
    fn what_is_measured_falls_and_what_names_rises() {
        let rows = rows();
        let by = |column| numbers(&rows, "", Sort::by(column));
        assert_eq!(by(Column::Rate), [1, 2, 7]);
        assert_eq!(by(Column::P99), [1, 2, 7]);
        assert_eq!(by(Column::InFlight), [1, 2, 7]);
        assert_eq!(by(Column::Ring), [1, 2, 7]);
        assert_eq!(by(Column::Pid), [7, 2, 1]);
        assert_eq!(by(Column::Command), [7, 2, 1]);
        assert_eq!(by(Column::Worker), [2, 7, 1]);
        let reversed = Sort {
            column: Column::Rate,
            is_reversed: true,
        };
        assert_eq!(numbers(&rows, "", reversed), [7, 2, 1]);
    }

    #[test]
    fn a_filter_finds_parts_of_command_process_and_user() {
        let rows = rows();
        let found = |filter| numbers(&rows, filter, Sort::by(Column::Session));
        assert_eq!(found("TRADE"), [1]);
        assert_eq!(found("471"), [1]);
        assert_eq!(found("1001"), [7]);
        assert_eq!(found("e"), [1, 2]);
        assert!(found("nobody").is_empty());
    }

    #[test]
    fn columns_follow_one_another_round() {
        assert_eq!(Column::P99.step(1), Column::Session);
        assert_eq!(Column::Session.step(-1), Column::P99);
        let mut column = Column::Pid;
        for _ in Column::ALL {
            column = column.step(1);
        }
        assert_eq!(column, Column::Pid);
    }

    #[test]
    fn a_command_has_the_clients_own_name_beside_it() {
        let mut row = rows().remove(0);
        assert_eq!(Column::Command.cell(&row), "trader");
        row.now.name = "eu\u{1b}1".to_owned();
        assert_eq!(Column::Command.cell(&row), "trader (eu?1)");
        row.now.command = None;
        assert_eq!(Column::Command.cell(&row), "(eu?1)");
    }
}
