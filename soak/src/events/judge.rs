//! Memory over events, and what that comes to.

use super::kind::Kind;
use super::{GAUGE, Gauge, LIMIT_BYTES};
use crate::stats::theil_sen;
use crate::verdict::{Check, Verdict};

/// Judges memory after so many events.
pub(super) fn judge(kind: Kind, limit: f64, gauge: Gauge, points: &[(u64, u64)]) -> Check {
    let required = kind.required(limit, gauge);
    let limit = kind.limit(limit, gauge);
    let noise = gauge.noise();
    let held = |check: Check| check.figure(LIMIT_BYTES, limit).figure(GAUGE, gauge.key());
    #[expect(clippy::cast_precision_loss, reason = "counts and bytes below 2^52")]
    let points: Vec<(f64, f64)> = points
        .iter()
        .map(|(events, bytes)| (*events as f64, *bytes as f64))
        .collect();
    let events = points.last().map_or(0.0, |point| point.0);
    let grown = points.last().map_or(0.0, |point| point.1) - points.first().map_or(0.0, |p| p.1);
    let Some(slope) = theil_sen(&points) else {
        let text = "too few readings";
        return held(Check::new(kind.id(), Verdict::Inconclusive, required, text));
    };
    // Less than this many bytes an event, such readings cannot tell from none.
    let detectable = (slope.high - slope.slope).max(noise / events.max(1.0));
    let verdict = if slope.low > limit && grown > noise {
        Verdict::Fail
    } else if noise / events.max(1.0) > limit || slope.high > limit {
        Verdict::Inconclusive
    } else {
        Verdict::Pass
    };
    let text = format!(
        "{:.3} bytes for each of {events:.0} ({:.3} to {:.3}), {:+.1} KiB in all, by {}; the least \
         that could be told is {detectable:.3} bytes",
        slope.slope,
        slope.low,
        slope.high,
        grown / 1024.0,
        gauge.name()
    );
    held(Check::new(kind.id(), verdict, required, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nine readings, each so many events and bytes after the one before.
    fn verdict(kind: Kind, gauge: Gauge, events: u64, bytes: u64) -> Verdict {
        let points: Vec<(u64, u64)> = (0..9)
            .map(|round| (round * events, 20_000_000 + round * bytes))
            .collect();
        judge(kind, 0.5, gauge, &points).verdict
    }

    #[test]
    fn a_leak_is_found_and_a_count_that_cannot_show_it_is_no_pass() {
        use Gauge::Resident;
        let timeouts = |events, bytes| verdict(Kind::Timeouts, Resident, events, bytes);
        assert_eq!(timeouts(1_000_000, 0), Verdict::Pass);
        // The 337 bytes that each unanswered request of the client library costs.
        assert_eq!(timeouts(100_000, 33_700_000), Verdict::Fail);
        assert_eq!(timeouts(1000, 337_000), Verdict::Fail);
        // 2 MiB hide a byte for each of 800,000, and not for each of 8,000,000.
        assert_eq!(timeouts(100_000, 0), Verdict::Inconclusive);
        assert_eq!(timeouts(100_000, 100_000), Verdict::Inconclusive);
        assert_eq!(timeouts(1_000_000, 1_000_000), Verdict::Fail);
        // What swings by 4 MB cannot show half a byte in 800,000; what falls has shown it.
        let swinging: Vec<(u64, u64)> = (0..9)
            .map(|round| (round * 100_000, 20_000_000 - round % 3 * 2_000_000))
            .collect();
        assert_eq!(
            judge(Kind::Timeouts, 0.5, Resident, &swinging).verdict,
            Verdict::Inconclusive
        );
        let falling: Vec<(u64, u64)> = (0..9)
            .map(|round| (round * 1_000_000, 20_000_000 - round * round * 100_000))
            .collect();
        assert_eq!(
            judge(Kind::Timeouts, 0.5, Resident, &falling).verdict,
            Verdict::Pass
        );
        let reconnects = |events, bytes| verdict(Kind::Reconnects, Resident, events, bytes);
        assert_eq!(reconnects(1000, 0), Verdict::Pass);
        assert_eq!(reconnects(25, 0), Verdict::Inconclusive);
        assert_eq!(reconnects(25, 2_500_000), Verdict::Fail);
    }

    #[test]
    fn what_is_counted_shows_the_record_of_one_request_for_each_reconnect() {
        use Gauge::Allocated;
        let reconnects = |bytes| verdict(Kind::Reconnects, Allocated, 25, bytes);
        assert_eq!(reconnects(25 * 337), Verdict::Fail);
        assert_eq!(reconnects(25 * 129), Verdict::Fail);
        assert_eq!(reconnects(0), Verdict::Pass);
        // Resident memory does not show it.
        assert_eq!(
            verdict(Kind::Reconnects, Gauge::Resident, 25, 25 * 337),
            Verdict::Inconclusive
        );
        // A byte for each of a hundred thousand.
        assert_eq!(
            verdict(Kind::Attaches, Allocated, 12_500, 12_500),
            Verdict::Fail
        );
        assert_eq!(verdict(Kind::Attaches, Allocated, 12_500, 0), Verdict::Pass);
        assert_eq!(
            verdict(Kind::Attaches, Allocated, 100, 0),
            Verdict::Inconclusive
        );
    }

    #[test]
    fn a_raised_limit_is_said() {
        let points: Vec<(u64, u64)> = (0..9).map(|round| (round * 100_000, 0)).collect();
        let required = |limit| judge(Kind::Timeouts, limit, Gauge::Allocated, &points).required;
        assert!(!required(0.5).contains("raised"), "{}", required(0.5));
        assert!(required(2.0).contains("raised by --limit from 0.5 to 2)"));
    }
}
