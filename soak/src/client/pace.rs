//! When the requests of an open loop are due: evenly spread, the clients taking turns.

/// Nanoseconds of a second.
const SECOND: u128 = 1_000_000_000;

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

#[cfg(test)]
mod tests {
    use super::*;

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
