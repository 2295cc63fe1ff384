//! Numbers as they stand in reply subjects: six bits a digit, in the alphabet of RFC 4648, section
//! 5, all of which a subject may hold. A short subject is copied and searched sooner, and each
//! stands on the wire four times.

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
/// The value of what is no digit.
const NONE: u8 = u8::MAX;
/// The value of each byte.
const VALUES: [u8; 256] = values();

const fn values() -> [u8; 256] {
    let mut values = [NONE; 256];
    let (mut rest, mut value): (&[u8], u8) = (ALPHABET, 0);
    while let [digit, others @ ..] = rest {
        #[expect(clippy::indexing_slicing, reason = "a byte, and there are 256")]
        {
            values[*digit as usize] = value;
        }
        value += 1;
        rest = others;
    }
    values
}

/// Digits that hold any number.
pub(super) const ALL: usize = 11;

/// The lowest digits of a number, the highest of them first; [`ALL`] hold all of it.
#[inline]
pub(super) fn digits<const N: usize>(mut number: u64) -> [u8; N] {
    let mut digits = [b'A'; N];
    for digit in digits.iter_mut().rev() {
        let [low, ..] = number.to_le_bytes();
        *digit = ALPHABET.get(usize::from(low & 63)).copied().unwrap_or(NONE);
        number >>= 6;
    }
    digits
}

/// These without the zeros that they begin with: nothing of a zero.
#[inline]
pub(super) fn shortest(digits: &[u8]) -> &[u8] {
    let [zero, ..] = ALPHABET;
    let zeros = digits.iter().take_while(|digit| *digit == zero).count();
    digits.get(zeros..).unwrap_or_default()
}

/// Whether these begin with no zero.
#[inline]
pub(super) fn is_shortest(digits: &[u8]) -> bool {
    digits.first() != ALPHABET.first()
}

/// The number that these are the digits of; `None` if one is no digit or it has more than 64 bits.
#[inline]
pub(super) fn number(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0, |number: u64, &digit| {
        let value = VALUES.get(usize::from(digit)).copied()?;
        (value != NONE && number >> 58 == 0).then(|| (number << 6) | u64::from(value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back_and_nothing_else_is_one() {
        for expected in [0, 1, 63, 64, 0xdead_beef_0123_4567, u64::MAX] {
            assert_eq!(number(&digits::<ALL>(expected)), Some(expected));
        }
        assert_eq!(digits::<3>(0), *b"AAA");
        assert_eq!(digits::<2>(u64::MAX), *b"__");
        for byte in 0..=u8::MAX {
            let is_digit = byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
            assert_eq!(number(&[byte]).is_some(), is_digit, "{byte}");
        }
        for (expected, letters) in [(0, 0), (1, 1), (63, 1), (64, 2), (u64::MAX, ALL)] {
            let all = digits::<ALL>(expected);
            let short = shortest(&all);
            assert_eq!((number(short), short.len()), (Some(expected), letters));
            assert!(is_shortest(short));
        }
        assert!(!is_shortest(b"AB") && !is_shortest(b"A"));
        // The eleventh digit has room for two bits too many.
        assert_eq!(number(b"Q__________"), None);
        assert_eq!(number(b"P__________"), Some(u64::MAX));
    }
}
