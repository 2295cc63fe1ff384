//! The client processes: started, let go together, listened to, ended.
//!
//! Their input is open as long as this process lives, and they end with it, so that none is left
//! behind however this process ends.

use core::time::Duration;
use std::io::{self, BufRead as _, BufReader, IsTerminal as _, Write as _};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;

use super::super::exit::Exit;
use super::plan::{Cause, GO, Plan, STOP, Said};
use super::report::Progress;
use super::tally::Tally;
use crate::clock::{Clock as _, System};
use crate::control::Interrupts;

/// Time between two looks at the clock for progress.
const TICK: Duration = Duration::from_millis(200);
/// Time for the client processes to end once they are told to.
const FAREWELL: Duration = Duration::from_secs(2);

/// What all clients together have measured.
#[derive(Debug)]
pub(super) struct Measured {
    pub(super) tally: Tally,
    /// Of the client that took longest.
    pub(super) elapsed: Duration,
    /// Requests that were due and not sent.
    pub(super) unsent: u64,
    /// What went wrong, each once.
    pub(super) faults: Vec<String>,
}

impl Measured {
    fn blame(&mut self, fault: String) {
        if !self.faults.contains(&fault) {
            self.faults.push(fault);
        }
    }
}

/// Why nothing was measured.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// The gateway cannot be reached.
    #[error("{0}")]
    Unreachable(String),
    /// This user may not attach.
    #[error("{0}")]
    Forbidden(String),
    /// A client could not begin.
    #[error("{0}")]
    Client(String),
    /// A client process is gone.
    #[error("a client process ended before it was attached")]
    Ended,
    /// SIGINT or SIGTERM.
    #[error("interrupted before it began")]
    Interrupted,
    /// The operating system.
    #[error("the operating system refused: {0}")]
    Os(#[from] io::Error),
    /// The histogram.
    #[error("cannot make a histogram: {0}")]
    Histogram(#[from] hdrhistogram::CreationError),
}

impl Failure {
    pub(super) const fn exit(&self) -> Exit {
        match self {
            Self::Unreachable(_) => Exit::Unavailable,
            Self::Forbidden(_) => Exit::NoPermission,
            Self::Client(_) | Self::Ended | Self::Interrupted => Exit::Failure,
            Self::Os(_) => Exit::OsError,
            Self::Histogram(_) => Exit::Software,
        }
    }
}

/// Runs the plan in this many processes.
pub(super) fn measure(plan: &Plan, processes: u32) -> Result<Measured, Failure> {
    let interrupts = Interrupts::hold()?;
    let (tell, events) = channel();
    let mut crew = Crew {
        members: Vec::new(),
        events,
    };
    for process in 0..processes {
        let first = process.saturating_mul(plan.threads);
        crew.hire(
            &Plan {
                first,
                ..plan.clone()
            },
            &tell,
        )?;
    }
    thread::Builder::new().spawn(move || {
        while interrupts.wait().is_ok() && tell.send(Event::Interrupt).is_ok() {}
    })?;
    crew.gather(plan.clients)?;
    crew.tell(GO);
    let measured = crew.listen(plan.clients, plan.timeout)?;
    crew.dismiss();
    Ok(measured)
}

/// What happens meanwhile.
#[derive(Debug)]
enum Event {
    /// Said by the member of this number.
    Said(usize, Said),
    /// The member of this number has closed its output.
    Ended(usize),
    /// SIGINT or SIGTERM has come.
    Interrupt,
}

/// A client process.
#[derive(Debug)]
struct Member {
    child: Child,
    /// Closed to end it.
    orders: Option<ChildStdin>,
    present: bool,
}

/// All client processes, ended with this value.
#[derive(Debug)]
struct Crew {
    members: Vec<Member>,
    events: Receiver<Event>,
}

impl Crew {
    /// Starts a process and tells it the plan.
    fn hire(&mut self, plan: &Plan, tell: &Sender<Event>) -> Result<(), Failure> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg("bench-client")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let (orders, output) = (child.stdin.take(), child.stdout.take());
        let number = self.members.len();
        self.members.push(Member {
            child,
            orders,
            present: true,
        });
        let line = serde_json::to_string(plan).map_err(io::Error::from)?;
        self.tell_one(number, &line);
        let tell = tell.clone();
        thread::Builder::new().spawn(move || {
            let lines = output.map(|pipe| BufReader::new(pipe).lines());
            for line in lines.into_iter().flatten().map_while(Result::ok) {
                if let Ok(said) = serde_json::from_str(&line) {
                    tell.send(Event::Said(number, said)).ok();
                }
            }
            tell.send(Event::Ended(number)).ok();
        })?;
        Ok(())
    }

    fn tell_one(&mut self, number: usize, line: &str) {
        let orders = self.members.get_mut(number);
        if let Some(orders) = orders.and_then(|member| member.orders.as_mut()) {
            // One that has ended is noticed by its output.
            writeln!(orders, "{line}").ok();
        }
    }

    fn tell(&mut self, line: &str) {
        (0..self.members.len()).for_each(|number| self.tell_one(number, line));
    }

    /// Waits until every client is attached.
    fn gather(&self, clients: u32) -> Result<(), Failure> {
        let mut ready = 0;
        while ready < clients {
            match self.events.recv() {
                Ok(Event::Said(_, Said::Ready)) => ready += 1,
                Ok(Event::Said(_, Said::Failed { cause, message })) => {
                    return Err(match cause {
                        Cause::Unreachable => Failure::Unreachable(message),
                        Cause::Forbidden => Failure::Forbidden(message),
                        Cause::Other => Failure::Client(message),
                    });
                }
                Ok(Event::Said(..)) => {}
                Ok(Event::Ended(_)) | Err(_) => return Err(Failure::Ended),
                Ok(Event::Interrupt) => return Err(Failure::Interrupted),
            }
        }
        Ok(())
    }

    /// Takes what the clients have measured. A first interrupt stops them, a second one does not
    /// wait for what is outstanding.
    fn listen(&mut self, clients: u32, timeout: Option<Duration>) -> Result<Measured, Failure> {
        let mut measured = Measured {
            tally: Tally::new(timeout)?,
            elapsed: Duration::ZERO,
            unsent: 0,
            faults: Vec::new(),
        };
        let start = System.now();
        let mut progress = Progress::new(start, io::stderr().is_terminal());
        let mut totals = vec![0; self.members.len()];
        let (mut left, mut interrupted) = (clients, false);
        while left > 0 && self.members.iter().any(|member| member.present) {
            match self.events.recv_timeout(TICK) {
                Ok(Event::Said(_, Said::Done(share))) => {
                    left -= 1;
                    measured.tally.add(&share.counts);
                    measured.elapsed = measured.elapsed.max(share.elapsed);
                    measured.unsent += share.unsent;
                    if let Some(fault) = share.fault {
                        measured.blame(fault);
                    }
                }
                Ok(Event::Said(number, Said::Progress(total))) => {
                    if let Some(known) = totals.get_mut(number) {
                        *known = total;
                    }
                }
                Ok(Event::Interrupt) if interrupted => self.close(),
                Ok(Event::Interrupt) => {
                    interrupted = true;
                    self.tell(STOP);
                }
                Ok(Event::Ended(number)) => self.gone(number),
                Ok(Event::Said(_, Said::Ready | Said::Failed { .. }))
                | Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            progress.show(System.now(), || totals.iter().sum());
        }
        progress.clear();
        if left > 0 {
            measured.blame(format!(
                "{left} of {clients} clients ended without a report"
            ));
            let since = Duration::from_nanos(System.now().since(start));
            measured.elapsed = measured.elapsed.max(since);
        }
        Ok(measured)
    }

    fn gone(&mut self, number: usize) {
        if let Some(member) = self.members.get_mut(number) {
            member.present = false;
        }
    }

    /// Closes the clients' input, which ends them.
    fn close(&mut self) {
        for member in &mut self.members {
            member.orders = None;
        }
    }

    /// Ends the clients; returns when they have ended, or when they had time enough.
    fn dismiss(&mut self) {
        self.close();
        let bound = System.now().after(FAREWELL);
        while self.members.iter().any(|member| member.present) {
            let left = bound.until(System.now());
            if left.is_zero() {
                return;
            }
            if let Ok(Event::Ended(number)) = self.events.recv_timeout(left) {
                self.gone(number);
            }
        }
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        self.dismiss();
        for member in &mut self.members {
            // It has ended, or does not want to.
            member.child.kill().ok();
            member.child.wait().ok();
        }
    }
}
