//! When the requests of an open loop are due: evenly spread, the clients taking turns. And what becomes
//! of one that was not sent in time.

/// Nanoseconds of a second.
const SECOND: u128 = 1_000_000_000;
/// How long a request that is due waits to be sent before it is given up, in nanoseconds.
const PATIENCE: u64 = 1_000_000_000;

/// When one client's next request is due.
#[derive(Debug)]
pub(crate) struct Pace {
    start: u64,
    /// Requests a second of all clients.
    rate: u64,
    clients: u64,
    /// Number of the next request among those of all clients.
    next: u64,
    due: u64,
}

impl Pace {
    /// The pace of client `number`, counted from 0, from `start` in nanoseconds.
    pub(crate) fn new(start: u64, rate: u64, clients: u32, number: u32) -> Self {
        let mut pace = Self {
            start,
            rate: rate.max(1),
            clients: u64::from(clients.max(1)),
            next: u64::from(number),
            due: start,
        };
        pace.find_due();
        pace
    }

    /// When the next request is due.
    pub(crate) const fn due(&self) -> u64 {
        self.due
    }

    /// The next request has been sent, or given up.
    pub(crate) fn advance(&mut self) {
        self.next += self.clients;
        self.find_due();
    }

    /// Computed from the number each time, so that no rounding adds up.
    fn find_due(&mut self) {
        let nanos = u128::from(self.next) * SECOND / u128::from(self.rate);
        let nanos = u64::try_from(nanos).unwrap_or(u64::MAX);
        self.due = self.start.saturating_add(nanos);
    }
}

/// What becomes of a request that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is to be sent.
    Due,
    /// It has waited too long.
    GivenUp {
        /// Its [`lag`], where there was room for it: then it waited for this client and not for the
        /// gateway.
        lag: Option<u64>,
    },
}

/// What becomes of a request that was due at `due`. `roomy_since` is since when the window has had room;
/// none while it is full. All are in nanoseconds of the monotonic clock.
pub(crate) fn fate(due: u64, roomy_since: Option<u64>, now: u64) -> Fate {
    if due + PATIENCE >= now {
        return Fate::Due;
    }
    Fate::GivenUp {
        lag: roomy_since.map(|since| lag(due, since, now)),
    }
}

/// For how long a request has been due while there was room for it, in microseconds.
pub(crate) fn lag(due: u64, roomy_since: u64, now: u64) -> u64 {
    now.saturating_sub(due.max(roomy_since)) / 1000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_stalled_client_gives_up_is_late_by_its_own_doing() {
        const MS: u64 = 1_000_000;
        let given_up = |lag| Fate::GivenUp { lag };
        // Two seconds in which it did nothing, though there was room.
        assert_eq!(fate(10 * MS, Some(0), 2010 * MS), given_up(Some(2_000_000)));
        // The window was full until a moment ago, or is still.
        let late = fate(10 * MS, Some(2000 * MS), 2010 * MS);
        assert_eq!(late, given_up(Some(10_000)));
        assert_eq!(fate(10 * MS, None, 2010 * MS), given_up(None));
        // Less than a second overdue it is sent.
        assert_eq!(fate(10 * MS, Some(0), 1010 * MS), Fate::Due);
        assert_eq!(lag(10 * MS, 0, 1010 * MS), 1_000_000);
    }

    #[test]
    fn clients_take_turns_at_the_rate_of_all() {
        let mut due = Vec::new();
        for client in 0..3 {
            let mut pace = Pace::new(1000, 3_000_000, 3, client);
            for _ in 0..3 {
                due.push(pace.due());
                pace.advance();
            }
        }
        due.sort_unstable();
        let expected = [1000, 1333, 1666, 2000, 2333, 2666, 3000, 3333, 3666];
        assert_eq!(due, expected);
    }
}
