//! The requests that were handed to NATS and not completed, one table a worker.
//!
//! A token is completed at most once: the first to [`finish`](Outstanding::finish) it wins, and
//! whoever comes after learns why he is too late. A worker that gave a request up uses its place
//! again with another generation, and the entry is simply overwritten; a request of the older
//! generation that is sent only after that is not entered.

use crate::bridge::Token;
use crate::clock::Nanos;

/// Names one connection to NATS for the life of the process.
pub type Serial = u32;

/// What recording a request did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entered {
    /// Its place was free.
    New,
    /// Its place was that of a request which its worker has given up.
    Replaced(Token),
    /// It is itself one that its worker has given up: its place has been used again. Requests that
    /// are held can be overtaken by those of another line.
    GivenUp,
}

/// Why a message on a reply inbox completes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unmatched {
    /// The token was never given out here.
    Forged,
    /// The place has been used again since.
    Late,
    /// The request has been completed.
    Duplicate,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Empty,
    /// On a connection.
    Waiting,
    /// Off every connection, waiting to be sent again.
    Resting,
    Completed,
}

#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    deadline: Nanos,
    /// When it was handed to its connection.
    published: Nanos,
    generation: u32,
    /// The generation that the place was first seen with: those before it were never given out.
    first: u32,
    serial: Serial,
    route: u16,
    state: State,
}

impl Entry {
    const fn is_open(&self) -> bool {
        matches!(self.state, State::Waiting | State::Resting)
    }

    /// Whether the request that this token names is here and not completed.
    fn check(&self, token: Token) -> Result<(), Unmatched> {
        match self.state {
            State::Empty => Err(Unmatched::Forged),
            _ if self.generation != token.generation() => Err(self.other(token.generation())),
            State::Completed => Err(Unmatched::Duplicate),
            State::Waiting | State::Resting => Ok(()),
        }
    }

    /// What a token of this place with another generation is: late if it was given out before.
    const fn other(&self, generation: u32) -> Unmatched {
        let age = self.generation.wrapping_sub(generation);
        if age <= self.generation.wrapping_sub(self.first) {
            Unmatched::Late
        } else {
            Unmatched::Forged
        }
    }
}

/// The tables of all workers.
#[derive(Debug)]
pub(super) struct Outstanding {
    workers: Vec<Vec<Entry>>,
}

impl Outstanding {
    /// Empty tables for so many workers. They grow as places are used.
    pub(super) fn new(workers: usize) -> Self {
        Self {
            workers: (0..workers).map(|_| Vec::new()).collect(),
        }
    }

    /// Records that a request was handed to a connection, unless its place has been used again.
    pub(super) fn enter(
        &mut self,
        token: Token,
        route: u16,
        serial: Serial,
        deadline: Nanos,
        now: Nanos,
    ) -> Entered {
        let table = self.workers.get_mut(usize::from(token.worker()));
        let (Some(table), Ok(place)) = (table, usize::try_from(token.place())) else {
            return Entered::GivenUp;
        };
        if table.len() <= place {
            table.resize(place + 1, Entry::default());
        }
        let Some(entry) = table.get_mut(place) else {
            return Entered::GivenUp;
        };
        if entry.state != State::Empty && is_newer(entry.generation, token.generation()) {
            // An answer to it is late, not forged.
            if is_newer(entry.first, token.generation()) {
                entry.first = token.generation();
            }
            return Entered::GivenUp;
        }
        let first = match entry.state {
            State::Empty => token.generation(),
            _ => entry.first,
        };
        let is_replaced = entry.is_open() && entry.generation != token.generation();
        let before = Token::new(token.worker(), token.place(), entry.generation);
        *entry = Entry {
            deadline,
            published: now,
            generation: token.generation(),
            first,
            serial,
            route,
            state: State::Waiting,
        };
        if is_replaced {
            Entered::Replaced(before)
        } else {
            Entered::New
        }
    }

    /// The route of a request that is not completed, the connection that it was sent on, and when.
    pub(super) fn sent(&self, token: Token) -> Result<(u16, Serial, Nanos), Unmatched> {
        let entry = self.find(token)?;
        Ok((entry.route, entry.serial, entry.published))
    }

    /// Completes a request. Only the first call for a token succeeds.
    pub(super) fn finish(&mut self, token: Token) -> Result<(), Unmatched> {
        let entry = self.entry_mut(token).ok_or(Unmatched::Forged)?;
        entry.check(token)?;
        entry.state = State::Completed;
        Ok(())
    }

    /// Takes a request off its connection until it is sent again.
    pub(super) fn rest(&mut self, token: Token) {
        self.set(token, State::Resting);
    }

    /// Whether a request waits to be sent again.
    pub(super) fn is_resting(&self, token: Token) -> bool {
        self.find(token)
            .is_ok_and(|entry| entry.state == State::Resting)
    }

