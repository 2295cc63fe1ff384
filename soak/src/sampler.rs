//! What a process uses, from `/proc`, and what the gateway counts, from its admin server.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use ipc_tools::history::Books;

use crate::admin;
use crate::machine::ticks;

/// One look at a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sample {
    /// Since the start of the load.
    pub(crate) at: Duration,
    /// Resident memory, in bytes.
    pub(crate) resident: u64,
    /// Open descriptors.
    pub(crate) descriptors: usize,
}

impl Sample {
    /// Looks at a process.
    pub(crate) fn take(pid: u32, at: Duration) -> io::Result<Self> {
        Ok(Self {
            at,
            resident: resident(pid)?,
            descriptors: descriptors(pid)?,
        })
    }
}

/// What the gateway's process uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Usage {
    /// Whose it is.
    pub(crate) pid: u32,
    /// Resident memory, in bytes.
    pub(crate) resident: u64,
    /// The same, what is shared counted in part, in bytes.
    pub(crate) proportional: u64,
    /// The part of the resident memory that is neither of files nor shared: heap and stacks
    /// (`RssAnon`), in bytes.
    pub(crate) anonymous: u64,
    /// The part that is of sessions (`RssShmem`), in bytes.
    pub(crate) shared: u64,
    /// What it said of itself.
    pub(crate) gauges: Gauges,
    /// Open descriptors.
    pub(crate) descriptors: u64,
    /// Threads.
    pub(crate) threads: u64,
    /// Mappings.
    pub(crate) mappings: u64,
    /// Processor time used, in clock ticks of 10 ms.
    pub(crate) ticks: u64,
}

impl Usage {
    /// Looks.
    pub(crate) fn take(pid: u32) -> io::Result<Self> {
        let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
        let field = |name: &str| line_of(&rollup, name).ok_or_else(gone);
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let part = |name: &str| line_of(&status, name).ok_or_else(gone);
        Ok(Self {
            pid,
            resident: field("Rss:")?,
            proportional: field("Pss:")?,
            anonymous: part("RssAnon:")?,
            shared: part("RssShmem:")?,
            gauges: Gauges::default(),
            descriptors: descriptors(pid)? as u64,
            threads: fs::read_dir(format!("/proc/{pid}/task"))?.count() as u64,
            mappings: fs::read_to_string(format!("/proc/{pid}/maps"))?
                .lines()
                .count() as u64,
            ticks: ticks(pid)?,
        })
    }
}

/// Mappings of a process that are of a file, a session's memory or a stack: those that the allocator
/// does not come and go with.
pub(crate) fn named_mappings(pid: u32) -> io::Result<u64> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps"))?;
    let named = |line: &&str| {
        line.split_whitespace()
            .nth(5)
            .is_some_and(|name| name != "[heap]")
    };
    Ok(maps.lines().filter(named).count() as u64)
}

/// Open descriptors of a process.
pub(crate) fn descriptors(pid: u32) -> io::Result<usize> {
    Ok(fs::read_dir(format!("/proc/{pid}/fd"))?.count())
}

/// Resident memory of a process, in bytes.
pub(crate) fn resident(pid: u32) -> io::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    line_of(&status, "VmRSS:").ok_or_else(gone)
}

/// Bytes of the line of this name.
fn line_of(text: &str, name: &str) -> Option<u64> {
    kib(text.lines().find_map(|line| line.strip_prefix(name))?)
}

/// Bytes of a number of KiB.
fn kib(text: &str) -> Option<u64> {
    let kib = text.split_whitespace().next()?.parse::<u64>().ok()?;
    Some(kib * 1024)
}

fn gone() -> io::Error {
    io::Error::other("the process has ended")
}

/// The gauge of what the allocator has handed out and not got back. Only a gateway that is built with the
/// feature `counted` has it.
const ALLOCATED: &str = "ipcgw_allocated_bytes";
/// Longest wait for it where somebody looks once a second.
const GLANCE: Duration = Duration::from_millis(200);

