//! The room's thread: one current-thread tokio runtime, one task that takes turns and sleeps.

use core::future::{Future as _, poll_fn};
use core::pin::Pin;
use core::task::{Context, Poll};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::runtime::{Handle, RuntimeMetrics};
use tokio::sync::mpsc;
use tokio::time::Sleep;

use super::backpressure::Backpressure;
use super::desk::Desk;
use super::error::NatsError;
use super::gather::Gather;
use super::inbox::{boot_bits, boot_name};
use super::pool::Pool;
use super::requester::Requester;
use super::yields::Yields;
use crate::bridge::{Admissions, Duty, News, Told, UpstreamEnd};
use crate::clock::{Clock, Nanos, System};
use crate::health::{NatsHealth, StopSignal};
use crate::metrics::nats::NatsMetrics;
use crate::settings::NatsSettings;

/// Turns without work before sleeping, when work comes one at a time: yielding the processor and
/// polling the socket once costs less than going to sleep and being woken.
const YIELDS: u32 = 64;
/// Work in one turn from which on the task sleeps at once when it runs dry: the next batch is
/// further off than the yields would last.
const LARGE_TURN: usize = 16;
/// Nanoseconds between two looks whether everything is finished, once told to stop.
const STOP_LOOK_NS: u64 = 10_000_000;

