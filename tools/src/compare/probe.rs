//! Probes of the machine: how far apart the first two cores are at present, and what a wake-up costs.

use core::time::Duration;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use core_affinity::CoreId;
use ipc_ringbuf::monotonic_ns;

use crate::stats::spread;
use ipc_tools::stage::Failure;

/// Round trips of one run: a fraction of a millisecond, so that most runs are not disturbed.
const TRIPS: u64 = 500;
/// Runs, of which the median counts.
const RUNS: usize = 15;
/// Looks before a side lets others run: the other side has lost its core.
const PATIENCE: u32 = 20_000;

/// Wake-ups, of which the median counts, each after so long a sleep.
const WAKES: u64 = 25;
const SLEEP: Duration = Duration::from_millis(2);

/// Who is pinned where: a client to the first core, what serves it to the second.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Side {
    Client,
    #[cfg(feature = "iceoryx2")]
    Server,
}

/// The first two cores.
fn cores() -> Result<[CoreId; 2], Failure> {
    let cores = core_affinity::get_core_ids().unwrap_or_default();
    match cores.as_slice() {
        &[first, second, ..] => Ok([first, second]),
        _ => Err(Failure::new("two cores are needed")),
    }
}

/// Pins the calling thread.
///
/// # Errors
/// There is one core only, or the system refuses.
pub(crate) fn pin(side: Side) -> Result<(), Failure> {
    let [first, _second] = cores()?;
    let core = match side {
        Side::Client => first,
        #[cfg(feature = "iceoryx2")]
        Side::Server => _second,
    };
    if core_affinity::set_for_current(core) {
        Ok(())
    } else {
        Err(Failure::new("the system does not let threads be pinned"))
    }
}

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
    let [here, there] = cores()?;
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

/// Median time, in nanoseconds, from waking a thread that has slept for 2 ms until it runs: what
/// a futex costs, which is how threads park.
///
/// # Errors
/// The sleeper has ended.
pub(crate) fn wake_up_ns() -> Result<f64, Failure> {
    let woken = AtomicU64::new(0);
    let mut times = Vec::new();
    thread::scope(|scope| {
        let sleeper = scope.spawn(|| {
            for turn in 1..=WAKES {
                while woken.load(Ordering::Acquire) < 2 * turn - 1 {
                    thread::park();
                }
                // An odd number says "wake up", the next even one "awake".
                woken.store(2 * turn, Ordering::Release);
            }
        });
        for turn in 1..=WAKES {
            thread::park_timeout(SLEEP);
            let began = monotonic_ns();
            woken.store(2 * turn - 1, Ordering::Release);
            sleeper.thread().unpark();
            while woken.load(Ordering::Acquire) < 2 * turn {
                core::hint::spin_loop();
            }
            times.push((monotonic_ns() - began) as f64);
        }
    });
    Ok(spread(times).median)
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

    #[test]
    fn a_wake_up_takes_more_than_a_microsecond() {
        let nanos = super::wake_up_ns().unwrap();
        assert!((500.0..1e8).contains(&nanos), "{nanos}");
    }
}
