//! The fault dice: what goes wrong with which request. With a seed, the same in every run.

use std::time::Duration;

use fastrand::Rng;

use crate::args::{Faults, Rate};

/// What goes wrong with a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing.
    None,
    /// It is not sent.
    Silent,
    /// Its header block cannot be parsed.
    Malformed,
    /// It is an error.
    Error,
}

/// When a reply is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pace {
    /// After the usual delay.
    Usual,
    /// That much later.
    Late,
}

/// The dice. Each request throws the same number of them, whatever they show, so that one rate
/// does not move the faults of another.
#[derive(Debug)]
pub(crate) struct Dice {
    rng: Rng,
    silent: f64,
    malformed: f64,
    error: f64,
    late: f64,
    delay: Duration,
    late_by: Duration,
    /// Apart from the others, so that it does not move them.
    duplicates: Rng,
    duplicate: f64,
    times: u64,
}

impl Dice {
    /// Dice for these rates; by chance unless there is a seed.
    pub(crate) fn new(faults: &Faults) -> Self {
        let malformed = faults.malformed_header.then_some(faults.malformed_rate);
        let late = faults.late.map(|_| faults.late_rate);
        Self {
            rng: faults.seed.map_or_else(Rng::new, Rng::with_seed),
            duplicates: faults.seed.map_or_else(Rng::new, Rng::with_seed),
            duplicate: faults.duplicate_rate.part(),
            times: u64::from(faults.duplicate) + 1,
            silent: faults.silent_rate.part(),
            malformed: malformed.map_or(0.0, Rate::part),
            error: faults.error_rate.part(),
            late: late.map_or(0.0, Rate::part),
            delay: faults.delay.into(),
            late_by: faults.late.map_or(Duration::ZERO, Into::into),
        }
    }

    /// Throws for one request.
    pub(crate) fn throw(&mut self) -> (Fault, Pace) {
        // f64() is below 1, so a rate of 1 always hits and a rate of 0 never does.
        let silent = self.rng.f64() < self.silent;
        let malformed = self.rng.f64() < self.malformed;
        let error = self.rng.f64() < self.error;
        let late = self.rng.f64() < self.late;
        let fault = match (silent, malformed, error) {
            (true, _, _) => Fault::Silent,
            (_, true, _) => Fault::Malformed,
            (_, _, true) => Fault::Error,
            _ => Fault::None,
        };
        (fault, if late { Pace::Late } else { Pace::Usual })
    }

    /// Throws for how many times one reply is sent.
    pub(crate) fn times(&mut self) -> u64 {
        if self.duplicates.f64() < self.duplicate {
            self.times
        } else {
            1
        }
    }

    /// How long a reply at this pace waits.
    pub(crate) fn wait(&self, pace: Pace) -> Duration {
        match pace {
            Pace::Usual => self.delay,
            Pace::Late => self.delay.saturating_add(self.late_by),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::args::Args;

    fn dice(flags: &[&str]) -> Dice {
        let args = ["reference-router"].iter().chain(flags);
        Dice::new(&Args::try_parse_from(args).unwrap().faults)
    }

    fn throws(flags: &[&str]) -> Vec<(Fault, Pace)> {
        let mut dice = dice(flags);
        std::iter::repeat_with(|| dice.throw()).take(1000).collect()
    }

    #[test]
    fn without_flags_nothing_goes_wrong() {
        assert!(throws(&[]).iter().all(|t| *t == (Fault::None, Pace::Usual)));
    }

    #[test]
    fn a_seed_makes_every_run_the_same() {
        let flags = |seed| {
            [
                "--error-rate",
                "0.3",
                "--silent-rate",
                "0.2",
                "--seed",
                seed,
            ]
        };
        assert_eq!(throws(&flags("7")), throws(&flags("7")));
        assert_ne!(throws(&flags("7")), throws(&flags("8")));
    }

    #[test]
    fn a_rate_of_one_always_hits_and_silence_goes_first() {
        let all = throws(&["--error-rate", "1", "--malformed-header", "--late", "1s"]);
        assert!(all.iter().all(|t| *t == (Fault::Malformed, Pace::Late)));
        let all = throws(&["--error-rate", "1", "--silent-rate", "1"]);
        assert!(all.iter().all(|t| t.0 == Fault::Silent));
    }

    #[test]
    fn rates_are_about_right_and_independent() {
        let seed = ["--seed", "1", "--error-rate", "0.25"];
        let errors = throws(&seed);
        let hits = errors.iter().filter(|t| t.0 == Fault::Error).count();
        assert!((200..300).contains(&hits), "{hits}");
        let late = throws(&[&seed[..], &["--late", "1s", "--late-rate", "0.5"]].concat());
        let faults = |throws: &[(Fault, Pace)]| throws.iter().map(|t| t.0).collect::<Vec<_>>();
        assert_eq!(faults(&errors), faults(&late));
    }

    #[test]
    fn a_part_of_the_replies_is_sent_more_than_once() {
        let mut all = dice(&["--duplicate", "2"]);
        assert!((0..100).all(|_| all.times() == 3));
        let mut some = dice(&["--duplicate", "1", "--duplicate-rate", "0.1", "--seed", "3"]);
        let twice = (0..1000).filter(|_| some.times() == 2).count();
        assert!((50..150).contains(&twice), "{twice}");
    }

    #[test]
    fn a_late_reply_waits_for_both() {
        let dice = dice(&["--delay", "50ms", "--late", "2s"]);
        assert_eq!(dice.wait(Pace::Usual), Duration::from_millis(50));
        assert_eq!(dice.wait(Pace::Late), Duration::from_millis(2050));
    }
}
