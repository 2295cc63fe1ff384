//! A soak: the load goes on for its time, faults come and heal, and at quiescent points everything
//! is counted.

use std::io;
use std::time::{Duration, Instant};

use ipc_ringbuf::monotonic_ns;
use ipc_tools::history::{Checker, Limits, Tenants, Verdict};

use crate::args::{Level, Rate, SoakArgs};
use crate::crew::{Crew, Killed, Plan};
use crate::evidence::Evidence;
use crate::ledger::Account;
use crate::machine::Machine;
use crate::part::{Interrupt, SoakError};
use crate::progress::Progress;
use crate::quiescent::Point;
use crate::recorder::Recorder;
use crate::sampler::{Gauges, Usage};
use crate::series::{HEALING, Series};
use crate::stage::{Build, Ended, REST, Stage};
use crate::storm::{Event, Fault, Storm};
use crate::witness;

/// Time between two looks at the clock and at what the clients say.
const SLICE: Duration = Duration::from_millis(15);
/// Longest time until everything on its way is completed.
const DRAIN: Duration = Duration::from_secs(40);
/// Time between two looks at a gateway that comes to rest.
const LOOK: Duration = Duration::from_millis(250);
/// Looks, one after the other, that must find it as the one before did.
const ALIKE: u32 = 2;
/// How much later than its deadline the witness may see a completion, on a machine whose processors
/// it shares with everything else. What the gateway's own clock says is held to 250 ms.
const EPSILON: Duration = Duration::from_secs(1);

/// How the run is laid out.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    pub(crate) seed: u64,
    pub(crate) quiesce: Duration,
    pub(crate) fault_every: Duration,
    pub(crate) measure: Duration,
    pub(crate) witness_rate: u64,
}

impl Layout {
    /// What the flags say, and what follows from the length of the run.
    pub(crate) fn new(args: &SoakArgs) -> Self {
        let duration = args.duration.0;
        let given = |period: Option<crate::args::Period>| period.map(|period| period.0);
        let minutes = |count: u64| Duration::from_secs(60 * count);
        Self {
            seed: args.seed.unwrap_or_else(|| fastrand::u64(1..1_000_000)),
            quiesce: given(args.quiesce).unwrap_or_else(|| minutes(5).min(duration / 3)),
            fault_every: given(args.fault_every).unwrap_or_else(|| {
                let short = (duration / 15).max(Duration::from_millis(1500));
                Duration::from_secs(30).min(short)
            }),
            measure: given(args.measure)
                .unwrap_or_else(|| Duration::from_secs(10).min(duration / 4))
                .max(Duration::from_secs(3)),
            witness_rate: if duration > minutes(10) { 20 } else { 100 },
        }
    }
}

/// What a run has found.
#[derive(Debug)]
pub(crate) struct Measured {
    pub(crate) layout: Layout,
    pub(crate) series: Series,
    /// Requests a second that were offered; none is as many as possible.
    pub(crate) rate: Option<u64>,
    /// Requests a second that were completed at most, if that was measured.
    pub(crate) capacity: Option<f64>,
    /// What was sent and came back while that was measured.
    pub(crate) measured: Account,
    /// Before the load.
    pub(crate) zero: Option<Point>,
    pub(crate) points: Vec<Point>,
    /// Faults begun, in order.
    pub(crate) faults: Vec<Fault>,
    /// Faults that healed, in order, and how long after their removal.
    pub(crate) healed: Vec<(Fault, Duration)>,
    /// Faults that did not heal.
    pub(crate) festers: Vec<Fault>,
    /// What clients had on their way that were killed.
    pub(crate) killed: Killed,
    /// Clients that ended in order, and how many there were.
    pub(crate) clients: Option<(usize, usize)>,
    pub(crate) ended: Option<Ended>,
    pub(crate) witness: Result<Verdict, String>,
    /// Whether somebody stopped it.
    pub(crate) interrupted: bool,
    /// What kept the run from its end.
    pub(crate) broken: Option<String>,
}

impl Measured {
    /// Of a run that has not begun.
    pub(crate) fn of(layout: Layout) -> Self {
        Self {
            layout,
            series: Series::default(),
            rate: None,
            capacity: None,
            measured: Account::default(),
            zero: None,
            points: Vec::new(),
            faults: Vec::new(),
            healed: Vec::new(),
            festers: Vec::new(),
            killed: Killed::default(),
            clients: None,
            ended: None,
            witness: Err("it was not judged".to_owned()),
            interrupted: false,
            broken: None,
        }
    }
}

