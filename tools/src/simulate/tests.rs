//! The simulation itself: that it repeats itself, and that it reaches what it is for.

use super::run::run;
use super::tally::Tally;

/// Enough for every kind of fault.
const SEEDS: u64 = 40;
const STEPS: u32 = 300;

#[test]
fn the_same_seed_is_the_same_run() {
    for seed in [1, 7, 12, 99] {
        let (first, second) = (run(seed, STEPS, false), run(seed, STEPS, false));
        assert_eq!(first, second);
    }
    let (one, other) = (run(1, STEPS, false).unwrap(), run(2, STEPS, false).unwrap());
    assert_ne!(one.hash, other.hash);
}

#[test]
fn no_seed_breaks_a_promise() {
    let mut tally = Tally::default();
    for seed in 1..=SEEDS {
        match run(seed, STEPS, false) {
            Ok(run) => tally.add(&run.tally),
            Err(failure) => panic!("{failure}"),
        }
    }
    println!("{tally}");
}
