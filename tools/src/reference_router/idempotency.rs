//! Idempotency keys that were seen. Memory is bounded: the oldest key is forgotten first.

use std::collections::{HashSet, VecDeque};
use std::rc::Rc;
use std::time::{Duration, Instant};

/// How long the Router remembers a key.
const REMEMBERED: Duration = Duration::from_secs(3600);
/// Most keys that are remembered.
const MAX_KEYS: usize = 1 << 18;

/// Whether a key is new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sighting {
    First,
    Repeated,
}

/// The keys, in a set to find them and in the order in which they came to forget them.
#[derive(Debug, Default)]
pub(crate) struct SeenKeys {
    keys: HashSet<Rc<str>>,
    order: VecDeque<(Instant, Rc<str>)>,
}

impl SeenKeys {
    /// Remembers a key that came at `now`, unless it is remembered already.
    pub(crate) fn see(&mut self, key: &str, now: Instant) -> Sighting {
        while let Some((at, oldest)) = self.order.front() {
            if now.duration_since(*at) < REMEMBERED && self.order.len() < MAX_KEYS {
                break;
            }
            self.keys.remove(oldest);
            self.order.pop_front();
        }
        if self.keys.contains(key) {
            return Sighting::Repeated;
        }
        let key: Rc<str> = key.into();
        self.keys.insert(Rc::clone(&key));
        self.order.push_back((now, key));
        Sighting::First
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_repeated_until_an_hour_has_passed() {
        let mut seen = SeenKeys::default();
        let start = Instant::now();
        assert_eq!(seen.see("k", start), Sighting::First);
        assert_eq!(seen.see("other", start), Sighting::First);
        let just_before = start + REMEMBERED - Duration::from_nanos(1);
        assert_eq!(seen.see("k", just_before), Sighting::Repeated);
        assert_eq!(seen.see("k", start + REMEMBERED), Sighting::First);
    }

    #[test]
    fn memory_is_bounded() {
        let mut seen = SeenKeys::default();
        let now = Instant::now();
        for key in 0..=MAX_KEYS {
            assert_eq!(seen.see(&key.to_string(), now), Sighting::First);
        }
        assert!(seen.order.len() <= MAX_KEYS && seen.keys.len() <= MAX_KEYS);
        assert_eq!(seen.see(&MAX_KEYS.to_string(), now), Sighting::Repeated);
    }
}