/// Serves the links on the calling thread until told to stop and either everything is completed
/// or its workers, who completed it as unknown, are gone.
///
/// `links` are in the order of the workers' numbers. With a `duty` its worker is stepped here too,
/// and its link is among `links`. `news` has the routes, and those that come later. A server that cannot be reached is not an error: `health` says
/// so, and requests are rejected until it can.
///
/// # Errors
/// [`NatsError`] when the runtime cannot be made.
#[expect(
    clippy::too_many_arguments,
    reason = "the one door of the room: what it is told and what it reports to"
)]
pub fn run(
    settings: NatsSettings,
    news: impl Into<News>,
    links: Vec<UpstreamEnd>,
    duty: Option<Box<dyn Duty>>,
    admissions: Arc<Admissions>,
    metrics: Arc<NatsMetrics>,
    health: Arc<NatsHealth>,
    stop: StopSignal,
) -> Result<(), NatsError> {
    if settings.urls.is_empty() {
        return Err(NatsError::NoServer);
    }
    let settings = Arc::new(settings);
    let boot = boot_bits()?;
    let [seed @ .., _, _, _, _, _, _, _, _] = boot;
    let seed = u64::from_ne_bytes(seed);
    let (dialed_in, dialed) = mpsc::unbounded_channel();
    let news = news.into();
    let heard = news.version();
    let Told {
        routes,
        backpressure,
    } = news.told();
    let backpressure = backpressure.unwrap_or_else(|| settings.backpressure.clone());
    let pool = Pool::new(
        Arc::clone(&settings),
        boot_name(boot),
        dialed_in,
        Arc::clone(&health),
        Arc::clone(&metrics),
        seed,
    );
    let requester = Requester {
        desk: Desk::new(links, Arc::clone(&routes), metrics, seed),
        pool,
        backpressure: Backpressure::new(backpressure, &routes, admissions),
        settings,
        routes,
        health,
        news,
        heard,
        looks: 0,
        trace_seed: seed,
        dialed,
        words: Vec::new(),
        held_due: Nanos::NEVER,
        retire_due: Nanos::NEVER,
        log_again: Nanos(0),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(NatsError::Runtime)?;
    let ended = runtime.block_on(async {
        let room = Room::new(requester, duty, stop)?;
        // A turn is bounded by its own budgets; tokio's would make ready sources look empty.
        tokio::task::unconstrained(room.drive()).await;
        Ok(())
    });
    // A name that is still being resolved, or a file that is being read, is not waited for.
    runtime.shutdown_background();
    ended
}

/// The requester and what wakes it.
struct Room {
    requester: Requester,
    duty: Option<Stepped>,
    gather: Gather,
    yields: Yields,
    stop: StopSignal,
    is_stopping: bool,
    timer: Pin<Box<Sleep>>,
    /// When the timer fires.
    timer_due: Nanos,
    /// What the runtime says of itself.
    runtime: RuntimeMetrics,
}

/// A duty and its bell.
struct Stepped {
    duty: Box<dyn Duty>,
    bell: AsyncFd<OwnedFd>,
}

impl Room {
    fn new(
        requester: Requester,
        duty: Option<Box<dyn Duty>>,
        stop: StopSignal,
    ) -> Result<Self, NatsError> {
        let duty = duty.map(Stepped::new).transpose()?;
        Ok(Self {
            requester,
            duty,
            gather: Gather::default(),
            yields: Yields::default(),
            stop,
            is_stopping: false,
            timer: Box::pin(tokio::time::sleep(core::time::Duration::ZERO)),
            timer_due: Nanos(0),
            runtime: Handle::current().metrics(),
        })
    }

    async fn drive(mut self) {
        let mut dry = 0;
        let mut newest = 0;
        loop {
            let done = poll_fn(|cx| Poll::Ready(self.turn(cx))).await;
            if done > 0 {
                dry = 0;
                newest = done;
            } else if self.is_finished() {
                return;
            } else {
                dry += 1;
            }
            let budget = if newest < LARGE_TURN && self.yields.allowed() {
                YIELDS
            } else {
                1
            };
            if dry < budget {
                if dry > 0 {
                    self.yields.yield_now();
                }
                tokio::task::yield_now().await;
            } else {
                if !self.sleep().await {
                    // Whatever kept it from sleeping, sockets and timers have their turn.
                    tokio::task::yield_now().await;
                }
                self.yields.slept();
                dry = 0;
            }
        }
    }

    /// One turn of everything on this thread; returns how much was done.
    fn turn(&mut self, cx: &mut Context<'_>) -> usize {
        let mut now = System.now();
        self.requester.desk.metrics.turns.increment();
        let received = self.requester.receive(cx, now);
        let mut done = received;
        if let Some(stepped) = &mut self.duty {
            done += stepped.duty.do_work();
            if self.yields.allowed()
                && let Some(wait_ns) = self.gather.wait_ns(received)
            {
                let due = Nanos(now.0.saturating_add(wait_ns));
                let asked = stepped.gather(received, due, &mut self.yields);
                self.gather.waited(received, asked);
                done += asked;
            }
            // The thread may have stood still meanwhile, and what has run out is never sent.
            now = System.now();
        }
        done + self.requester.send(cx, now)
    }

    /// Whether it was told to stop and has nothing left to do.
    fn is_finished(&mut self) -> bool {
        self.is_stopping |= self.stop.is_set();
        if !self.is_stopping {
            return false;
        }
        match &self.duty {
            // Its worker has completed everything.
            Some(stepped) => stepped.duty.finished(),
            None => self.requester.is_idle(System.now()),
        }
    }

    /// Sleeps until something has come or is due; whether it has slept at all.
    async fn sleep(&mut self) -> bool {
        let (mut is_armed, mut has_slept) = (false, false);
        let metrics = Arc::clone(&self.requester.desk.metrics);
        metrics.asleep.set(1);
        let tasks = self.runtime.num_alive_tasks();
        metrics.tasks.set(u64::try_from(tasks).unwrap_or(u64::MAX));
        poll_fn(|cx| {
            // Whatever wakes the task after this is a reason to take a turn.
            if is_armed {
                has_slept = true;
                return Poll::Ready(());
            }
            is_armed = true;
            self.arm(cx)
        })
        .await;
        metrics.asleep.set(0);
        for link in self.requester.desk.links() {
            link.disarm();
        }
        if let Some(stepped) = &mut self.duty {
            stepped.duty.awake();
        }
        has_slept
    }

    /// Tells everybody that this thread will sleep, and looks once more.
    fn arm(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        for link in self.requester.desk.links() {
            link.arm(cx.waker());
        }
        self.stop.register(cx.waker());
        self.requester.news.register(cx.waker());
        if self.requester.has_work()
            || self.requester.is_looked_at()
            || self.requester.has_news()
            || self.stop.is_set() != self.is_stopping
        {
            return Poll::Ready(());
        }
        let mut due = self.requester.due();
        if let Some(stepped) = &mut self.duty {
            if !stepped.duty.prepare_to_sleep() || stepped.has_rung(cx) {
                return Poll::Ready(());
            }
            due = due.min(stepped.duty.next_due());
        }
        self.set_timer(cx, due)
    }

    fn set_timer(&mut self, cx: &mut Context<'_>, due: Nanos) -> Poll<()> {
        let now = System.now();
        let due = if self.is_stopping {
            due.min(Nanos(now.0.saturating_add(STOP_LOOK_NS)))
        } else {
            due
        };
        if due <= now {
            return Poll::Ready(());
        }
        // A timer that fires too early costs a turn, which is less than setting it anew each time.
        if due < self.timer_due || self.timer_due <= now {
            if due == Nanos::NEVER {
                return Poll::Pending;
            }
            self.timer.set(tokio::time::sleep(due.until(now)));
            self.timer_due = due;
        }
        self.timer.as_mut().poll(cx)
    }
}

impl Stepped {
    fn new(duty: Box<dyn Duty>) -> Result<Self, NatsError> {
        let bell = duty.bell().try_clone_to_owned().map_err(NatsError::Bell)?;
        #[expect(
            deprecated,
            reason = "its successor is unsafe and asks for what an OwnedFd guarantees: one \
                      descriptor that stays open"
        )]
        let bell = AsyncFd::with_interest(bell, Interest::READABLE).map_err(NatsError::Bell)?;
        Ok(Self { duty, bell })
    }

    /// Steps the worker until so many have asked, or until `due`; returns how many have.
    fn gather(&mut self, answered: usize, due: Nanos, yields: &mut Yields) -> usize {
        let mut asked = 0;
        while asked < answered && System.now() < due {
            let goes_on = yields.yield_now();
            asked += self.duty.do_work();
            if !goes_on {
                break;
            }
        }
        asked
    }

    /// Whether the bell has rung; if not, the task is woken when it does.
    fn has_rung(&self, cx: &mut Context<'_>) -> bool {
        match self.bell.poll_read_ready(cx) {
            Poll::Ready(Ok(mut guard)) => {
                guard.clear_ready();
                true
            }
            Poll::Ready(Err(_)) => true,
            Poll::Pending => false,
        }
    }
}
