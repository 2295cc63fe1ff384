//! What is broken when, from a seed. One thing at a time; each is healed before the next.

use std::time::{Duration, Instant};

use fastrand::Rng;

use crate::args::Level;
use crate::client::Tick;
use crate::crew::Crew;
use crate::part::{Interrupt, SoakError};
use crate::sampler::Counters;
use crate::series::HEALING;
use crate::stage::{CONNECTIONS, Stage};

/// Longest time to wait for a fault to heal once it is removed. One that takes longer than
/// [`Fault::heals_within`] has failed by then; the run goes on.
const HEALS: Duration = Duration::from_secs(20);
/// What a fault needs to heal where nothing has to be made anew.
const AT_ONCE: Duration = Duration::from_secs(HEALING);
/// Longest pause between two attempts to connect to NATS: the gateway's `reconnect_max`, as built in.
const RECONNECT: Duration = Duration::from_millis(1500);
/// Longest pause between two attempts of the client library to attach again.
const REATTACH: Duration = Duration::from_secs(2);
/// Time between two looks whether it has.
const LOOK: Duration = Duration::from_millis(50);

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    /// A client is killed, and another takes its place.
    ClientKilled,
    /// A client is stopped for a while and takes no completions.
    ClientSlow,
    /// nats-server is killed and started again.
    ServerKilled,
    /// nats-server is stopped for a while.
    ServerStopped,
    /// nats-server says that it is about to end, and does.
    LameDuck,
    /// Connections are open in one direction only, then nothing passes, then they are reset.
    HalfOpen,
    /// The Router asks for less.
    Backpressure,
    /// The gateway drains, ends and is started again.
    GatewayRestarted,
}

impl Fault {
    /// Those of a level.
    pub(crate) const fn of(level: Level) -> &'static [Self] {
        match level {
            Level::None => &[],
            Level::Light => &[Self::ClientKilled, Self::ClientSlow],
            Level::Storm => &[
                Self::GatewayRestarted,
                Self::ClientKilled,
                Self::ClientSlow,
                Self::ServerKilled,
                Self::ServerStopped,
                Self::LameDuck,
                Self::HalfOpen,
                Self::Backpressure,
            ],
        }
    }

    /// Its name.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::ClientKilled => "client killed",
            Self::ClientSlow => "client slow",
            Self::ServerKilled => "server killed",
            Self::ServerStopped => "server stopped",
            Self::LameDuck => "lame duck",
            Self::HalfOpen => "half-open",
            Self::Backpressure => "backpressure",
            Self::GatewayRestarted => "gateway restarted",
        }
    }

    /// How long it lasts.
    const fn lasts(self) -> Duration {
        Duration::from_millis(match self {
            Self::ClientKilled => 0,
            Self::ClientSlow => 800,
            Self::ServerKilled => 300,
            Self::ServerStopped => 2500,
            Self::LameDuck => 1000,
            Self::HalfOpen => 1500,
            Self::Backpressure => 2000,
            Self::GatewayRestarted => 20_000,
        })
    }

    /// Longest time from its removal until everything is whole and requests succeed: 2 s, and what may
    /// pass until its end is noticed. A connection to NATS that was lost is tried again after
    /// `reconnect_max`, a session after the longest pause of the client library. One that was reset, and
    /// a client or a Router that goes on, are noticed at once.
    pub(crate) const fn heals_within(self) -> Duration {
        match self {
            Self::ClientKilled | Self::ClientSlow | Self::Backpressure => AT_ONCE,
            Self::ServerKilled | Self::ServerStopped | Self::LameDuck | Self::HalfOpen => {
                AT_ONCE.saturating_add(RECONNECT)
            }
            Self::GatewayRestarted => AT_ONCE.saturating_add(REATTACH),
        }
    }

    /// The same in whole seconds, rounded up.
    pub(crate) fn healing_seconds(self) -> u64 {
        let within = self.heals_within();
        within.as_secs() + u64::from(within.subsec_nanos() > 0)
    }
}

