//! Numbers as people read them.

/// What stands where there is no number.
pub(super) const NONE: &str = "-";

/// A rate: one digit behind the point when it is small, else whole with separators.
pub(super) fn rate(per_second: f64) -> String {
    if per_second == 0.0 {
        "0".to_owned()
    } else if per_second < 99.95 {
        format!("{per_second:.1}")
    } else {
        let whole = format!("{per_second:.0}");
        grouped(&whole)
    }
}

/// A count, with separators.
pub(super) fn count(count: u64) -> String {
    grouped(&count.to_string())
}

/// A share, 0 to 1, in percent.
pub(super) fn percent(share: f64) -> String {
    format!("{:.0}%", share * 100.0)
}

/// A short time with its unit and three digits.
pub(super) fn time(seconds: Option<f64>) -> String {
    let Some(seconds) = seconds else {
        return NONE.to_owned();
    };
    let (value, unit) = match seconds {
        s if s < 999.5e-9 => (s * 1e9, "ns"),
        s if s < 999.5e-6 => (s * 1e6, "us"),
        s if s < 999.5e-3 => (s * 1e3, "ms"),
        s => (s, "s"),
    };
    let digits = match value {
        v if v < 9.995 => 2,
        v if v < 99.95 => 1,
        _ => 0,
    };
    format!("{value:.digits$} {unit}")
}

/// A long time, in its two largest units.
pub(super) fn age(seconds: f64) -> String {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a float becomes the nearest integer that there is"
    )]
    let seconds = seconds as u64;
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    if days > 0 {
        format!("{days}d {}h", hours % 24)
    } else if hours > 0 {
        format!("{hours}h {}m", minutes % 60)
    } else if minutes > 0 {
        format!("{minutes}m {}s", seconds % 60)
    } else {
        format!("{seconds}s")
    }
}

/// Text of others, without what could write to the terminal.
pub(super) fn clean(text: &str) -> String {
    let shown = |c: char| if c.is_control() { '?' } else { c };
    text.chars().map(shown).collect()
}

fn grouped(digits: &str) -> String {
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_as_short_as_they_can_be_read() {
        let rates = [0.0, 0.04, 12.34, 99.94, 99.96, 1_234.5, 6_320_000.0].map(rate);
        assert_eq!(
            rates,
            ["0", "0.0", "12.3", "99.9", "100", "1,234", "6,320,000"]
        );
        assert_eq!(
            [0, 999, 1_000, 1_234_567].map(count),
            ["0", "999", "1,000", "1,234,567"]
        );
        assert_eq!([0.0, 0.256, 1.0].map(percent), ["0%", "26%", "100%"]);
    }

    #[test]
    fn times_have_three_digits_and_a_unit() {
        let times = [
            None,
            Some(238e-9),
            Some(1.234e-6),
            Some(45.6e-3),
            Some(0.9999),
            Some(4096.0),
        ];
        assert_eq!(
            times.map(time),
            ["-", "238 ns", "1.23 us", "45.6 ms", "1.00 s", "4096 s"]
        );
        assert_eq!(
            [5.9, 65.0, 3_725.0, 90_000.0].map(age),
            ["5s", "1m 5s", "1h 2m", "1d 1h"]
        );
    }

    #[test]
    fn text_of_others_cannot_write_to_the_terminal() {
        assert_eq!(clean("a\u{1b}[2Jb\n"), "a?[2Jb?");
    }
}
