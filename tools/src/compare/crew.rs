//! The client processes of one run: started, let go together, sampled, listened to.

use core::time::Duration;
use std::process::Command;
use std::thread;

use ipc_ringbuf::monotonic_ns;

use crate::cpu;
use crate::figures::{Cpu, Figures};
use crate::job::Job;
use crate::orders::{Interval, READY, Report};
use crate::server::{SOON, own};
use crate::stats::Latencies;
use ipc_tools::stage::{Failure, While as _};
use ipc_tools::stage::{Process, Speaks};

/// The load goes on for so long after the interval, so that the last sample is not too late.
const TAIL: Duration = Duration::from_millis(100);

/// Bytes that every contender can move in a second.
const SLOWEST: u32 = 50_000_000;

/// Longest sleep before it is seen whether a client has given up.
const SLICE: Duration = Duration::from_millis(250);

/// How long to run and to count.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    pub(crate) warmup: Duration,
    pub(crate) counted: Duration,
}

impl Times {
    /// Warms up for longer when this many bytes in flight take their time to get there.
    pub(crate) fn for_bytes(self, bytes: usize) -> Self {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        Self {
            warmup: self.warmup + Duration::from_secs(1) * bytes / SLOWEST,
            ..self
        }
    }
}

/// Who else works for the requests: process numbers by role.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Roles {
    pub(crate) gateway: Option<u32>,
    pub(crate) server: Option<u32>,
    pub(crate) responder: Option<u32>,
}

/// Starts a client process for each job, lets them run, and returns what they measured.
///
/// # Errors
/// A client cannot start, or an answer was wrong or missing.
pub(crate) fn measure(
    jobs: &[Job],
    roles: Roles,
    times: Times,
    probe: impl Fn() -> Result<f64, Failure>,
) -> Result<Figures, Failure> {
    let before = probe()?;
    let mut crew = Vec::new();
    for job in jobs {
        let line = serde_json::to_string(job).or_say("cannot write the job")?;
        let mut command: Command = own(&["client", &line])?;
        let name = format!("{} client {}", job.contender.name(), job.number);
        crew.push(Process::start_unlogged(&name, &mut command, Speaks::Output)?.in_peace());
    }
    for client in &crew {
        let line = client.line(SOON)?;
        if line != READY {
            return Err(complaint(client, &line));
        }
    }
    let interval = interval(times);
    for client in &mut crew {
        client.tell(&interval.line())?;
    }
    let pids: Vec<u32> = crew.iter().map(Process::pid).collect();
    sleep_until(interval.begin, &crew)?;
    let first = sample(&pids, roles)?;
    sleep_until(interval.end, &crew)?;
    let last = sample(&pids, roles)?;
    let mut latencies = Latencies::default();
    for client in &crew {
        let line = client.line(times.counted + SOON)?;
        match serde_json::from_str(&line) {
            Ok(Report::Done(counts)) => latencies.add(&counts),
            _ => return Err(complaint(client, &line)),
        }
    }
    drop(crew);
    if latencies.count() == 0 {
        return Err(Failure::new(
            "not one request was completed in the interval",
        ));
    }
    let cpu = last
        .since(&first)
        .per_million(latencies.count(), times.counted);
    let seconds = times.counted.as_secs_f64();
    Ok(Figures::new(&latencies, seconds, cpu, [before, probe()?]))
}

fn complaint(client: &Process, line: &str) -> Failure {
    Failure::Failed(match serde_json::from_str(line) {
        Ok(Report::Failed(why)) => format!("{}: {why}", client.name()),
        _ => format!("{} said {line:?}", client.name()),
    })
}

fn interval(times: Times) -> Interval {
    let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    let begin = monotonic_ns().saturating_add(nanos(times.warmup));
    let end = begin.saturating_add(nanos(times.counted));
    Interval {
        begin,
        end,
        stop: end.saturating_add(nanos(TAIL)),
    }
}

/// Sleeps until this moment of the monotonic clock, or until a client gives up.
fn sleep_until(moment: u64, crew: &[Process]) -> Result<(), Failure> {
    loop {
        let left = Duration::from_nanos(moment.saturating_sub(monotonic_ns()));
        if left.is_zero() {
            return Ok(());
        }
        thread::park_timeout(left.min(SLICE));
        for client in crew {
            if let Some(line) = client.early_line()? {
                return Err(complaint(client, &line));
            }
        }
    }
}

/// Nanoseconds of processor time by role, and when they were read.
#[derive(Clone, Copy, Debug)]
struct Sample {
    at: u64,
    clients: u64,
    gateway: Option<u64>,
    server: Option<u64>,
    responder: Option<u64>,
}

fn sample(clients: &[u32], roles: Roles) -> Result<Sample, Failure> {
    let at = monotonic_ns();
    let of = |pid: Option<u32>| pid.map(|pid| cpu::of_all(&[pid])).transpose();
    Ok(Sample {
        at,
        clients: cpu::of_all(clients)?,
        gateway: of(roles.gateway)?,
        server: of(roles.server)?,
        responder: of(roles.responder)?,
    })
}

impl Sample {
    fn since(&self, first: &Self) -> Self {
        let role = |last: Option<u64>, first: Option<u64>| {
            last.zip(first)
                .map(|(last, first)| last.saturating_sub(first))
        };
        Self {
            at: self.at - first.at,
            clients: self.clients.saturating_sub(first.clients),
            gateway: role(self.gateway, first.gateway),
            server: role(self.server, first.server),
            responder: role(self.responder, first.responder),
        }
    }

    /// Seconds for a million requests, when so many were counted within `counted`. Samples are
    /// taken a little late; what was used is taken to be spread evenly between them.
    fn per_million(self, requests: u64, counted: Duration) -> Cpu {
        let stretch = self.at as f64 / counted.as_nanos() as f64;
        let scale = |nanos: u64| nanos as f64 / 1000.0 / requests as f64 / stretch;
        let gateway = self.gateway.map(scale);
        let (server, responder) = (self.server.map(scale), self.responder.map(scale));
        let clients = scale(self.clients);
        let others = [gateway, server, responder].into_iter().flatten();
        Cpu {
            clients,
            gateway,
            server,
            responder,
            total: clients + others.sum::<f64>(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_is_by_role_and_for_a_million_requests() {
        let sample = |at, clients, server| Sample {
            at,
            clients,
            gateway: None,
            server: Some(server),
            responder: Some(0),
        };
        let used = sample(3_000, 5_000_000, 9_000_000).since(&sample(1_000, 1_000_000, 1_000_000));
        // Samples 2,000 ns apart for an interval of 1,000 ns: half of what was used counts.
        let cpu = used.per_million(1000, Duration::from_nanos(1000));
        assert_eq!(cpu.clients, 2.0);
        assert_eq!(cpu.gateway, None);
        assert_eq!((cpu.server, cpu.responder), (Some(4.0), Some(0.0)));
        assert_eq!(cpu.total, 6.0);
    }
}
