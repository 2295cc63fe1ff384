//! Durations and sizes as people write them: `"250ms"`, `"1m"`, `"64KiB"`.

use core::time::Duration;

/// Units of time in nanoseconds, the largest first.
const TIME_UNITS: [(&str, u64); 6] = [
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
];

/// Units of size in bytes, the largest first.
const SIZE_UNITS: [(&str, u64); 4] = [
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("B", 1),
];

/// Reads a duration: a whole number and one of `h m s ms us ns`, as in `"250ms"`; `"0"` too.
///
/// # Errors
/// What is expected, in words, when the text is something else or more than 584 years.
///
/// ```
/// use std::time::Duration;
/// use ipc_gateway::config::parse_duration;
///
/// assert_eq!(parse_duration("250ms"), Ok(Duration::from_millis(250)));
/// assert!(parse_duration("250").is_err());
/// ```
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    parse(text, &TIME_UNITS)
        .map(Duration::from_nanos)
        .ok_or_else(|| "expected a duration such as 250ms, 5s or 1m".to_owned())
}

/// Reads a size in bytes: a whole number and one of `B KiB MiB GiB`, or the number alone.
///
/// # Errors
/// What is expected, in words, when the text is something else or overflows 64 bits.
///
/// ```
/// use ipc_gateway::config::parse_size;
///
/// assert_eq!(parse_size("64KiB"), Ok(65_536));
/// assert_eq!(parse_size("4096"), Ok(4096));
/// ```
pub fn parse_size(text: &str) -> Result<u64, String> {
    text.parse()
        .ok()
        .or_else(|| parse(text, &SIZE_UNITS))
        .ok_or_else(|| "expected a size such as 4096, 64KiB or 1MiB".to_owned())
}

/// Writes a duration so that [`parse_duration`] reads the same one.
pub(super) fn show_duration(duration: Duration) -> String {
    let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
    show(nanos, &TIME_UNITS, "s")
}

/// Writes a size so that [`parse_size`] reads the same one.
pub(super) fn show_size(bytes: u64) -> String {
    show(bytes, &SIZE_UNITS, "B")
}

fn parse(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    let number: u64 = number.parse().ok()?;
    let unit = unit.trim_start();
    if unit.is_empty() && number == 0 {
        return Some(0);
    }
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    number.checked_mul(*factor)
}

fn show(value: u64, units: &[(&str, u64)], zero: &str) -> String {
    let whole = |(_, factor): &&(&str, u64)| value != 0 && value.is_multiple_of(*factor);
    units.iter().find(whole).map_or_else(
        || format!("{value}{zero}"),
        |(name, factor)| format!("{}{name}", value / factor),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_a_whole_number_and_a_unit() {
        assert_eq!(parse_duration("5s"), Ok(Duration::from_secs(5)));
        assert_eq!(parse_duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(parse_duration("1m"), Ok(Duration::from_secs(60)));
        assert_eq!(parse_duration("60 us"), Ok(Duration::from_micros(60)));
        assert_eq!(parse_duration("0"), Ok(Duration::ZERO));
        for bad in [
            "",
            "5",
            "s",
            "-5s",
            "1.5s",
            "5 sec",
            "99999999999h",
            "5s 1ms",
        ] {
            parse_duration(bad).unwrap_err();
        }
    }

    #[test]
    fn sizes_are_bytes_or_a_number_and_a_unit() {
        assert_eq!(parse_size("4096"), Ok(4096));
        assert_eq!(parse_size("64KiB"), Ok(64 << 10));
        assert_eq!(parse_size("1MiB"), Ok(1 << 20));
        for bad in ["", "KiB", "64KB", "-1", "1.5MiB", "99999999999GiB"] {
            parse_size(bad).unwrap_err();
        }
    }

    #[test]
    fn what_is_shown_reads_back() {
        for nanos in [
            0,
            1,
            1500,
            60_000,
            250_000_000,
            90_000_000_000,
            3_600_000_000_000,
        ] {
            let duration = Duration::from_nanos(nanos);
            assert_eq!(parse_duration(&show_duration(duration)), Ok(duration));
        }
        for bytes in [0, 1, 1000, 4 << 20, u64::from(u32::MAX)] {
            assert_eq!(parse_size(&show_size(bytes)), Ok(bytes));
        }
        assert_eq!(show_duration(Duration::from_secs(90)), "90s");
        assert_eq!(show_size(4 << 20), "4MiB");
    }
}
