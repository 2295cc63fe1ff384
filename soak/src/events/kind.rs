//! The kinds of events, and how each is made.

use std::process::Command;
use std::time::{Duration, Instant};

use ipc_ringbuf::{AttachError, ClientBuilder, Code, EndReason};

use super::Gauge;
use crate::args::{EventsArgs, LIMIT, Period};
use crate::crew::{Crew, Plan};
use crate::ledger::Account;
use crate::part::{Interrupt, Part, SoakError};
use crate::sampler::Counters;
use crate::stage::{CONNECTIONS, Stage};

/// Clients that let requests time out.
const CLIENTS: u32 = 2;
/// Requests that each has on its way.
const WINDOW: u32 = 512;
/// Time allowed for a request that will time out.
const TIMEOUT: Period = Period(Duration::from_millis(5));
/// Longest time without any event.
const PATIENCE: Duration = Duration::from_secs(60);
/// Time between two looks.
const LOOK: Duration = Duration::from_millis(20);
/// Processes that break the rules of rings.
const HOSTILE: u32 = 8;

/// A kind of event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Timeouts,
    Attaches,
    LateReplies,
    Reconnects,
    Violations,
}

impl Kind {
    /// All, in order.
    pub(super) const ALL: [Self; 5] = [
        Self::Timeouts,
        Self::LateReplies,
        Self::Attaches,
        Self::Violations,
        Self::Reconnects,
    ];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Timeouts => "timeouts",
            Self::Attaches => "attaches",
            Self::LateReplies => "late-replies",
            Self::Reconnects => "reconnects",
            Self::Violations => "violations",
        }
    }

    /// The name of its check.
    pub(super) const fn id(self) -> &'static str {
        match self {
            Self::Timeouts => "events.timeouts",
            Self::Attaches => "events.attaches",
            Self::LateReplies => "events.late-replies",
            Self::Reconnects => "events.reconnects",
            Self::Violations => "events.violations",
        }
    }

    /// What is required of it. That more is allowed than by default is said.
    pub(super) fn required(self, limit: f64, gauge: Gauge) -> String {
        let held = self.limit(limit, gauge);
        let raised = if limit > LIMIT {
            format!(" (the limit was raised by --limit from {LIMIT} to {limit})")
        } else {
            String::new()
        };
        format!(
            "{} leave behind at most {held} bytes each{raised}, by {}",
            self.name(),
            gauge.name()
        )
    }

    /// Bytes that one may leave behind. A few hundred reconnects cannot show half a byte: counted, they
    /// are held to a part of the 337 bytes that a request's record has cost; resident, to a page.
    pub(super) const fn limit(self, limit: f64, gauge: Gauge) -> f64 {
        match (self, gauge) {
            (Self::Reconnects, Gauge::Allocated) => limit.max(128.0),
            (Self::Reconnects, Gauge::Resident) => limit.max(4096.0),
            _ => limit,
        }
    }

    /// How many are to be made.
    pub(super) fn count(self, args: &EventsArgs) -> u64 {
        let whole = match self {
            Self::Timeouts => args.timeouts,
            Self::Attaches => args.attaches,
            Self::LateReplies => args.late_replies,
            Self::Reconnects => args.reconnects,
            Self::Violations => args.violations,
        };
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a count that somebody waits for"
        )]
        let scaled = (whole as f64 * args.scale).ceil() as u64;
        scaled
    }

    /// How the Router answers.
    pub(super) fn router_flags(self) -> Vec<String> {
        let flags: &[&str] = match self {
            Self::Timeouts => &["--silent-rate", "1"],
            Self::LateReplies => &["--late", "25ms", "--late-rate", "1"],
            _ => &[],
        };
        flags.iter().map(|flag| (*flag).to_owned()).collect()
    }
}

/// Makes events.
#[derive(Debug)]
pub(super) struct Maker {
    kind: Kind,
    crew: Option<Crew>,
    hostile: Vec<Part>,
    account: Account,
}

impl Maker {
    /// Gets ready.
    pub(super) fn start(
        kind: Kind,
        stage: &Stage,
        args: &EventsArgs,
        interrupt: &Interrupt,
    ) -> Result<Self, SoakError> {
        let crew = match kind {
            Kind::Timeouts | Kind::LateReplies => {
                let plan = Plan::new(stage.socket.clone(), WINDOW, 256, TIMEOUT);
                Some(Crew::start(plan, CLIENTS, interrupt)?)
            }
            _ => None,
        };
        let hostile = match kind {
            Kind::Violations => (0..HOSTILE)
                .map(|seed| {
                    let mut command = Command::new(args.programs.hostile_client()?);
                    command.arg("--socket").arg(&stage.socket);
                    command.args(["--only", "cursors", "--seconds", "86400"]);
                    command.args(["--seed", &(seed + 1).to_string()]);
                    Part::start("hostile-client", &mut command)
                })
                .collect::<Result<_, _>>()?,
            _ => Vec::new(),
        };
        for part in &hostile {
            part.signal("-STOP")?;
        }
        Ok(Self {
            kind,
            crew,
            hostile,
            account: Account::default(),
        })
    }

    /// Sessions that are there at rest.
    pub(super) fn sessions(&self) -> u64 {
        self.crew.as_ref().map_or(0, Crew::sessions)
    }

