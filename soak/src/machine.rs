//! What the processors of the machine did: what was idle, what the host took, and what the parts of the
//! run used that are not the gateway.

use std::fs;
use std::io;

/// Where the numbers stand, in clock ticks of 10 ms, all processors together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Machine {
    /// Nothing to do, or waiting for a disk.
    pub(crate) idle: u64,
    /// The host ran something else meanwhile, as far as it tells.
    pub(crate) stolen: u64,
    pub(crate) server: u64,
    pub(crate) router: u64,
    /// The clients that live, together.
    pub(crate) clients: u64,
}

impl Machine {
    /// Looks, also at these processes; those that have ended count nothing.
    pub(crate) fn take(
        server: u32,
        router: u32,
        clients: impl Iterator<Item = u32>,
    ) -> io::Result<Self> {
        let (idle, stolen) = processors(&fs::read_to_string("/proc/stat")?).unwrap_or_default();
        Ok(Self {
            idle,
            stolen,
            server: ticks(server).unwrap_or(0),
            router: ticks(router).unwrap_or(0),
            clients: clients.filter_map(|pid| ticks(pid).ok()).sum(),
        })
    }
}

/// Idle and stolen ticks from `/proc/stat`, whose first line counts user, nice, system, idle, iowait, irq,
/// softirq and steal.
fn processors(stat: &str) -> Option<(u64, u64)> {
    let mut numbers = stat
        .lines()
        .next()?
        .strip_prefix("cpu ")?
        .split_whitespace();
    let mut next = |skip: usize| numbers.nth(skip)?.parse::<u64>().ok();
    let idle = next(3)?.saturating_add(next(0)?);
    Some((idle, next(2)?))
}

/// Processor time that a process has used, in clock ticks of 10 ms.
pub(crate) fn ticks(pid: u32) -> io::Result<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name, which may hold anything, ends with the last bracket.
    let numbers = stat.rsplit_once(") ").map_or("", |(_, numbers)| numbers);
    let used = numbers.split(' ').skip(11).take(2);
    Ok(used.filter_map(|number| number.parse::<u64>().ok()).sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_and_stolen_time_are_told_apart() {
        let stat = "cpu  10 20 30 400 50 6 7 80 9 0\ncpu0 1 2 3 4 5 6 7 8 9 0\n";
        assert_eq!(processors(stat), Some((450, 80)));
        assert_eq!(processors("cpu  10 20"), None);
    }

    #[test]
    fn this_machine_can_be_looked_at() {
        let own = std::process::id();
        let machine = Machine::take(own, own, [own, own].into_iter()).unwrap();
        assert!(machine.idle > 0);
        assert!(machine.clients >= machine.server);
        ticks(0).unwrap_err();
    }
}