/// What the gateway says of itself; each is none where it was not told at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Gauges {
    /// What the allocator has handed out and not got back, in bytes, where it is counted.
    pub(crate) allocated: Option<u64>,
    /// Requests accepted and not completed.
    pub(crate) in_flight: Option<u64>,
    /// Requests that may be on their way, of all workers and routes.
    pub(crate) limit: Option<u64>,
}

impl Gauges {
    /// Asks the gateway.
    pub(crate) fn take(socket: &Path) -> Self {
        admin::get_within(socket, "/metrics", GLANCE)
            .map_or_else(|_| Self::default(), |text| Self::of(&text))
    }

    fn of(text: &str) -> Self {
        Self {
            allocated: gauge(text, ALLOCATED),
            in_flight: samples(text, "ipcgw_in_flight").reduce(|sum, next| sum + next),
            limit: samples(text, "ipcgw_in_flight_limit").reduce(|sum, next| sum + next),
        }
    }
}

/// The value of a gauge without labels.
fn gauge(text: &str, name: &str) -> Option<u64> {
    let mut values = text.lines().filter_map(|line| line.strip_prefix(name));
    values.find_map(|rest| rest.strip_prefix(' ')?.parse().ok())
}

/// All samples of a name, whatever their labels.
fn samples<'a>(text: &'a str, name: &'a str) -> impl Iterator<Item = u64> + 'a {
    let lines = text.lines().filter(move |line| {
        line.strip_prefix(name)
            .is_some_and(|rest| rest.starts_with([' ', '{']))
    });
    lines.filter_map(|line| line.rsplit_once(' ')?.1.parse().ok())
}

/// What the gateway counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counters {
    text: String,
    /// The books.
    pub(crate) books: Books,
}

impl Counters {
    /// Asks the gateway.
    pub(crate) fn take(socket: &Path) -> io::Result<Self> {
        let text = admin::get(socket, "/metrics")?;
        let books = Books::parse(&text).map_err(io::Error::other)?;
        Ok(Self { text, books })
    }

    /// What the allocator has handed out and not got back, in bytes, where it is counted.
    pub(crate) fn allocated(&self) -> Option<u64> {
        gauge(&self.text, ALLOCATED)
    }

    /// The sum of all samples of a name.
    pub(crate) fn sum(&self, name: &str) -> u64 {
        samples(&self.text, name).sum()
    }
}

/// Shared memory of all sessions, in bytes: what their users are charged for.
pub(crate) fn session_bytes(socket: &Path) -> io::Result<u64> {
    let answer = admin::get(socket, "/sessions")?;
    let (_, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
    let rows: Vec<serde_json::Value> = serde_json::from_str(body)?;
    Ok(rows
        .iter()
        .filter_map(|row| row.get("bytes")?.as_u64())
        .sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_can_be_looked_at() {
        let usage = Usage::take(std::process::id()).unwrap();
        assert!(usage.resident > 0 && usage.proportional > 0);
        assert!(usage.anonymous > 0 && usage.anonymous + usage.shared <= usage.resident + 65_536);
        assert!(usage.threads > 0 && usage.mappings > 0 && usage.descriptors > 2);
        let named = named_mappings(std::process::id()).unwrap();
        assert!(named > 0 && named <= usage.mappings);
        Usage::take(0).unwrap_err();
    }

    #[test]
    fn counters_are_summed_over_their_labels() {
        let counters = Counters {
            text: "ipcgw_timers{worker=\"0\"} 2\nipcgw_timers{worker=\"1\"} 3\n\
                   ipcgw_timers_more 9\nipcgw_nats_connected 2\n"
                .to_owned(),
            books: Books::default(),
        };
        assert_eq!(counters.sum("ipcgw_timers"), 5);
        assert_eq!(counters.sum("ipcgw_nats_connected"), 2);
        assert_eq!(counters.allocated(), None);
        let text = "# TYPE ipcgw_allocated_bytes gauge\nipcgw_allocated_bytes 640\n\
                    ipcgw_in_flight{worker=\"0\"} 7\nipcgw_in_flight{worker=\"1\"} 2\n";
        let gauges = Gauges::of(text);
        assert_eq!(gauges.allocated, Some(640));
        assert_eq!(gauges.in_flight, Some(9));
        assert_eq!(gauges.limit, None);
    }
}
