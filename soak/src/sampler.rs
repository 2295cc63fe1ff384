//! What a process uses, over time: resident memory and descriptors, from `/proc`.

use std::fs;
use std::io;
use std::time::Duration;

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

/// Open descriptors of a process.
pub(crate) fn descriptors(pid: u32) -> io::Result<usize> {
    Ok(fs::read_dir(format!("/proc/{pid}/fd"))?.count())
}

fn resident(pid: u32) -> io::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    kib.map(|kib| kib * 1024)
        .ok_or_else(|| io::Error::other("the process has ended"))
}
