//! The requests of one worker that are on their way: a slab of places with generations.
//!
//! Invariant: a [`Token`] names at most one request for ever. A place's generation grows each time
//! its request leaves, so a token that comes back late finds nothing. All operations are O(1)
//! except [`InFlight::of_session`]; the slab grows to its cap and never shrinks.

use ipc_ringbuf::port::Block;

use super::breaker::Pass;
use crate::bridge::Token;
use crate::clock::Nanos;

/// What the worker must remember of a request to complete it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Place of the session in the worker's table.
    pub seat: u32,
    /// Number of the session: the seat may be somebody else's by now.
    pub session: u32,
    /// The block to complete.
    pub block: Block,
    /// Place of the route in the configured list.
    pub route: u16,
    /// What the route's breaker let it pass with.
    pub pass: Pass,
    /// The client's mark.
    pub user_data: u64,
    /// When the worker took it.
    pub accepted: Nanos,
    /// How long it waited in the ring before that, as the client claims, in nanoseconds.
    pub ring_wait_ns: u64,
    /// When it times out.
    pub deadline: Nanos,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// Next free place, or `NONE`.
    Free(u32),
    Taken(Entry),
}

const NONE: u32 = u32::MAX;

#[derive(Debug)]
struct Place {
    generation: u32,
    state: State,
}

/// The slab.
#[derive(Debug)]
pub struct InFlight {
    places: Vec<Place>,
    free: u32,
    taken: u32,
    cap: u32,
    worker: u8,
    first_generation: u32,
}

impl InFlight {
    /// An empty slab for at most `cap` requests of `worker`. Generations begin at
    /// `first_generation`, which should be random so that tokens cannot be guessed.
    #[must_use]
    pub fn new(worker: u8, cap: u32, first_generation: u32) -> Self {
        let cap = cap.min(Token::MAX_PLACES);
        Self {
            places: Vec::new(),
            free: NONE,
            taken: 0,
            cap,
            worker,
            first_generation,
        }
    }

    /// How many more requests there is room for.
    #[must_use]
    pub const fn room(&self) -> u32 {
        self.cap - self.taken
    }

    /// Requests in flight.
    #[must_use]
    pub const fn len(&self) -> u32 {
        self.taken
    }

    /// Whether nothing is in flight.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.taken == 0
    }

    /// Takes a place; `None` when there is no [`room`](Self::room).
    #[inline]
    pub fn insert(&mut self, entry: Entry) -> Option<Token> {
        if self.taken == self.cap {
            return None;
        }
        if self.free == NONE {
            self.free = u32::try_from(self.places.len()).ok()?;
            let state = State::Free(NONE);
            self.places.push(Place {
                generation: self.first_generation,
                state,
            });
        }
        let at = self.free;
        let place = self.places.get_mut(at as usize)?;
        if let State::Free(next) = place.state {
            self.free = next;
        }
        place.state = State::Taken(entry);
        self.taken += 1;
        Some(Token::new(self.worker, at, place.generation))
    }

    /// The request that this token names; `None` when it has left already.
    #[inline]
    #[must_use]
    pub fn get(&self, token: Token) -> Option<&Entry> {
        let place = self.places.get(token.place() as usize)?;
        match &place.state {
            State::Taken(entry)
                if place.generation == token.generation() && token.worker() == self.worker =>
            {
                Some(entry)
            }
            _ => None,
        }
    }

    /// Takes the request out that this token names; `None` when it has left already.
    #[inline]
    pub fn remove(&mut self, token: Token) -> Option<Entry> {
        if token.worker() != self.worker {
            return None;
        }
        let place = self.places.get(token.place() as usize)?;
        if place.generation != token.generation() {
            return None;
        }
        self.remove_place(token.place())
    }

    /// Takes out whatever is at this place.
    #[inline]
    pub fn remove_place(&mut self, at: u32) -> Option<Entry> {
        let place = self.places.get_mut(at as usize)?;
        let State::Taken(entry) = place.state else {
            return None;
        };
        place.generation = place.generation.wrapping_add(1);
        place.state = State::Free(self.free);
        self.free = at;
        self.taken -= 1;
        Some(entry)
    }

    /// The places of a session's requests. Looks at the whole slab: for the end of a session only.
    pub fn of_session(&self, session: u32) -> impl Iterator<Item = u32> + '_ {
        (0..)
            .zip(&self.places)
            .filter_map(move |(at, place)| match place.state {
                State::Taken(entry) if entry.session == session => Some(at),
                _ => None,
            })
    }

    /// All places that are taken.
    pub fn places(&self) -> impl Iterator<Item = u32> + '_ {
        (0..)
            .zip(&self.places)
            .filter_map(|(at, place)| matches!(place.state, State::Taken(_)).then_some(at))
    }
}
