//! Made-up series and points, and what they come to.

use fastrand::Rng;

use super::super::flags;
use super::*;
use crate::run::Layout;
use crate::sampler::Gauges;
use crate::series::Row;

const KIB: f64 = 1024.0;
const MIB: f64 = 1_048_576.0;

/// A heap of 24 MiB in a process of 52, which may rise by 44.4 KiB/h.
const RESIDENT: f64 = 52.0 * MIB;

/// What is wanted grows by the second; the allocator takes it in steps, and a swing is given back.
#[derive(Clone, Copy, Debug)]
struct Heap {
    /// KiB.
    per_hour: f64,
    /// KiB.
    step: f64,
    /// KiB.
    swing: f64,
}

impl Heap {
    /// Readings a second, and whether a step came early enough to be seen.
    fn readings(self, minutes: u32, rng: &mut Rng) -> (Vec<(f64, f64)>, bool) {
        let step = self.step * KIB;
        let phase = rng.f64() * step;
        let taken = |second: u32| {
            let leaked = self.per_hour * KIB * f64::from(second) / 3600.0;
            ((leaked + phase) / step).floor() * step
        };
        let mut swung = 0.0;
        let readings = (0..minutes * 60).map(|second| {
            if rng.u32(0..45) == 0 {
                swung = (rng.f64() * self.swing * KIB / PAGE).floor() * PAGE;
            }
            (f64::from(second), 24.0 * MIB + taken(second) + swung)
        });
        let readings = readings.collect();
        (readings, taken(minutes * 48) > taken(120))
    }

    /// How many of sixty such heaps pass and fail, of those with a step that can be seen.
    fn tally(self, minutes: u32) -> (usize, usize, usize) {
        let (mut passed, mut failed, mut seen) = (0, 0, 0);
        for seed in 0..60 {
            let (readings, shows) = self.readings(minutes, &mut Rng::with_seed(seed));
            if !shows && self.per_hour > 0.0 {
                continue;
            }
            let (verdict, _) = judge_series(&readings, RESIDENT).unwrap();
            passed += usize::from(verdict == Verdict::Pass);
            failed += usize::from(verdict == Verdict::Fail);
            seen += 1;
        }
        (passed, failed, seen)
    }
}

/// All heaps that leak so much.
fn heaps(per_hour: f64) -> impl Iterator<Item = Heap> {
    [4.0, 64.0, 256.0, 2048.0]
        .into_iter()
        .flat_map(move |step| {
            [0.0, 64.0, 1024.0].map(|swing| Heap {
                per_hour,
                step,
                swing,
            })
        })
}

#[test]
fn a_leak_that_shows_is_never_passed() {
    let mut passes = Vec::new();
    for minutes in [12, 20, 96, 384] {
        for per_hour in [90.0, 450.0, 2000.0] {
            for heap in heaps(per_hour) {
                let (passed, _, seen) = heap.tally(minutes);
                if passed > 0 {
                    passes.push(format!("{passed} of {seen}: {heap:?} in {minutes} min"));
                }
            }
        }
    }
    assert!(passes.is_empty(), "{passes:#?}");
}

#[test]
fn a_leak_is_failed_where_there_is_time_to_tell() {
    for (per_hour, step, minutes) in [(450.0, 64.0, 96), (2000.0, 256.0, 96), (90.0, 64.0, 384)] {
        for swing in [0.0, 64.0] {
            let heap = Heap {
                per_hour,
                step,
                swing,
            };
            let (_, failed, seen) = heap.tally(minutes);
            assert!(failed == seen && seen > 50, "{heap:?}: {failed} of {seen}");
        }
    }
}

#[test]
fn what_only_swings_is_not_failed_and_passes_where_there_is_time_to_tell() {
    let heap = |swing| Heap {
        per_hour: 0.0,
        step: 4.0,
        swing,
    };
    for minutes in [12, 20, 96, 384] {
        for swing in [0.0, 64.0, 1024.0] {
            let (_, failed, _) = heap(swing).tally(minutes);
            // 2.5 % lie beyond the upper end of an interval of 95 %.
            assert!(failed <= 2, "{failed} of 60, {minutes} min, swing {swing}");
        }
    }
    assert_eq!(heap(64.0).tally(96).0, 60);
    // Twenty minutes cannot tell a slope of 44 KiB/h beside swings of 64 KiB.
    assert_eq!(heap(64.0).tally(20).0, 0);
}