    /// The requests on a connection for which `route` holds.
    pub(super) fn on(&self, serial: Serial, route: impl Fn(u16) -> bool) -> Vec<Token> {
        self.tokens(|entry| {
            entry.state == State::Waiting && entry.serial == serial && route(entry.route)
        })
    }

    /// Whether a request waits whose deadline has not passed: on one connection, or on any.
    pub(super) fn has_live(&self, serial: Option<Serial>, now: Nanos) -> bool {
        self.workers.iter().flatten().any(|entry| {
            entry.is_open()
                && entry.deadline > now
                && serial.is_none_or(|serial| entry.serial == serial)
        })
    }

    fn find(&self, token: Token) -> Result<&Entry, Unmatched> {
        let place = usize::try_from(token.place()).map_err(|_| Unmatched::Forged)?;
        let entry = self
            .workers
            .get(usize::from(token.worker()))
            .and_then(|table| table.get(place))
            .ok_or(Unmatched::Forged)?;
        entry.check(token)?;
        Ok(entry)
    }

    fn set(&mut self, token: Token, state: State) {
        let entry = self.entry_mut(token);
        if let Some(entry) = entry.filter(|entry| entry.generation == token.generation()) {
            entry.state = state;
        }
    }

    fn entry_mut(&mut self, token: Token) -> Option<&mut Entry> {
        let place = usize::try_from(token.place()).ok()?;
        let table = self.workers.get_mut(usize::from(token.worker()))?;
        table.get_mut(place)
    }

    fn tokens(&self, wanted: impl Fn(&Entry) -> bool) -> Vec<Token> {
        let mut tokens = Vec::new();
        for (worker, table) in (0_u8..).zip(&self.workers) {
            for (place, entry) in (0_u32..).zip(table) {
                if wanted(entry) {
                    tokens.push(Token::new(worker, place, entry.generation));
                }
            }
        }
        tokens
    }
}

/// Whether a generation comes after another; they wrap.
const fn is_newer(generation: u32, than: u32) -> bool {
    let ahead = generation.wrapping_sub(than);
    ahead != 0 && ahead < 1 << 31
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: Token = Token::new(0, 5, 1);

    fn with_one() -> Outstanding {
        let mut table = Outstanding::new(1);
        assert_eq!(table.enter(TOKEN, 3, 9, Nanos(100), Nanos(1)), Entered::New);
        table
    }

    #[test]
    fn only_the_first_answer_counts() {
        let mut table = with_one();
        assert_eq!(table.sent(TOKEN), Ok((3, 9, Nanos(1))));
        assert_eq!(table.finish(TOKEN), Ok(()));
        assert_eq!(table.finish(TOKEN), Err(Unmatched::Duplicate));
    }

    #[test]
    fn an_older_generation_is_late_and_an_unknown_place_is_forged() {
        let mut table = with_one();
        let newer = Token::new(0, 5, 2);
        assert_eq!(
            table.enter(newer, 3, 9, Nanos(100), Nanos(1)),
            Entered::Replaced(TOKEN)
        );
        assert_eq!(table.finish(TOKEN), Err(Unmatched::Late));
        for never in [0, 3, u32::MAX] {
            let token = Token::new(0, 5, never);
            assert_eq!(table.finish(token), Err(Unmatched::Forged));
        }
        assert_eq!(table.finish(Token::new(0, 4, 0)), Err(Unmatched::Forged));
        assert_eq!(
            table.finish(Token::new(0, 4_000_000, 0)),
            Err(Unmatched::Forged)
        );
        assert_eq!(table.finish(Token::new(7, 5, 2)), Err(Unmatched::Forged));
        assert_eq!(table.finish(newer), Ok(()));
    }

    #[test]
    fn a_request_that_was_overtaken_does_not_displace_the_one_that_has_its_place_now() {
        for (older, newer) in [(1, 2), (u32::MAX, 0)] {
            let (older, newer) = (Token::new(0, 5, older), Token::new(0, 5, newer));
            let mut table = Outstanding::new(1);
            assert_eq!(table.enter(newer, 3, 9, Nanos(100), Nanos(1)), Entered::New);
            assert_eq!(
                table.enter(older, 3, 9, Nanos(100), Nanos(1)),
                Entered::GivenUp
            );
            assert_eq!(table.finish(older), Err(Unmatched::Late));
            assert_eq!(table.finish(newer), Ok(()));
            assert_eq!(
                table.enter(older, 3, 9, Nanos(100), Nanos(1)),
                Entered::GivenUp
            );
        }
    }

    #[test]
    fn a_connection_knows_what_is_on_it() {
        let mut table = with_one();
        assert_eq!(table.on(9, |_| true), [TOKEN]);
        assert_eq!(table.on(8, |_| true), []);
        assert_eq!(table.on(9, |route| route == 0), []);
        assert!(table.has_live(Some(9), Nanos(99)));
        assert!(!table.has_live(None, Nanos(100)));
        table.rest(TOKEN);
        assert_eq!(table.on(9, |_| true), []);
        assert!(table.has_live(None, Nanos(0)));
    }
}
