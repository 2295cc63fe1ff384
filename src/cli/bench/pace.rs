//! When the requests of an open loop are due: evenly spread, or so many at a time, the clients taking
//! turns.

use crate::clock::Nanos;

/// Nanoseconds of a second.
const SECOND: u128 = 1_000_000_000;

/// When one client's next request is due.
#[derive(Debug)]
pub(super) struct Pace {
    start: Nanos,
    /// Requests a second of all clients.
    rate: u64,
    /// Requests that are due at a time.
    burst: u32,
    clients: u32,
    /// Number of the next request among those of all clients.
    next: u64,
    due: Nanos,
}

impl Pace {
    /// The pace of client number `client`, counted from 0.
    pub(super) fn new(start: Nanos, rate: u64, burst: u32, clients: u32, client: u32) -> Self {
        let mut pace = Self {
            start,
            rate,
            burst: burst.max(1),
            clients,
            next: u64::from(client),
            due: start,
        };
        pace.find_due();
        pace
    }

    /// When the next request is due.
    pub(super) const fn due(&self) -> Nanos {
        self.due
    }

    /// The next request has been sent.
    pub(super) fn advance(&mut self) {
        self.next += u64::from(self.clients);
        self.find_due();
    }

    /// How many requests are due before `end` and have not been sent.
    pub(super) fn left(&self, end: Nanos) -> u64 {
        let before = self.next;
        let span = u128::from(end.since(self.start));
        // The first number that is due at `end` or later.
        let burst = u128::from(self.burst);
        let bursts = (span * u128::from(self.rate)).div_ceil(SECOND * burst);
        let bound = u64::try_from(bursts * burst);
        let numbers = bound.unwrap_or(u64::MAX).saturating_sub(before);
        numbers.div_ceil(u64::from(self.clients))
    }

    /// Computed from the number each time, so that no rounding adds up.
    fn find_due(&mut self) {
        let first = self.next - self.next % u64::from(self.burst);
        let nanos = u128::from(first) * SECOND / u128::from(self.rate.max(1));
        let nanos = u64::try_from(nanos).unwrap_or(u64::MAX);
        self.due = Nanos(self.start.0.saturating_add(nanos));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_take_turns_at_the_rate_of_all() {
        let mut due = Vec::new();
        for client in 0..3 {
            let mut pace = Pace::new(Nanos(1000), 3_000_000, 1, 3, client);
            for _ in 0..3 {
                due.push(pace.due().0);
                pace.advance();
            }
        }
        due.sort_unstable();
        let expected = [1000, 1333, 1666, 2000, 2333, 2666, 3000, 3333, 3666];
        assert_eq!(due, expected);
    }

    #[test]
    fn what_is_left_counts_only_what_is_due_before_the_end() {
        for burst in [1, 2, 5] {
            let mut pace = Pace::new(Nanos(0), 10, burst, 2, 1);
            let end = Nanos(1_000_000_000);
            let mut sent = 0;
            while pace.due() < end {
                assert_eq!(pace.left(end), 5 - sent);
                pace.advance();
                sent += 1;
            }
            assert_eq!((sent, pace.left(end)), (5, 0));
        }
    }

    #[test]
    fn a_burst_is_due_at_one_moment() {
        let mut pace = Pace::new(Nanos(7), 1_000_000, 100, 1, 0);
        for place in 0..300 {
            assert_eq!(pace.due().0, 7 + place / 100 * 100_000);
            pace.advance();
        }
    }
}