#[test]
fn a_step_that_stays_is_neither_a_pass_nor_a_failure() {
    for at in [200, 600, 1200, 3000, 5000] {
        let points: Vec<(f64, f64)> = (0..5760)
            .map(|second| {
                let level = if second < at { 24.0 } else { 26.0 };
                (f64::from(second), level * MIB)
            })
            .collect();
        let (verdict, text) = judge_series(&points, RESIDENT).unwrap();
        assert_eq!(verdict, Verdict::Inconclusive, "at {at}: {text}");
    }
}

#[test]
fn what_cannot_be_told_is_printed() {
    let flat = |minutes: u32| -> Vec<(f64, f64)> {
        let seconds = 0..minutes * 60;
        seconds
            .map(|second| (f64::from(second), 24.0 * MIB))
            .collect()
    };
    let (verdict, text) = judge_series(&flat(30), RESIDENT).unwrap();
    assert_eq!(verdict, Verdict::Pass, "{text}");
    assert!(text.contains("could be told is 8.0 KiB/h"), "{text}");
    assert_eq!(
        judge_series(&flat(9), RESIDENT).unwrap().0,
        Verdict::Inconclusive
    );
    // A page in 20 minutes is more than a day may add to so little.
    let (verdict, text) = judge_series(&flat(20), 4.0 * MIB).unwrap();
    assert_eq!(verdict, Verdict::Inconclusive, "{text}");
    // A large process is held to the second limit.
    let rising: Vec<(f64, f64)> = (0..5760)
        .map(|second| (f64::from(second), f64::from(second) * 420.0))
        .collect();
    let (verdict, text) = judge_series(&rising, 4096.0 * MIB).unwrap();
    assert_eq!(verdict, Verdict::Fail, "{text}");
}

/// A run of so many minutes with these points: second, process, heap at rest and what is allocated.
fn run(minutes: u64, points: &[(u64, u32, u64, Option<u64>)]) -> (Measured, SoakArgs) {
    let args = flags(&format!("--duration {minutes}m --seed 1"));
    let mut found = Measured::of(Layout::new(&args));
    found.series.rows = (0..minutes * 60)
        .map(|second| Row {
            second,
            usage: points
                .iter()
                .find(|point| second <= point.0)
                .map(|(_, pid, anonymous, _)| Usage {
                    pid: *pid,
                    resident: 52 << 20,
                    proportional: 40 << 20,
                    anonymous: *anonymous,
                    shared: 20 << 20,
                    gauges: Gauges::default(),
                    descriptors: 40,
                    threads: 3,
                    mappings: 50,
                    ticks: 0,
                }),
            ..Row::default()
        })
        .collect();
    found.points = points
        .iter()
        .map(|(second, pid, anonymous, allocated)| Point {
            second: *second,
            pid: *pid,
            anonymous: *anonymous,
            allocated: *allocated,
            ..Point::empty()
        })
        .collect();
    (found, args)
}

#[test]
fn a_gross_rise_is_failed_however_short_the_run() {
    let judge = |minutes, points: &[(u64, u32, u64, Option<u64>)]| {
        let (found, args) = run(minutes, points);
        let check = resident(&found, &args);
        (check.verdict, check.found)
    };
    let point = |second, mib: u64| (second, 7, mib << 20, None);
    // Of two minutes no slope can be told.
    let (verdict, text) = judge(2, &[point(40, 24), point(80, 30), point(120, 40)]);
    assert_eq!(verdict, Verdict::Inconclusive, "{text}");
    let (verdict, text) = judge(8, &[point(120, 24), point(300, 30), point(480, 40)]);
    assert_eq!(verdict, Verdict::Inconclusive, "{text}");
    assert!(text.contains("not judged: RSS +0.0 KiB/h"), "{text}");
    let (verdict, text) = judge(2, &[point(40, 24), point(80, 30), point(120, 41)]);
    assert_eq!(verdict, Verdict::Fail, "{text}");
    assert!(text.contains("at rest 24576 KiB at 40 s and 41984 KiB at 120 s"));
    // What was taken in the warm-up is not held against it, nor what another process had.
    let (verdict, text) = judge(2, &[point(20, 24), point(80, 40), point(120, 41)]);
    assert_eq!(verdict, Verdict::Inconclusive, "{text}");
    let (verdict, text) = judge(2, &[(30, 6, 24 << 20, None), point(80, 60), point(120, 60)]);
    assert_eq!(verdict, Verdict::Inconclusive, "{text}");
    assert!(is_gross(100 << 20, 126 << 20) && !is_gross(100 << 20, 125 << 20));
}

