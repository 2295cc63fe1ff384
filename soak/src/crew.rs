//! The client processes, as their starter sees them.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use ipc_ringbuf::monotonic_ns;

use crate::args::Period;
use crate::client::{ATTACHED, Order, Tick};
use crate::evidence::Sink;
use crate::part::{Interrupt, Part, SoakError};

/// Time from an order to load until the schedule starts.
const AHEAD: u64 = 50_000_000;

/// What every client is started with.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) socket: PathBuf,
    pub(crate) window: u32,
    pub(crate) payload: u32,
    pub(crate) timeout: Duration,
    pub(crate) log: Sink,
}

/// One client process.
#[derive(Debug)]
struct Member {
    part: Part,
    number: u32,
    is_attached: bool,
    is_idle: bool,
    /// Requests a second of its own, if it does not share the others'.
    alone: Option<u64>,
    /// Requests that it has told to be accepted and has not told the end of.
    open: u64,
}

/// What became of requests that nobody was left to be told about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Killed {
    /// Clients that were killed.
    pub(crate) clients: u64,
    /// Requests that they had on their way when they told last.
    pub(crate) requests: u64,
}

/// All of them.
#[derive(Debug)]
pub(crate) struct Crew {
    plan: Plan,
    members: Vec<Member>,
    /// Clients started so far: names are not used again.
    started: u32,
    /// The order that holds at the moment: none is rest.
    load: Option<Option<u64>>,
    killed: Killed,
}

impl Crew {
    /// Starts so many clients; returns when all are attached.
    pub(crate) fn start(plan: Plan, count: u32, interrupt: &Interrupt) -> Result<Self, SoakError> {
        let mut crew = Self {
            plan,
            members: Vec::new(),
            started: 0,
            load: None,
            killed: Killed::default(),
        };
        for number in 0..count {
            let member = crew.spawn(number, None, None)?;
            crew.members.push(member);
        }
        for member in &mut crew.members {
            member.part.wait_for(ATTACHED, interrupt)?;
            member.is_attached = true;
        }
        Ok(crew)
    }

    /// Adds a client that writes a history, at a rate of its own.
    pub(crate) fn add_witness(
        &mut self,
        name: &str,
        history: PathBuf,
        rate: u64,
        interrupt: &Interrupt,
    ) -> Result<(), SoakError> {
        let number = u32::try_from(self.members.len()).unwrap_or(u32::MAX);
        let mut member = self.spawn(number, Some(name), Some(history))?;
        member.part.wait_for(ATTACHED, interrupt)?;
        member.is_attached = true;
        member.alone = Some(rate);
        self.members.push(member);
        Ok(())
    }