/// Runs it. What goes wrong after the start is in what it has found.
pub(crate) fn run(
    args: &SoakArgs,
    layout: Layout,
    evidence: &Evidence,
) -> Result<Measured, SoakError> {
    let interrupt = Interrupt::listen()?;
    let build = Build {
        programs: &args.programs,
        evidence: Some(evidence),
        router: router_flags(args.faults, layout.seed),
        silent: false,
        proxied: args.faults == Level::Storm,
        config: args.config.as_deref(),
    };
    let stage = Stage::build(&build, &interrupt)?;
    let mut plan = Plan::new(
        stage.socket.clone(),
        args.window,
        args.payload,
        args.timeout,
    );
    plan.log = evidence.sink("clients.log");
    let mut crew = Crew::start(plan, args.clients, &interrupt)?;
    let history = stage.directory().join("history");
    crew.add_witness(witness::NAME, history, layout.witness_rate, &interrupt)?;
    let mut run = Run {
        args,
        evidence,
        interrupt,
        stage,
        crew,
        storm: Storm::new(
            args.faults,
            layout.seed,
            layout.fault_every,
            args.duration.0,
        ),
        recorder: Recorder::new(evidence),
        progress: Progress::new(args.duration.0),
        start: Instant::now(),
        looked: None,
        is_on: false,
        found: Measured::of(layout),
    };
    match run.go() {
        Ok(()) => {}
        Err(SoakError::Interrupted) => return Err(SoakError::Interrupted),
        Err(error) => run.found.broken = Some(error.to_string()),
    }
    run.finish()
}

/// How the Router misbehaves: rarely enough that 99.9 % succeed all the same.
fn router_flags(level: Level, seed: u64) -> Vec<String> {
    let mut flags = witness::log_flags();
    if level != Level::None {
        let more = "--silent-rate 0.0002 --late 2500ms --late-rate 0.0002 --duplicate 1 \
                    --duplicate-rate 0.001 --seed";
        flags.extend(more.split_whitespace().map(str::to_owned));
        flags.push(seed.to_string());
    }
    flags
}

struct Run<'a> {
    args: &'a SoakArgs,
    evidence: &'a Evidence,
    interrupt: Interrupt,
    stage: Stage,
    crew: Crew,
    storm: Storm,
    recorder: Recorder,
    progress: Progress,
    /// Of the load.
    start: Instant,
    /// The second that was looked at last.
    looked: Option<u64>,
    /// Whether the load is on, and what is measured is kept.
    is_on: bool,
    found: Measured,
}

