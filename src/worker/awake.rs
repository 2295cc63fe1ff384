//! Which seats are looked at in each cycle: a set of them, a bit each.

use core::ops::Range;

/// Seats in a word.
const IN_WORD: usize = u64::BITS as usize;

/// A set of seats. It grows with the seats that it is told of, and never shrinks.
#[derive(Debug, Default)]
pub struct Awake {
    words: Vec<u64>,
}

impl Awake {
    /// Adds a seat.
    #[inline]
    pub fn insert(&mut self, seat: usize) {
        let at = seat / IN_WORD;
        if at >= self.words.len() {
            self.words.resize(at + 1, 0);
        }
        if let Some(word) = self.words.get_mut(at) {
            *word |= 1 << (seat % IN_WORD);
        }
    }

    /// Takes a seat out.
    #[inline]
    pub fn remove(&mut self, seat: usize) {
        if let Some(word) = self.words.get_mut(seat / IN_WORD) {
            *word &= !(1 << (seat % IN_WORD));
        }
    }

    /// The first seat of the set among these.
    #[inline]
    #[must_use]
    pub fn first_of(&self, seats: Range<usize>) -> Option<usize> {
        if seats.is_empty() {
            return None;
        }
        let mut at = seats.start / IN_WORD;
        // In the first word the seats before the first do not count.
        let mut word = *self.words.get(at)? & (u64::MAX << (seats.start % IN_WORD));
        while word == 0 {
            at += 1;
            if at * IN_WORD >= seats.end {
                return None;
            }
            word = *self.words.get(at)?;
        }
        let seat = at * IN_WORD + word.trailing_zeros() as usize;
        (seat < seats.end).then_some(seat)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_a_set(
            seats in proptest::collection::btree_set(0_usize..300, 0..40),
            gone in proptest::collection::vec(0_usize..400, 0..40),
            (from, len) in (0_usize..400, 0_usize..400),
        ) {
            let mut awake = Awake::default();
            let mut model = seats.clone();
            for &seat in &seats {
                awake.insert(seat);
            }
            for seat in gone {
                awake.remove(seat);
                model.remove(&seat);
            }
            let range = from..from + len;
            prop_assert_eq!(awake.first_of(range.clone()), model.range(range).next().copied());
        }
    }
}
