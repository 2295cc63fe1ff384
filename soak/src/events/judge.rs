//! Resident memory over events, and what that comes to.

use super::kind::Kind;
use crate::stats::theil_sen;
use crate::verdict::{Check, Verdict};

/// Bytes by which resident memory at rest differs from one time to the next without any leak: a few
/// pages of the allocator and the stacks.
const NOISE: f64 = 16.0 * 1024.0;

/// Judges resident memory after so many events.
pub(super) fn judge(kind: Kind, limit: f64, points: &[(u64, u64)]) -> Check {
    let limit = kind.limit(limit);
    let required = kind.required(limit);
    #[expect(clippy::cast_precision_loss, reason = "counts and bytes below 2^52")]
    let points: Vec<(f64, f64)> = points
        .iter()
        .map(|(events, bytes)| (*events as f64, *bytes as f64))
        .collect();
    let events = points.last().map_or(0.0, |point| point.0);
    let grown = points.last().map_or(0.0, |point| point.1) - points.first().map_or(0.0, |p| p.1);
    let Some(slope) = theil_sen(&points) else {
        let text = "too few readings";
        return Check::new(kind.id(), Verdict::Inconclusive, required, text);
    };
    // Less than this many bytes an event, such readings cannot tell from none.
    let detectable = (slope.high - slope.slope).max(NOISE / events.max(1.0));
    let verdict = if slope.low > limit && grown > NOISE {
        Verdict::Fail
    } else if NOISE / events.max(1.0) > limit || slope.high > limit {
        Verdict::Inconclusive
    } else {
        Verdict::Pass
    };
    let text = format!(
        "{:.3} bytes for each of {events:.0} ({:.3} to {:.3}), {:+.0} KiB in all; the least that \
         could be told is {detectable:.3} bytes",
        slope.slope,
        slope.low,
        slope.high,
        grown / 1024.0
    );
    Check::new(kind.id(), verdict, required, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nine readings, each so many events and bytes after the one before.
    fn verdict(kind: Kind, events: u64, bytes: u64) -> Verdict {
        let points: Vec<(u64, u64)> = (0..9)
            .map(|round| (round * events, 20_000_000 + round * bytes))
            .collect();
        judge(kind, 0.5, &points).verdict
    }

    #[test]
    fn a_leak_is_found_and_a_count_that_cannot_show_it_is_no_pass() {
        assert_eq!(verdict(Kind::Timeouts, 100_000, 0), Verdict::Pass);
        // The 337 bytes that each unanswered request of the client library costs.
        assert_eq!(verdict(Kind::Timeouts, 100_000, 33_700_000), Verdict::Fail);
        assert_eq!(verdict(Kind::Timeouts, 1000, 337_000), Verdict::Fail);
        assert_eq!(verdict(Kind::Timeouts, 1000, 0), Verdict::Inconclusive);
        // What swings by 4 MB cannot show half a byte in 800,000; what falls has shown it.
        let swinging: Vec<(u64, u64)> = (0..9)
            .map(|round| (round * 100_000, 20_000_000 - round % 3 * 2_000_000))
            .collect();
        assert_eq!(
            judge(Kind::Timeouts, 0.5, &swinging).verdict,
            Verdict::Inconclusive
        );
        let falling: Vec<(u64, u64)> = (0..9)
            .map(|round| (round * 1_000_000, 20_000_000 - round * round * 100_000))
            .collect();
        assert_eq!(judge(Kind::Timeouts, 0.5, &falling).verdict, Verdict::Pass);
        assert_eq!(verdict(Kind::Reconnects, 25, 0), Verdict::Pass);
        assert_eq!(verdict(Kind::Reconnects, 25, 250_000), Verdict::Fail);
    }
}