/// A fault that is not healed yet.
#[derive(Debug)]
struct Active {
    fault: Fault,
    place: usize,
    begun: Instant,
    /// When it was removed, and healing began.
    over: Option<Instant>,
    looked: Instant,
}

/// What has happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    Begun(Fault),
    /// What was broken is whole again; what it broke may not be.
    Removed(Fault),
    /// Everything is as before, so long after the removal.
    Healed(Fault, Duration),
    /// It did not heal in time.
    Festers(Fault),
}

/// The plan, and what is broken at the moment.
#[derive(Debug)]
pub(crate) struct Storm {
    kinds: Vec<Fault>,
    rng: Rng,
    /// Those of this round that are still to come.
    round: Vec<Fault>,
    every: Duration,
    next: Instant,
    active: Option<Active>,
    /// Until when the gateway may be restarted: afterwards its memory is watched.
    restarts_until: Instant,
}

impl Storm {
    /// A storm of this level, the first fault one interval from now.
    pub(crate) fn new(level: Level, seed: u64, every: Duration, duration: Duration) -> Self {
        let now = Instant::now();
        Self {
            kinds: Fault::of(level).to_vec(),
            rng: Rng::with_seed(seed),
            round: Vec::new(),
            every,
            next: now + every,
            active: None,
            restarts_until: now + duration / 4,
        }
    }

    /// Whether nothing is broken.
    pub(crate) const fn is_over(&self) -> bool {
        self.active.is_none()
    }

    /// The next fault comes one interval from now at the earliest.
    pub(crate) fn put_off(&mut self) {
        self.next = self
            .next
            .max(Instant::now() + self.every.min(Duration::from_secs(12)));
    }

    /// Does what is due. `may_begin` says whether there is time for another fault.
    pub(crate) fn step(
        &mut self,
        may_begin: bool,
        stage: &mut Stage,
        crew: &mut Crew,
        told: &mut impl FnMut(&Tick),
        interrupt: &Interrupt,
    ) -> Result<Option<Event>, SoakError> {
        let now = Instant::now();
        let Some(active) = &mut self.active else {
            if now < self.next || !may_begin || self.kinds.is_empty() {
                return Ok(None);
            }
            return self.begin(stage, crew, told).map(Some);
        };
        let fault = active.fault;
        let Some(over) = active.over else {
            let lasts = fault.lasts();
            let ended = fault == Fault::GatewayRestarted && stage.gateway.ended()?.is_some();
            if now >= active.begun + lasts || ended {
                end(fault, active.place, stage, crew, interrupt)?;
                active.over = Some(Instant::now());
                return Ok(Some(Event::Removed(fault)));
            }
            return Ok(None);
        };
        if now < active.looked + LOOK {
            return Ok(None);
        }
        active.looked = now;
        let healed = crew.is_attached() && is_whole(stage, crew.sessions());
        let event = if healed {
            Event::Healed(fault, over.elapsed())
        } else if now > over + HEALS {
            Event::Festers(fault)
        } else {
            return Ok(None);
        };
        self.active = None;
        self.next = (self.next + self.every).max(now + self.every / 2);
        Ok(Some(event))
    }

    /// The next fault of the round; each round has every kind once, in an order of its own.
    fn draw(&mut self, now: Instant) -> Fault {
        loop {
            if self.round.is_empty() {
                self.round = self.kinds.clone();
                self.rng.shuffle(&mut self.round);
                if now < self.restarts_until {
                    // Comes last of all from the end: it must not wait until it may no longer be.
                    self.round
                        .sort_by_key(|fault| *fault == Fault::GatewayRestarted);
                }
            }
            match self.round.pop() {
                Some(Fault::GatewayRestarted) if now >= self.restarts_until => {}
                Some(fault) => return fault,
                None => {}
            }
        }
    }

