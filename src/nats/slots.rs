//! Reply subjects that are used again, for routes whose responders answer each request once.
//!
//! A nats-server remembers where the last thousand or so subjects lead. A reply subject of its own
//! for each request is never among them: the server looks it up, makes an entry and throws another
//! away, which is a third of what a small request costs it (`docs/PERFORMANCE.md`). So a route may
//! promise that each request is answered once at most, and its requests take their subjects from
//! here. A subject is free again when its answer has come and not before: one whose request was
//! given up stays taken until the answer comes, or for so long that none will.
//!
//! What cannot be told apart is a second answer, from the answer to the next request on the same
//! subject. That is why the promise is the configuration's to make.

use crate::bridge::Token;
use crate::clock::Nanos;

/// Most subjects of a connection. Beyond, requests have subjects of their own.
const MOST: usize = 4096;
/// For so long an answer may come after its request was sent, in nanoseconds: the longest time that
/// a route can allow, and as much again.
const LATEST_NS: u64 = 2 * 3600 * 1_000_000_000;

/// One subject.
#[derive(Debug)]
struct Slot {
    subject: Box<[u8]>,
    /// How many subjects this slot had before.
    generation: u32,
    /// Whose answer is to come, and when its request was sent.
    taken: Option<(Token, Nanos)>,
}

/// The subjects of one connection.
#[derive(Debug, Default)]
pub(super) struct Slots {
    slots: Vec<Slot>,
    /// The last to become free is the first to be taken: the server knows it best.
    free: Vec<u32>,
    /// The slot to look at next for one whose answer will not come.
    next: usize,
}

impl Slots {
    /// A subject for the answer to `token`, written by `write` for its number when it is new.
    /// `None`: all of them are taken.
    pub(super) fn take(
        &mut self,
        token: Token,
        now: Nanos,
        write: impl FnOnce(u64) -> Box<[u8]>,
    ) -> Option<(u64, &[u8])> {
        let place = match self.free.pop() {
            Some(place) => place,
            None if self.slots.len() < MOST => {
                let place = u32::try_from(self.slots.len()).ok()?;
                self.slots.push(Slot {
                    subject: write(number(place, 0)),
                    generation: 0,
                    taken: None,
                });
                place
            }
            None => self.reclaim(now, write)?,
        };
        let slot = self.slots.get_mut(place as usize)?;
        slot.taken = Some((token, now));
        Some((number(place, slot.generation), &slot.subject))
    }

    /// Whose answer is to come on the subject of this number. `None`: it has come before.
    pub(super) fn asked(&self, number: u64) -> Option<Token> {
        let (place, generation) = parts(number);
        let slot = self.slots.get(place as usize)?;
        let (token, _) = slot.taken.filter(|_| slot.generation == generation)?;
        Some(token)
    }

    /// The same, and that it has come: the subject is free.
    pub(super) fn give_back(&mut self, number: u64) -> Option<Token> {
        let (place, generation) = parts(number);
        let slot = self.slots.get_mut(place as usize)?;
        if slot.generation != generation {
            return None;
        }
        let (token, _) = slot.taken.take()?;
        self.free.push(place);
        Some(token)
    }

    /// Gives the next slot another subject if its answer will not come any more. One is looked at
    /// each time, so that all of them taken costs little.
    fn reclaim(&mut self, now: Nanos, write: impl FnOnce(u64) -> Box<[u8]>) -> Option<u32> {
        let at = self.next;
        self.next = (at + 1) % MOST;
        let place = u32::try_from(at).ok()?;
        let slot = self.slots.get_mut(at)?;
        let (_, since) = slot.taken?;
        if now.since(since) < LATEST_NS {
            return None;
        }
        slot.generation = slot.generation.wrapping_add(1);
        slot.subject = write(number(place, slot.generation));
        Some(place)
    }
}

const fn number(place: u32, generation: u32) -> u64 {
    ((generation as u64) << 32) | place as u64
}

const fn parts(number: u64) -> (u32, u32) {
    let [a, b, c, d, e, f, g, h] = number.to_le_bytes();
    (
        u32::from_le_bytes([a, b, c, d]),
        u32::from_le_bytes([e, f, g, h]),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Nanos = Nanos(7);

    fn write(number: u64) -> Box<[u8]> {
        number.to_string().into_bytes().into()
    }

    fn token(place: usize) -> Token {
        Token::new(0, u32::try_from(place).unwrap(), 1)
    }

    #[test]
    fn a_subject_is_used_again_when_its_answer_has_come_and_not_before() {
        let mut slots = Slots::default();
        let take = |slots: &mut Slots, place| {
            let (number, subject) = slots.take(token(place), NOW, write).unwrap();
            (number, subject.to_owned())
        };
        let (first, subject) = take(&mut slots, 1);
        let (second, other) = take(&mut slots, 2);
        assert_ne!(subject, other);
        assert_eq!(slots.asked(first), Some(token(1)));
        assert_eq!(slots.give_back(first), Some(token(1)));
        assert_eq!((slots.asked(first), slots.give_back(first)), (None, None));
        let again = slots.take(token(3), NOW, |_| panic!("it has been written"));
        assert_eq!(again, Some((first, &*subject)));
        assert_eq!(slots.give_back(first), Some(token(3)));
        assert_eq!(slots.give_back(second), Some(token(2)));
        for unknown in [u64::from(u32::MAX), first | 1 << 32] {
            assert_eq!(slots.asked(unknown), None);
            assert_eq!(slots.give_back(unknown), None);
        }
    }

    #[test]
    fn those_that_are_never_answered_are_so_many_and_have_new_subjects_in_the_end() {
        let mut slots = Slots::default();
        let numbers: Vec<u64> = (0..MOST)
            .map(|at| slots.take(token(at), NOW, write).unwrap().0)
            .collect();
        assert_eq!(slots.take(token(0), NOW, write), None);
        let later = Nanos(NOW.0 + LATEST_NS);
        let renewed: Vec<u64> = (0..MOST)
            .map(|at| slots.take(token(at), later, write).unwrap().0)
            .collect();
        assert_eq!(slots.take(token(0), later, write), None);
        assert!(
            numbers
                .iter()
                .all(|&number| slots.give_back(number).is_none())
        );
        assert!(
            renewed
                .iter()
                .all(|&number| slots.give_back(number).is_some())
        );
    }
}
