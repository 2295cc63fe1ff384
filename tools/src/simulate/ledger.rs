//! What was asked, by whom, and what has become of it: the model that the real parts are compared
//! with.
//!
//! Honest clients ask with marks, which are places in a list. Every request that a worker hands
//! over is a [`Flight`], by token; those of hostile clients have no mark.

use std::collections::BTreeMap;

use ipc_gateway::bridge::{Request, Token};
use ipc_gateway::clock::Nanos;
use ipc_gateway::worker::timers::TICK;
use ipc_ringbuf::{Code, Outcome};

use super::violation::{Checked, Invariant, broken, ensure};

/// Times that a request may be seen which may be repeated: once, and two re-sends.
const MOST_SIGHTINGS: u32 = 3;

/// How far an honest client's request has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// The client has submitted it.
    Submitted,
    /// A worker has handed it over.
    InFlight(Token),
    /// Its completion lies in the ring.
    Completed(Code),
    /// Its session ended first, and no worker had taken it.
    Untaken,
    /// Its session ended first.
    Lost,
    /// The client has its completion, or is gone.
    Taken(Code),
}

/// What an honest client asked for.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) session: u32,
    pub(crate) route: u16,
    /// Whether it carries an idempotency key.
    pub(crate) idempotent: bool,
    /// As on the wire: 0 is the route's default.
    pub(crate) timeout_ns: u64,
    /// As encoded.
    pub(crate) headers: Vec<u8>,
    pub(crate) payload: Vec<u8>,
    /// What its headers deserve.
    pub(crate) header_fault: Option<Code>,
    pub(crate) state: State,
}

/// A request that a worker has handed over.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flight {
    pub(crate) session: u32,
    /// The mark of an honest client's request.
    pub(crate) mark: Option<u64>,
    pub(crate) deadline: Nanos,
    may_repeat: bool,
    /// Times that the Router has seen it.
    seen: u32,
    /// Answers that the worker has got for it.
    answers: u32,
    /// How it was completed, or that it left without a completion.
    end: Option<End>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Completed(Code),
    Abandoned,
}

/// The model.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    asked: Vec<Asked>,
    /// By the token's bits, so by worker.
    flights: BTreeMap<u64, Flight>,
    /// Those of `flights` that have not ended.
    open: BTreeMap<u64, Flight>,
}

/// The first tick at which a deadline fires, as nanoseconds.
const fn fires_at(deadline: Nanos) -> u64 {
    let tick = 1_000_000_000 * TICK.as_secs() + TICK.subsec_nanos() as u64;
    (deadline.0 / tick).saturating_add(1).saturating_mul(tick)
}

impl Ledger {
    /// Notes what a client asks for; returns its mark.
    pub(crate) fn ask(&mut self, asked: Asked) -> u64 {
        self.asked.push(asked);
        self.asked.len() as u64 - 1
    }

    /// The mark that the next request will have.
    pub(crate) const fn next_mark(&self) -> u64 {
        self.asked.len() as u64
    }

    pub(crate) fn asked(&self, mark: u64) -> Option<&Asked> {
        self.asked.get(usize::try_from(mark).ok()?)
    }

    fn set(&mut self, mark: u64, state: State) {
        let place = usize::try_from(mark).ok();
        if let Some(asked) = place.and_then(|at| self.asked.get_mut(at)) {
            asked.state = state;
        }
    }

    /// A worker has handed a request over.
    pub(crate) fn sent(
        &mut self,
        request: &Request,
        mark: Option<u64>,
        may_repeat: bool,
    ) -> Checked {
        let token = request.token;
        let flight = Flight {
            session: request.session,
            mark,
            deadline: request.deadline,
            may_repeat,
            seen: 0,
            answers: 0,
            end: None,
        };
        ensure(
            !self.flights.contains_key(&token.bits()),
            Invariant::ExactlyOnce,
            || format!("token {:#x} names a second request", token.bits()),
        )?;
        self.flights.insert(token.bits(), flight);
        self.open.insert(token.bits(), flight);
        if let Some(mark) = mark {
            self.set(mark, State::InFlight(token));
        }
        Ok(())
    }

    /// A reply has reached the worker, or its time is over: the request that ends, if it is open.
    pub(crate) fn end(&mut self, token: Token, code: Code) -> Option<Flight> {
        let flight = self.open.remove(&token.bits())?;
        self.mark_end(token, End::Completed(code));
        Some(flight)
    }

    /// The worker has got an answer; returns how many that makes for this request.
    pub(crate) fn answered(&mut self, token: Token) -> u32 {
        let flight = self.flights.get_mut(&token.bits());
        flight.map_or(0, |flight| {
            flight.answers += 1;
            flight.answers
        })
    }

    /// Whether a request may be sent more than once.
    pub(crate) fn may_repeat(&self, token: Token) -> bool {
        let flight = self.flights.get(&token.bits());
        flight.is_some_and(|flight| flight.may_repeat)
    }

    /// How many of a session's requests are open.
    pub(crate) fn in_flight_of(&self, worker: u8, session: u32) -> usize {
        let of_session = |(_, flight): &(Token, &Flight)| flight.session == session;
        self.open_of(worker).filter(of_session).count()
    }

    fn mark_end(&mut self, token: Token, end: End) {
        if let Some(flight) = self.flights.get_mut(&token.bits()) {
            flight.end = Some(end);
        }
    }