    fn begin(
        &mut self,
        stage: &mut Stage,
        crew: &mut Crew,
        told: &mut impl FnMut(&Tick),
    ) -> Result<Event, SoakError> {
        let now = Instant::now();
        let fault = self.draw(now);
        let place = self.rng.usize(0..crew.count().max(1));
        match fault {
            Fault::ClientKilled => crew.replace(place, told)?,
            Fault::ClientSlow => crew.signal(place, "-STOP")?,
            Fault::ServerKilled => stage.server.kill()?,
            Fault::ServerStopped => stage.server.signal("-STOP")?,
            // nats-server takes SIGUSR2 as the order to enter lame duck mode.
            Fault::LameDuck => stage.server.signal("-USR2")?,
            Fault::HalfOpen => {
                stage.order_proxy("half-close");
                stage.order_proxy("blackhole");
            }
            Fault::Backpressure => stage.router.signal("-USR1")?,
            Fault::GatewayRestarted => stage.gateway.signal("-TERM")?,
        }
        self.active = Some(Active {
            fault,
            place,
            begun: now,
            over: None,
            looked: now,
        });
        Ok(Event::Begun(fault))
    }
}

/// Ends a fault.
fn end(
    fault: Fault,
    place: usize,
    stage: &mut Stage,
    crew: &Crew,
    interrupt: &Interrupt,
) -> Result<(), SoakError> {
    match fault {
        Fault::ClientKilled => {}
        Fault::ClientSlow => crew.signal(place, "-CONT")?,
        Fault::ServerKilled | Fault::LameDuck => stage.restart_server(interrupt)?,
        Fault::ServerStopped => stage.server.signal("-CONT")?,
        Fault::HalfOpen => {
            stage.order_proxy("reset");
            stage.order_proxy("pass");
        }
        Fault::Backpressure => stage.router.signal("-USR2")?,
        Fault::GatewayRestarted => stage.restart_gateway(interrupt)?,
    }
    Ok(())
}

/// Whether every connection is up and every client has a session.
fn is_whole(stage: &Stage, sessions: u64) -> bool {
    Counters::take(&stage.socket).is_ok_and(|counters| {
        counters.sum("ipcgw_nats_connected") == CONNECTIONS && counters.books.sessions == sessions
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_makes_the_same_storm_and_each_round_has_every_fault() {
        let duration = Duration::from_secs(3600);
        let draw = |seed| {
            let mut storm = Storm::new(Level::Storm, seed, Duration::from_secs(30), duration);
            let now = Instant::now();
            std::iter::repeat_with(|| storm.draw(now))
                .take(8)
                .collect::<Vec<_>>()
        };
        assert_eq!(draw(7), draw(7));
        assert!((0..20).any(|seed| draw(seed) != draw(7)));
        let mut first = draw(3);
        assert_eq!(first[0], Fault::GatewayRestarted);
        first.sort_unstable();
        first.dedup();
        assert_eq!(first.len(), 8);
    }

    #[test]
    fn each_fault_has_two_seconds_and_what_its_end_needs_to_be_noticed() {
        let within = |fault: Fault| (fault.heals_within().as_millis(), fault.healing_seconds());
        assert_eq!(within(Fault::ClientSlow), (2000, 2));
        assert_eq!(within(Fault::ServerKilled), (3500, 4));
        assert_eq!(within(Fault::GatewayRestarted), (4000, 4));
    }

    #[test]
    fn after_its_time_the_gateway_is_not_restarted() {
        let every = Duration::from_secs(1);
        let mut storm = Storm::new(Level::Storm, 1, every, Duration::ZERO);
        let now = Instant::now();
        let drawn = std::iter::repeat_with(|| storm.draw(now)).take(30);
        assert!(
            drawn
                .into_iter()
                .all(|fault| fault != Fault::GatewayRestarted)
        );
    }
}