impl Run<'_> {
    fn go(&mut self) -> Result<(), SoakError> {
        self.found.rate = match self.args.rate {
            Rate::Max => None,
            Rate::PerSecond(rate) => Some(rate),
            Rate::Percent(percent) => {
                let capacity = self.measure()?;
                self.found.capacity = Some(capacity);
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    clippy::cast_precision_loss,
                    reason = "requests a second of one machine"
                )]
                Some(((capacity * percent as f64 / 100.0) as u64).max(1))
            }
        };
        if self.found.interrupted {
            return Ok(());
        }
        self.found.zero = Some(self.point(0, None)?);
        self.found.series = Series::starting(monotonic_ns());
        self.start = Instant::now();
        self.is_on = true;
        let layout = &self.found.layout;
        let (seed, every) = (layout.seed, layout.fault_every);
        self.storm = Storm::new(self.args.faults, seed, every, self.args.duration.0);
        self.crew.load(self.found.rate);
        let quiesce = self.found.layout.quiesce;
        let mut next = quiesce;
        while self.start.elapsed() < self.args.duration.0 && !self.found.interrupted {
            self.step()?;
            let now = self.start.elapsed();
            let left = next.min(self.args.duration.0).saturating_sub(now);
            self.faults(left > Duration::from_secs(8).min(quiesce / 3))?;
            if now >= next && next + quiesce / 2 < self.args.duration.0 && self.storm.is_over() {
                self.quiesce()?;
                self.storm.put_off();
                next += quiesce;
                self.crew.load(self.found.rate);
            }
        }
        while !self.storm.is_over() {
            self.step()?;
            self.faults(false)?;
        }
        self.quiesce()
    }

    /// Lets a moment pass: reads what the clients say, and looks at the gateway once a second.
    fn step(&mut self) -> Result<(), SoakError> {
        if self.interrupt.has_come(SLICE) {
            if self.found.interrupted {
                return Err(SoakError::Interrupted);
            }
            self.found.interrupted = true;
            self.progress
                .say("interrupted: ending; once more to end at once");
        }
        let series = &mut self.found.series;
        self.crew.collect(&mut |tick| series.take(tick));
        let now = monotonic_ns();
        let second = series.second(now);
        if self.looked == Some(second) || !self.is_on {
            return Ok(());
        }
        self.looked = Some(second);
        let (server, router) = (self.stage.server.pid(), self.stage.router.pid());
        if let Ok(machine) = Machine::take(server, router, self.crew.pids()) {
            self.found.series.worked(second, machine);
        }
        // Between two gateways there is none to look at.
        if self.stage.gateway.ended()?.is_none() {
            if let Ok(mut usage) = Usage::take(self.stage.gateway.pid()) {
                usage.gauges = Gauges::take(&self.stage.socket);
                self.found.series.used(second, usage);
            }
        } else if self.storm.is_over() {
            return Err(SoakError::Os(io::Error::other(
                "the gateway has ended by itself: see gateway.log",
            )));
        }
        let before = self.found.series.complete(now);
        self.recorder.write(&self.found.series, before);
        self.progress.show(self.start.elapsed(), &self.found.series);
        Ok(())
    }

    /// Breaks and heals what is due.
    fn faults(&mut self, may_begin: bool) -> Result<(), SoakError> {
        let series = &mut self.found.series;
        let told = &mut |tick: &_| series.take(tick);
        let (stage, crew) = (&mut self.stage, &mut self.crew);
        let event = self
            .storm
            .step(may_begin, stage, crew, told, &self.interrupt)?;
        let now = monotonic_ns();
        match event {
            None => {}
            Some(Event::Begun(fault)) => {
                self.found.faults.push(fault);
                let healing = fault.healing_seconds();
                self.found.series.begin(fault.name(), healing, now);
                self.progress.note(fault.name());
            }
            // From here on it has its time to heal, and no more.
            Some(Event::Removed(fault)) => self.found.series.end(fault.name(), now),
            Some(Event::Healed(fault, took)) => self.found.healed.push((fault, took)),
            Some(Event::Festers(fault)) => {
                self.found.festers.push(fault);
                self.progress.say(&format!("{} did not heal", fault.name()));
            }
        }
        Ok(())
    }

    /// Pauses the load, waits until everything has come back, and counts.
    fn quiesce(&mut self) -> Result<(), SoakError> {
        self.found
            .series
            .begin("quiescent", HEALING, monotonic_ns());
        self.progress.note("quiescent point");
        self.crew.pause();
        let drained = self.drain()?;
        let second = self.found.series.second(monotonic_ns());
        let first = self.found.points.first().map(|point| point.at_rest.clone());
        let mut point = self.point(second, first.as_ref())?;
        point.drained = drained;
        let line = serde_json::to_string(&point).unwrap_or_default();
        self.recorder.point(&line);
        self.found.points.push(point);
        self.found.series.end("quiescent", monotonic_ns());
        Ok(())
    }

    fn drain(&mut self) -> Result<bool, SoakError> {
        let begun = Instant::now();
        while !self.crew.is_idle() {
            if begun.elapsed() > DRAIN {
                return Ok(false);
            }
            self.step()?;
        }
        Ok(true)
    }

    /// The gateway at rest: as it was at the first point, or as it stays, and its memory does not change
    /// any more.
    fn point(
        &mut self,
        second: u64,
        first: Option<&crate::quiescent::AtRest>,
    ) -> Result<Point, SoakError> {
        let begun = Instant::now();
        let mut last = Point::take(&self.stage, second, true)?;
        let mut looks = 0;
        loop {
            let looked = Instant::now();
            while looked.elapsed() < LOOK {
                self.step()?;
            }
            let mut now = Point::take(&self.stage, second, true)?;
            let reference = first.unwrap_or(&last.at_rest);
            let rests = now.at_rest.differs(reference).is_empty() && now.is_steady(&last);
            looks = if rests { looks + 1 } else { 0 };
            now.settled = looks >= ALIKE;
            if now.settled || begun.elapsed() > REST {
                return Ok(now);
            }
            last = now;
        }
    }

    /// Requests a second that are completed when the windows are kept full.
    fn measure(&mut self) -> Result<f64, SoakError> {
        self.progress.say(&format!(
            "measuring the capacity for {:?}",
            self.found.layout.measure
        ));
        self.found.series = Series::starting(monotonic_ns());
        self.crew.load(None);
        let begun = Instant::now();
        while begun.elapsed() < self.found.layout.measure && !self.found.interrupted {
            self.interrupted_step();
        }
        self.crew.pause();
        let drain = Instant::now();
        while !self.crew.is_idle() && drain.elapsed() < DRAIN {
            self.interrupted_step();
        }
        if !self.crew.is_idle() {
            let text = "what was sent to measure the capacity did not come back";
            return Err(SoakError::Os(io::Error::other(text)));
        }
        let mut series = core::mem::take(&mut self.found.series);
        series.finish();
        self.found.measured = series.total.clone();
        let seconds = self.found.layout.measure.as_secs();
        let rows = series.rows.iter().filter(|row| {
            // Neither the start nor the end, which are not whole.
            row.second > seconds / 3 && row.second < seconds
        });
        #[expect(
            clippy::cast_precision_loss,
            reason = "requests a second of one machine"
        )]
        let rates: Vec<f64> = rows.map(|row| row.ok as f64).collect();
        let rate = crate::stats::mean(&rates).unwrap_or(0.0);
        self.progress.say(&format!("capacity {rate:.0}/s"));
        Ok(rate)
    }

    /// A step before the load is on: nothing is recorded.
    fn interrupted_step(&mut self) {
        self.found.interrupted |= self.interrupt.has_come(SLICE);
        let series = &mut self.found.series;
        self.crew.collect(&mut |tick| series.take(tick));
    }

    /// Ends everything, whatever has happened.
    fn finish(mut self) -> Result<Measured, SoakError> {
        self.progress.end();
        let series = &mut self.found.series;
        let count = usize::try_from(self.crew.sessions()).unwrap_or(usize::MAX);
        let ended = self
            .crew
            .end(&mut |tick| series.take(tick), &self.interrupt);
        self.found.killed = self.crew.killed();
        self.found.clients = Some((tolerate(ended, &mut self.found.broken)?.unwrap_or(0), count));
        if self.is_on {
            let before = self.found.series.finish();
            self.recorder.write(&self.found.series, before);
        }
        self.recorder.flush();
        let ended = self.stage.end(&self.interrupt);
        self.found.ended = tolerate(ended, &mut self.found.broken)?;
        self.found.witness = self.judge_witness().map_err(|error| error.to_string());
        if self.found.series.unwritten > 0 {
            let error = io::Error::other(format!("{} lines", self.found.series.unwritten));
            self.evidence.failed("the witness's history", error);
        }
        Ok(self.found)
    }

    /// Holds the witness's history against the Router's log.
    fn judge_witness(&self) -> io::Result<Verdict> {
        let mut checker = Checker::new(Limits {
            epsilon: EPSILON,
            // Nothing here names a tenant in a header, and only a gateway that is told to binds one.
            tenants: Tenants::Free,
        });
        let history = std::fs::read_to_string(self.stage.directory().join("history"))?;
        checker.client(&history)?;
        checker.router(&std::fs::read_to_string(self.stage.router_log())?)?;
        if self.args.faults == Level::None && self.found.rate.is_some() {
            checker.untouched(witness::NAME);
        }
        Ok(checker.judge())
    }
}

/// What a step has brought; a fault is noted, unless somebody wants it all to end.
fn tolerate<T>(
    result: Result<T, SoakError>,
    broken: &mut Option<String>,
) -> Result<Option<T>, SoakError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(SoakError::Interrupted) => Err(SoakError::Interrupted),
        Err(error) => {
            broken.get_or_insert_with(|| error.to_string());
            Ok(None)
        }
    }
}