    /// Makes at least so many; returns how many there were.
    pub(super) fn make(
        &mut self,
        count: u64,
        stage: &mut Stage,
        interrupt: &Interrupt,
    ) -> Result<u64, SoakError> {
        match self.kind {
            Kind::Timeouts => self.time_out(count, interrupt),
            Kind::LateReplies => {
                let late = |counters: &Counters| counters.sum("ipcgw_unmatched_replies_total");
                let before = late(&Counters::take(&stage.socket)?);
                self.time_out(count, interrupt)?;
                let mut now = before;
                let all = interrupt.until(PATIENCE, || {
                    now = late(&Counters::take(&stage.socket)?);
                    Ok(now >= before + count)
                })?;
                all.map(|_| now - before)
                    .ok_or_else(|| stuck("late replies", &self.account))
            }
            Kind::Attaches => attach(count, stage, interrupt),
            Kind::Reconnects => reconnect(count, stage, interrupt),
            Kind::Violations => self.violate(count, stage, interrupt),
        }
    }

    fn time_out(&mut self, count: u64, interrupt: &Interrupt) -> Result<u64, SoakError> {
        let Some(crew) = &mut self.crew else {
            return Ok(0);
        };
        let account = &mut self.account;
        let before = account.count(Code::Timeout);
        let (mut last, mut since) = (before, Instant::now());
        crew.load(None);
        loop {
            interrupt.pause(LOOK)?;
            crew.collect(&mut |tick| account.add(&tick.account));
            let now = account.count(Code::Timeout);
            if now >= before + count {
                break;
            }
            if now > last {
                (last, since) = (now, Instant::now());
            } else if since.elapsed() > PATIENCE {
                return Err(stuck("timeouts", account));
            }
        }
        crew.pause();
        let begun = Instant::now();
        while !crew.is_idle() && begun.elapsed() < PATIENCE {
            interrupt.pause(LOOK)?;
            crew.collect(&mut |tick| account.add(&tick.account));
        }
        Ok(account.count(Code::Timeout) - before)
    }

    fn violate(&self, count: u64, stage: &Stage, interrupt: &Interrupt) -> Result<u64, SoakError> {
        let sum = || -> std::io::Result<(u64, u64)> {
            let counters = Counters::take(&stage.socket)?;
            let violations = counters.sum("ipcgw_ring_violations_total");
            Ok((violations, counters.books.sessions))
        };
        let (before, _) = sum()?;
        for part in &self.hostile {
            part.signal("-CONT")?;
        }
        let (mut last, mut since) = (before, Instant::now());
        loop {
            interrupt.pause(LOOK)?;
            let (now, _) = sum()?;
            if now >= before + count {
                break;
            }
            if now > last {
                (last, since) = (now, Instant::now());
            } else if since.elapsed() > PATIENCE {
                return Err(stuck("violations", &self.account));
            }
        }
        // Stopped until none of them is in a session: one may be for 60 ms at most.
        let begun = Instant::now();
        loop {
            for part in &self.hostile {
                part.signal("-STOP")?;
            }
            // One that has connected may be in a session only a moment later.
            let (_, none) = sum()?;
            if none == 0 {
                interrupt.pause(LOOK)?;
            }
            let (now, sessions) = sum()?;
            if sessions == 0 || begun.elapsed() > PATIENCE {
                return Ok(now - before);
            }
            for part in &self.hostile {
                part.signal("-CONT")?;
            }
        }
    }

    /// Ends what makes them.
    pub(super) fn end(mut self, interrupt: &Interrupt) -> Result<(), SoakError> {
        if let Some(crew) = &mut self.crew {
            crew.end(&mut |_| {}, interrupt)?;
        }
        Ok(())
    }
}

fn stuck(what: &str, account: &Account) -> SoakError {
    let text = format!(
        "no {what} for {PATIENCE:?}; completions {:?}",
        account.codes
    );
    SoakError::Os(std::io::Error::other(text))
}

/// Attaches and goes, so many times. Sessions that have ended count until they are taken down, so the
/// gateway may say that there are too many: then the next one waits.
fn attach(count: u64, stage: &Stage, interrupt: &Interrupt) -> Result<u64, SoakError> {
    let builder = ClientBuilder::new().entries(2).message_size(64);
    let builder = builder.socket(&stage.socket);
    for _ in 0..count {
        let attached = interrupt.until(PATIENCE, || match builder.clone().connect() {
            Ok(_) => Ok(true),
            Err(AttachError::Refused {
                reason: EndReason::AttachQuota,
                ..
            }) => Ok(false),
            Err(error) => Err(std::io::Error::other(error)),
        })?;
        if attached.is_none() {
            return Err(stuck("attaches", &Account::default()));
        }
        interrupt.pause(Duration::ZERO)?;
    }
    Ok(count)
}

/// Resets every connection to NATS until so many have been lost.
fn reconnect(count: u64, stage: &mut Stage, interrupt: &Interrupt) -> Result<u64, SoakError> {
    let look = |stage: &Stage| -> std::io::Result<Lines> {
        let counters = Counters::take(&stage.socket)?;
        Ok(Lines {
            lost: counters.sum("ipcgw_nats_disconnects_total"),
            made: counters.sum("ipcgw_nats_connects_total"),
            up: counters.sum("ipcgw_nats_connected"),
        })
    };
    let before = look(stage)?;
    let mut now = before;
    while now.lost < before.lost + count {
        stage.order_proxy("reset");
        let begun = now;
        let again = interrupt.until(PATIENCE, || {
            now = look(stage)?;
            // The figures of one answer are not of one moment: that all are up may be older than
            // that all were lost.
            Ok(now.lost >= begun.lost + CONNECTIONS
                && now.made >= begun.made + CONNECTIONS
                && now.up == CONNECTIONS)
        })?;
        if again.is_none() {
            return Err(stuck("reconnects", &Account::default()));
        }
    }
    Ok(now.lost - before.lost)
}

/// The connections to NATS, as the gateway counts them.
#[derive(Clone, Copy, Debug)]
struct Lines {
    lost: u64,
    made: u64,
    up: u64,
}