    /// The requests of a worker that are open.
    fn open_of(&self, worker: u8) -> impl Iterator<Item = (Token, &Flight)> {
        let from = Token::new(worker, 0, 0).bits();
        let to = Token::new(worker, Token::MAX_PLACES - 1, u32::MAX).bits();
        self.open
            .range(from..=to)
            .map(|(bits, flight)| (Token::from_bits(*bits), flight))
    }

    /// How many of a worker's requests are open.
    pub(crate) fn in_flight(&self, worker: u8) -> usize {
        self.open_of(worker).count()
    }

    /// By when the first open request of a worker must have been completed.
    pub(crate) fn first_due(&self, worker: u8) -> Option<Nanos> {
        self.open_of(worker)
            .map(|(_, flight)| Nanos(fires_at(flight.deadline)))
            .min()
    }

    /// The open requests of a worker whose time is over at `now`, or all.
    pub(crate) fn due(&self, worker: u8, now: Option<Nanos>) -> Vec<Token> {
        self.open_of(worker)
            .filter(|(_, flight)| now.is_none_or(|now| fires_at(flight.deadline) <= now.0))
            .map(|(token, _)| token)
            .collect()
    }

    /// A session has ended: what was open leaves without a completion. Returns how many that were.
    pub(crate) fn close(&mut self, worker: u8, session: u32) -> u64 {
        let of_session =
            |(token, flight): (Token, &Flight)| (flight.session == session).then_some(token);
        let tokens: Vec<Token> = self.open_of(worker).filter_map(of_session).collect();
        for token in &tokens {
            self.open.remove(&token.bits());
            self.mark_end(*token, End::Abandoned);
        }
        self.lose(session);
        tokens.len() as u64
    }

    /// Nobody serves a session any more: what it has asked for comes to nothing.
    pub(crate) fn lose(&mut self, session: u32) {
        for asked in &mut self.asked {
            if asked.session == session {
                asked.state = match asked.state {
                    State::Submitted => State::Untaken,
                    State::InFlight(_) => State::Lost,
                    other => other,
                };
            }
        }
    }

    /// Whether a token names a request in flight.
    pub(crate) fn is_open(&self, token: Token) -> bool {
        self.open.contains_key(&token.bits())
    }

    /// A token that names nothing any more, if there is one: `at` chooses.
    pub(crate) fn stale(&self, at: usize) -> Option<Token> {
        let ended = self.flights.iter().filter(|(_, f)| f.end.is_some());
        let count = ended.clone().count();
        let bits = ended.map(|(bits, _)| *bits).nth(at.checked_rem(count)?)?;
        Some(Token::from_bits(bits))
    }

    /// The Router sees a request.
    pub(crate) fn seen(&mut self, token: Token) -> Checked {
        let Some(flight) = self.flights.get_mut(&token.bits()) else {
            return Err(broken(
                Invariant::Simulation,
                format!("{:#x} was sent and never handed over", token.bits()),
            ));
        };
        flight.seen += 1;
        let most = if flight.may_repeat { MOST_SIGHTINGS } else { 1 };
        ensure(flight.seen <= most, Invariant::SeenOnce, || {
            format!("{:#x} was seen {} times", token.bits(), flight.seen)
        })?;
        let rejected = matches!(flight.end, Some(End::Completed(code)) if unseen(code));
        ensure(!rejected, Invariant::RejectedUnseen, || {
            format!("{:#x} was seen after its rejection", token.bits())
        })
    }

    /// A completion for an honest client's request lies in its ring.
    pub(crate) fn completed(&mut self, session: u32, mark: u64, code: Code) -> Checked {
        let Some(asked) = self.asked(mark).filter(|asked| asked.session == session) else {
            return Err(broken(
                Invariant::Isolation,
                format!("session {session} got a completion for {mark}, which is not its own"),
            ));
        };
        let token = match asked.state {
            State::InFlight(token) => Some(token),
            State::Submitted => None,
            state => {
                return Err(broken(
                    Invariant::ExactlyOnce,
                    format!("{mark} completed with {code} when it was {state:?}"),
                ));
            }
        };
        let seen = token
            .and_then(|token| self.flights.get(&token.bits()))
            .map_or(0, |flight| flight.seen);
        ensure(
            seen == 0 || !unseen(code),
            Invariant::RejectedUnseen,
            || format!("{mark} was seen {seen} times and completed with {code}"),
        )?;
        let answered = code.outcome() == Outcome::Answered && code != Code::NoResponders;
        ensure(!answered || seen > 0, Invariant::AnsweredSeen, || {
            format!("{mark} was never seen and completed with {code}")
        })?;
        self.set(mark, State::Completed(code));
        Ok(())
    }

    /// A client has taken a completion.
    pub(crate) fn taken(&mut self, mark: u64, code: Code) {
        self.set(mark, State::Taken(code));
    }

    /// A client is gone: nobody will take what is left of its session.
    pub(crate) fn forget(&mut self, session: u32) {
        for asked in &mut self.asked {
            if asked.session == session
                && matches!(
                    asked.state,
                    State::Completed(_) | State::Untaken | State::Lost
                )
            {
                asked.state = State::Taken(Code::GatewayRestarted);
            }
        }
    }

    /// Requests whose clients wait for a completion yet.
    pub(crate) fn untaken(&self) -> impl Iterator<Item = (u64, &Asked)> {
        (0..)
            .zip(&self.asked)
            .filter(|(_, asked)| !matches!(asked.state, State::Taken(_)))
    }
}

/// Whether this code says that the Router has not seen the request.
fn unseen(code: Code) -> bool {
    code.outcome() == Outcome::Rejected || code == Code::NoResponders
}