#[test]
fn what_is_allocated_is_held_to_the_first_point_after_the_warm_up() {
    let judge = |points: &[(u64, u32, u64, Option<u64>)]| {
        let (found, args) = run(30, points);
        let check = allocated(&found, &args);
        (check.verdict, check.found)
    };
    let point = |second, bytes: u64| (second, 7, 24 << 20, Some(bytes));
    let limit = 64 * 1024;
    let base = 5_000_000;
    let (verdict, text) = judge(&[point(700, base), point(1000, base + limit)]);
    assert_eq!(verdict, Verdict::Pass, "{text}");
    assert_eq!(
        judge(&[point(700, base), point(1000, base + limit + 1)]).0,
        Verdict::Fail
    );
    assert_eq!(
        judge(&[point(700, base), point(1000, base - 2 * limit)]).0,
        Verdict::Pass
    );
    // One that comes back counts all the same.
    let swung = [
        point(700, base),
        point(1000, base + 2 * limit),
        point(1300, base),
    ];
    assert_eq!(judge(&swung).0, Verdict::Fail);
    // Buffers that grow in the warm-up.
    let grown = [
        point(300, base),
        point(700, 2 * base),
        point(1000, 2 * base),
    ];
    assert_eq!(judge(&grown).0, Verdict::Pass);
    assert_eq!(
        judge(&[point(300, base), point(700, 2 * base)]).0,
        Verdict::Inconclusive
    );
    // Another process begins anew; what the one before did is not forgotten.
    let other = |second, bytes: u64| (second, 8, 24 << 20, Some(bytes));
    let anew = [
        point(620, base),
        other(1300, 9 * base),
        other(1700, 9 * base),
    ];
    assert_eq!(judge(&anew).0, Verdict::Pass);
    let leaked = [
        point(700, base),
        point(1000, 2 * base),
        other(1500, base),
        other(1700, base),
    ];
    assert_eq!(judge(&leaked).0, Verdict::Fail);
    // A gateway that does not count.
    let (verdict, text) = judge(&[(700, 7, 0, None), (1000, 7, 0, None)]);
    assert_eq!(verdict, Verdict::Inconclusive);
    assert!(text.contains("--features counted"), "{text}");
}

#[test]
fn what_grows_with_the_first_fault_of_a_kind_is_no_leak() {
    let point = |second, bytes: u64| (second, 7, 24 << 20, Some(bytes));
    let grown = [
        point(700, 5_000_000),
        point(1000, 9_000_000),
        point(1300, 9_000_000),
    ];
    let (mut found, _) = run(30, &grown);
    let args = flags("--duration 30m --faults light");
    let judge = |found: &Measured| allocated(found, &args).verdict;
    let fault = |found: &mut Measured, what, second: u64| {
        found.series.begin(what, 2, second * 1_000_000_000);
        found.series.end(what, (second + 2) * 1_000_000_000);
    };
    // One kind has not come at all.
    fault(&mut found, "client killed", 100);
    assert_eq!(judge(&found), Verdict::Inconclusive);
    fault(&mut found, "client slow", 800);
    assert_eq!(judge(&found), Verdict::Pass);
    // What comes again is held to the first.
    found.points[2].allocated = Some(9_100_000);
    fault(&mut found, "client slow", 1100);
    assert_eq!(judge(&found), Verdict::Fail);
}