    fn spawn(
        &mut self,
        number: u32,
        name: Option<&str>,
        history: Option<PathBuf>,
    ) -> Result<Member, SoakError> {
        let generated = format!("c{number}.{}", self.started);
        let name = name.unwrap_or(&generated);
        self.started += 1;
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["client", "--name", name, "--socket"]);
        command.arg(&self.plan.socket);
        command.args(["--window", &self.plan.window.to_string()]);
        command.args(["--payload", &self.plan.payload.to_string()]);
        let timeout = self.plan.timeout.as_millis();
        command.args(["--timeout", &format!("{timeout}ms")]);
        if let Some(path) = history {
            command.arg("--history").arg(path);
        }
        Ok(Member {
            part: Part::start(name, &mut command)?,
            number,
            is_attached: false,
            is_idle: false,
            alone: None,
            open: 0,
        })
    }

    /// Clients that are not the witness.
    pub(crate) fn count(&self) -> usize {
        let sharing = self.members.iter().filter(|member| member.alone.is_none());
        sharing.count()
    }

    /// All processes, the witness included.
    pub(crate) fn sessions(&self) -> u64 {
        self.members.len() as u64
    }

    /// Their processes, the witness included.
    pub(crate) fn pids(&self) -> impl Iterator<Item = u32> {
        self.members.iter().map(|member| member.part.pid())
    }

    /// What those had on their way that were killed.
    pub(crate) const fn killed(&self) -> Killed {
        self.killed
    }

    /// Orders all to send: so many requests a second together, or as many as they can.
    pub(crate) fn load(&mut self, rate: Option<u64>) {
        self.load = Some(rate);
        let start = monotonic_ns() + AHEAD;
        let clients = u32::try_from(self.count()).unwrap_or(u32::MAX);
        for member in &mut self.members {
            member.order_load(rate, start, clients);
        }
    }

    /// Orders all to rest.
    pub(crate) fn pause(&mut self) {
        self.load = None;
        for member in &mut self.members {
            member.is_idle = false;
            if let Ok(order) = serde_json::to_string(&Order::Pause) {
                member.part.order(&order);
            }
        }
    }

    /// Whether all rest and have nothing on its way.
    pub(crate) fn is_idle(&self) -> bool {
        self.members.iter().all(|member| member.is_idle)
    }

    /// Whether all have attached since they were started.
    pub(crate) fn is_attached(&self) -> bool {
        self.members.iter().all(|member| member.is_attached)
    }

    /// Ends the client of this place with SIGKILL and starts another in its stead. What it told
    /// before goes to `told`.
    pub(crate) fn replace(
        &mut self,
        place: usize,
        told: &mut impl FnMut(&Tick),
    ) -> Result<(), SoakError> {
        let Some(member) = self.members.get_mut(place) else {
            return Ok(());
        };
        member.part.kill()?;
        // Its output has ended, so all it has told comes.
        let ends = Instant::now() + Duration::from_secs(1);
        while let Some(line) = member.part.next_line(ends) {
            member.read(&line, told, &self.plan.log);
        }
        self.killed.clients += 1;
        self.killed.requests += member.open;
        let number = member.number;
        let fresh = self.spawn(number, None, None)?;
        if let Some(member) = self.members.get_mut(place) {
            *member = fresh;
        }
        Ok(())
    }

    /// Ends the client of this place with SIGKILL for good. What it told and nobody has read is in no sum.
    pub(crate) fn kill(&mut self, place: usize) -> Result<(), SoakError> {
        if place < self.members.len() {
            let mut member = self.members.remove(place);
            member.part.kill()?;
            self.killed.clients += 1;
            self.killed.requests += member.open;
        }
        Ok(())
    }

    /// Sends a signal to the client of this place.
    pub(crate) fn signal(&self, place: usize, signal: &str) -> Result<(), SoakError> {
        if let Some(member) = self.members.get(place) {
            member.part.signal(signal)?;
        }
        Ok(())
    }

    /// Reads what the clients have said since the last time.
    pub(crate) fn collect(&mut self, told: &mut impl FnMut(&Tick)) {
        let clients = u32::try_from(self.count()).unwrap_or(u32::MAX);
        for member in &mut self.members {
            let was_attached = member.is_attached;
            for line in member.part.lines() {
                member.read(&line, told, &self.plan.log);
            }
            if member.is_attached
                && !was_attached
                && let Some(rate) = self.load
            {
                member.order_load(rate, monotonic_ns(), clients);
            }
        }
    }

    /// Lets all end in order; returns how many did.
    pub(crate) fn end(
        &mut self,
        told: &mut impl FnMut(&Tick),
        interrupt: &Interrupt,
    ) -> Result<usize, SoakError> {
        for member in &mut self.members {
            member.part.close_input();
        }
        let mut ended = 0;
        for mut member in self.members.drain(..) {
            let until = Instant::now() + Duration::from_secs(40);
            while let Some(line) = member.part.next_line(until) {
                member.read(&line, told, &self.plan.log);
            }
            ended += usize::from(member.part.end(interrupt)?.success());
        }
        Ok(ended)
    }
}

impl Member {
    fn order_load(&mut self, rate: Option<u64>, start: u64, clients: u32) {
        self.is_idle = false;
        let (rate, clients, number) = match self.alone {
            Some(alone) => (Some(alone), 1, 0),
            None => (rate, clients, self.number),
        };
        let order = Order::Load {
            start,
            rate,
            clients,
            number,
        };
        if let Ok(order) = serde_json::to_string(&order) {
            self.part.order(&order);
        }
    }

    fn read(&mut self, line: &str, told: &mut impl FnMut(&Tick), log: &Sink) {
        if let Ok(tick) = serde_json::from_str::<Tick>(line) {
            self.is_idle |= tick.idle;
            self.open = tick.account.open_after(self.open);
            told(&tick);
        } else if line == ATTACHED {
            self.is_attached = true;
        } else {
            log.line(line);
        }
    }
}

impl Plan {
    /// The plan of these flags.
    pub(crate) fn new(socket: PathBuf, window: u32, payload: u32, timeout: Period) -> Self {
        Self {
            socket,
            window,
            payload,
            timeout: timeout.0,
            log: Sink::none(),
        }
    }
}
