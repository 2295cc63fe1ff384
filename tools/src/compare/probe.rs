//! Probes of the machine: how far apart the first two cores are at present.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use ipc_ringbuf::monotonic_ns;

use crate::failure::Failure;
use crate::stats::spread;

/// Round trips of one run: a fraction of a millisecond, so that most runs are not disturbed.
const TRIPS: u64 = 500;
/// Runs, of which the median counts.
const RUNS: usize = 15;
/// Looks before a side lets others run: the other side has lost its core.
const PATIENCE: u32 = 20_000;

/// A word that has its cache line for itself.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Line(AtomicU64);

/// Median time, in nanoseconds, in which a cache line goes from the first core to the second and
/// back.
///
/// # Errors
/// There is one core only, or threads cannot be pinned.
pub(crate) fn cache_line_ns() -> Result<f64, Failure> {
    let cores = core_affinity::get_core_ids().unwrap_or_default();
    let &[here, there, ..] = cores.as_slice() else {
        return Err(Failure::new("the placement probe needs two cores"));
    };
    let (ping, pong) = (Line::default(), Line::default());
    let runs = u64::try_from(RUNS).unwrap_or(0);
    thread::scope(|scope| {
        let answerer = scope.spawn(|| {
            let pinned = core_affinity::set_for_current(there);
            for trip in 1..=TRIPS * runs {
                wait_for(&ping, trip);
                pong.0.store(trip, Ordering::Release);
            }
            pinned
        });
        // A thread of its own, so that the caller stays unpinned.
        let asker = scope.spawn(|| {
            let pinned = core_affinity::set_for_current(here);
            let mut times = Vec::new();
            for run in 0..runs {
                let began = monotonic_ns();
                for trip in 1..=TRIPS {
                    let trip = run * TRIPS + trip;
                    ping.0.store(trip, Ordering::Release);
                    wait_for(&pong, trip);
                }
                times.push((monotonic_ns() - began) as f64 / TRIPS as f64);
            }
            (pinned, times)
        });
        match (answerer.join(), asker.join()) {
            (Ok(true), Ok((true, times))) => Ok(spread(times).median),
            _ => Err(Failure::new(
                "threads cannot be pinned to the first two cores",
            )),
        }
    })
}

fn wait_for(line: &Line, trip: u64) {
    let mut looks = 0;
    while line.0.load(Ordering::Acquire) < trip {
        looks += 1;
        if looks > PATIENCE {
            thread::yield_now();
        } else {
            core::hint::spin_loop();
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_round_trip_takes_more_than_a_few_nanoseconds() {
        let nanos = super::cache_line_ns().unwrap();
        assert!((5.0..1e7).contains(&nanos), "{nanos}");
    }
}
