//! The wall clock. It dates evidence and decides nothing.

use std::time::SystemTime;

/// Now, as in RFC 3339, in UTC, to the second.
#[must_use]
pub fn now_rfc3339() -> String {
    humantime::format_rfc3339_seconds(now()).to_string()
}

/// Milliseconds since the epoch.
#[must_use]
pub fn timestamp_ms() -> u64 {
    let since = now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}

/// A time as a directory's name: `2026-11-26T00:42:00Z` becomes `20261126T004200Z`.
pub(super) fn name(time: &str) -> String {
    time.chars().filter(|c| !matches!(c, '-' | ':')).collect()
}

#[expect(clippy::disallowed_methods, reason = "evidence carries its date")]
fn now() -> SystemTime {
    SystemTime::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_time_without_its_marks() {
        assert_eq!(name("2026-11-26T00:42:00Z"), "20261126T004200Z");
        let now = now_rfc3339();
        assert_eq!(now.len(), "2026-11-26T00:42:00Z".len(), "{now}");
        humantime::parse_rfc3339(&now).unwrap();
        assert!(timestamp_ms() > 1_600_000_000_000);
    }
}
