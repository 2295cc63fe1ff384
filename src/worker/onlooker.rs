//! Whether somebody looks at this worker. What only they want to see is shown when they ask, and
//! counted only while they are there, so that it costs nothing otherwise.

use std::time::Duration;

use crate::clock::Nanos;

/// How long after a question somebody is taken to look on.
pub const WATCHED: Duration = Duration::from_secs(15);

/// Those who look, and how busy they have seen the worker.
#[derive(Debug, Default)]
pub struct Onlooker {
    is_there: bool,
    /// Until when they are taken to be there.
    until: Nanos,
    /// When the newest cycle began, and whether it found something to do.
    cycle: (Nanos, bool),
}

impl Onlooker {
    /// Whether somebody looks.
    #[inline]
    #[must_use]
    pub const fn is_there(&self) -> bool {
        self.is_there
    }

    /// Somebody has asked.
    pub fn asked(&mut self, now: Nanos) {
        if !self.is_there {
            self.cycle = (now, false);
        }
        self.is_there = true;
        self.until = now.after(WATCHED);
    }

    /// A cycle that began now has done so much. Returns the nanoseconds since the cycle before
    /// began, if that one found something to do.
    #[cold]
    pub fn cycle(&mut self, done: usize, now: Nanos) -> u64 {
        self.is_there = now < self.until;
        let (began, found) = core::mem::replace(&mut self.cycle, (now, done > 0));
        if found { now.since(began) } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_is_there_for_a_while_and_who_asks_again_for_longer() {
        let mut onlooker = Onlooker::default();
        let mut now = Nanos(1);
        assert!(!onlooker.is_there());
        for _ in 0..3 {
            onlooker.asked(now);
            now = now.after(WATCHED / 2);
            onlooker.cycle(0, now);
            assert!(onlooker.is_there());
        }
        now = now.after(WATCHED / 2);
        onlooker.cycle(0, now);
        assert!(!onlooker.is_there());
    }

    #[test]
    fn a_cycle_that_found_something_lasts_until_the_next_begins() {
        let mut onlooker = Onlooker::default();
        let began = [
            (10, 0),
            (20, 3),
            (50, 1),
            (51, 0),
            (1_000, 0),
            (1_001, 2),
            (1_003, 0),
        ];
        onlooker.asked(Nanos(0));
        let busy = began.map(|(at, done)| onlooker.cycle(done, Nanos(at)));
        assert_eq!(busy, [0, 0, 30, 1, 0, 0, 2]);
        // Time without an onlooker does not count.
        onlooker.cycle(1, Nanos(2_000));
        onlooker.is_there = false;
        onlooker.asked(Nanos(5_000));
        assert_eq!(onlooker.cycle(0, Nanos(6_000)), 0);
    }
}
