//! Looking: what the kernel, `/proc` and `/sys` say of this machine. Judges nothing.

use std::fs::read_to_string;
use std::io;
use std::path::{Path, PathBuf};
use std::thread::available_parallelism;

use ipc_ringbuf::sys::{self, BellPage};

use super::process::Process;
use crate::control::sees_processes;

/// What is seen of the machine. `None` where the machine does not say.
#[derive(Clone, Debug)]
pub(super) struct HostFacts {
    /// The kernel's release.
    pub(super) kernel: Option<String>,
    /// What the rings need: why it cannot be had, if not.
    pub(super) rings: Result<(), String>,
    /// Whether the end of a client's process is seen.
    pub(super) sees_processes: bool,
    /// The hard limit on open descriptors; `u64::MAX` for none.
    pub(super) descriptors: Option<u64>,
    /// Bytes of memory that can be had, and what bounds them.
    pub(super) memory: Option<(u64, &'static str)>,
    /// Places that memory is swapped to; none where the list is hidden.
    pub(super) swaps: Option<usize>,
    /// Whether all users of the machine are seen as they are.
    pub(super) all_users: Option<bool>,
    /// What `/proc` is mounted with that hides processes.
    pub(super) hidden: Option<String>,
    pub(super) clock: Option<String>,
    pub(super) cores: usize,
    /// Cores that the scheduler leaves alone, as the kernel lists them.
    pub(super) isolated: Option<String>,
    pub(super) governor: Option<String>,
}

/// Where control groups are.
const GROUPS: &str = "/sys/fs/cgroup";

impl HostFacts {
    /// Looks at the machine, and at what it grants this process.
    pub(super) fn look(process: &Process) -> Self {
        let line = |path: &str| read_to_string(path).ok().map(|text| text.trim().to_owned());
        let directory = process.directory();
        let granted = |name: &str| read_to_string(directory.join(name)).ok();
        let cpu = "/sys/devices/system/cpu";
        Self {
            kernel: line("/proc/sys/kernel/osrelease"),
            rings: rings().map_err(|(what, error)| format!("{what}: {error}")),
            sees_processes: sees_processes().unwrap_or(false),
            descriptors: granted("limits").and_then(|text| hard_descriptors(&text)),
            memory: {
                // What its sessions hold is part of what users may have.
                let own = match process {
                    Process::Gateway(_) => granted("status").and_then(|text| shared_bytes(&text)),
                    Process::Own | Process::Unseen | Process::Unknown { .. } => None,
                };
                memory(&granted("cgroup").unwrap_or_default(), own.unwrap_or(0))
            },
            swaps: line("/proc/swaps").map(|text| swaps(&text)),
            all_users: granted("uid_map").map(|map| maps_everybody(&map)),
            hidden: granted("mountinfo").and_then(|text| hidepid(&text)),
            clock: line("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
            cores: match process {
                Process::Gateway(_) => granted("status").and_then(|text| {
                    let groups = granted("cgroup").unwrap_or_default();
                    let quota = quota_in_group(Path::new(GROUPS), &groups);
                    Some(allowed_cores(&text)?.min(quota.unwrap_or(usize::MAX)))
                }),
                // This knows the quota of the control group too.
                Process::Own | Process::Unseen | Process::Unknown { .. } => None,
            }
            .unwrap_or_else(|| available_parallelism().map_or(1, usize::from)),
            isolated: line(&format!("{cpu}/isolated")).filter(|list| !list.is_empty()),
            governor: line(&format!("{cpu}/cpu0/cpufreq/scaling_governor")),
        }
    }
}

/// The places that memory is swapped to, of which each has a line below the head.
fn swaps(list: &str) -> usize {
    list.lines().count().saturating_sub(1)
}

/// Makes one of everything that rings and their bells are made of.
fn rings() -> Result<(), (&'static str, io::Error)> {
    use std::os::fd::AsFd as _;
    let memory = sys::sealed_memfd("ipc-gateway-doctor", 4096).map_err(|e| ("memfd_create", e))?;
    sys::check_sealed(memory.as_fd()).map_err(|e| ("memfd seals", e))?;
    let bell = sys::eventfd().map_err(|e| ("eventfd", e))?;
    sys::ring_eventfd(bell.as_fd());
    if !sys::is_readable(bell.as_fd()) {
        return Err(("eventfd", io::Error::other("rung, and not readable")));
    }
    BellPage::create().map_err(|e| ("bell page", e))?;
    Ok(())
}

/// The cores that a process's `status` lets it run on.
fn allowed_cores(status: &str) -> Option<usize> {
    let mut lines = status.lines();
    let masks = lines.find_map(|line| line.strip_prefix("Cpus_allowed:"))?;
    let masks = masks.trim().split(',');
    let cores = masks.map(|mask| u32::from_str_radix(mask, 16).map(u32::count_ones));
    let cores: u32 = cores.sum::<Result<_, _>>().ok()?;
    usize::try_from(cores).ok().filter(|cores| *cores > 0)
}

/// The hard limit in a process's `limits`.
fn hard_descriptors(limits: &str) -> Option<u64> {
    let line = limits
        .lines()
        .find(|line| line.starts_with("Max open files"))?;
    match line.split_whitespace().nth(4)? {
        "unlimited" => Some(u64::MAX),
        number => number.parse().ok(),
    }
}

/// Whether a `uid_map` maps every user to the same number.
fn maps_everybody(map: &str) -> bool {
    map.split_whitespace().eq(["0", "0", "4294967295"])
}

/// The option of the mount of `/proc` that hides processes of others.
fn hidepid(mounts: &str) -> Option<String> {
    let proc = mounts
        .lines()
        .rfind(|line| line.split(' ').nth(4) == Some("/proc"))?;
    let options = proc.split([' ', ',']);
    let mut hiding = options.filter(|option| option.starts_with("hidepid="));
    let found = hiding.next()?;
    (!matches!(found, "hidepid=0" | "hidepid=off")).then(|| found.to_owned())
}

/// What can be had by a process of these control groups.
fn memory(groups: &str, own: u64) -> Option<(u64, &'static str)> {
    let info = read_to_string("/proc/meminfo").ok()?;
    let free = available(&info)?.saturating_add(own);
    match in_group(Path::new(GROUPS), groups).map(|left| left.saturating_add(own)) {
        Some(left) if left < free => Some((left, "the limit of the control group")),
        _ => Some((free, "MemAvailable")),
    }
}

/// `MemAvailable` in bytes.
fn available(info: &str) -> Option<u64> {
    let line = info
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    kib.checked_mul(1024)
}

/// Bytes of shared memory that a process's `status` says it has.
fn shared_bytes(status: &str) -> Option<u64> {
    let mut lines = status.lines();
    let line = lines.find_map(|line| line.strip_prefix("RssShmem:"))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    kib.checked_mul(1024)
}

/// Whole cores that the tightest quota of a process's control groups is worth, at least 1.
fn quota_in_group(root: &Path, groups: &str) -> Option<usize> {
    let quota = above(root, groups)?.filter_map(|group| {
        // The file of a group without a quota says "max".
        let text = read_to_string(group.join("cpu.max")).ok()?;
        let (quota, period) = text.trim().split_once(' ')?;
        let (quota, period) = (quota.parse::<usize>().ok()?, period.parse::<usize>().ok()?);
        Some(quota.checked_div(period)?.max(1))
    });
    quota.min()
}

/// The control group of a process, and those above it.
fn above(root: &Path, groups: &str) -> Option<impl Iterator<Item = PathBuf>> {
    let path = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let groups: Vec<PathBuf> = root.join(path).ancestors().map(Path::to_owned).collect();
    let root = root.to_owned();
    Some(
        groups
            .into_iter()
            .take_while(move |group| group.starts_with(&root)),
    )
}

/// Bytes left in the control group with the least, of this process's and those above it.
fn in_group(root: &Path, groups: &str) -> Option<u64> {
    let groups = above(root, groups)?;
    let number = |file: PathBuf| read_to_string(file).ok()?.trim().parse::<u64>().ok();
    let left = groups.filter_map(|group| {
        // The file of a group without a limit says "max".
        let limit = number(group.join("memory.max"))?;
        Some(limit.saturating_sub(number(group.join("memory.current"))?))
    });
    left.min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_of_the_kernel_are_understood() {
        let limits = "Limit  Soft Limit  Hard Limit  Units\n\
                      Max open files            1024                 524288               files \n";
        assert_eq!(hard_descriptors(limits), Some(524_288));
        let status = "Name:\tx\nCpus_allowed:\tff,80000001\nCpus_allowed_list:\t0,31-39\n";
        assert_eq!(allowed_cores(status), Some(10));
        assert_eq!(allowed_cores("Cpus_allowed:\t0\n"), None);
        assert_eq!(shared_bytes("RssShmem:\t    8 kB\n"), Some(8192));
        assert!(maps_everybody("         0          0 4294967295"));
        assert!(!maps_everybody("         0       1000          1"));
        let mounts = "22 28 0:20 / /proc rw,nosuid shared:5 - proc proc rw,hidepid=invisible\n";
        assert_eq!(hidepid(mounts).as_deref(), Some("hidepid=invisible"));
        assert_eq!(hidepid("22 28 0:20 / /proc rw - proc proc rw\n"), None);
        let head = "Filename Type Size Used Priority";
        assert_eq!(swaps(head), 0);
        assert_eq!(swaps(&format!("{head}\n/dev/sda2 partition 9 0 -2")), 1);
        assert_eq!(
            available("MemTotal: 9 kB\nMemAvailable:   2 kB\n"),
            Some(2048)
        );
    }

    #[test]
    fn the_tightest_control_group_counts() {
        let root = tempfile::tempdir().unwrap();
        let inner = root.path().join("a/b");
        std::fs::create_dir_all(&inner).unwrap();
        let say = |group: &str, limit: &str, used: &str| {
            let group = root.path().join(group);
            std::fs::write(group.join("memory.max"), limit).unwrap();
            std::fs::write(group.join("memory.current"), used).unwrap();
        };
        say("a/b", "max\n", "5\n");
        assert_eq!(in_group(root.path(), "0::/a/b\n"), None);
        say("a", "1000\n", "400\n");
        assert_eq!(in_group(root.path(), "0::/a/b\n"), Some(600));
        assert_eq!(in_group(root.path(), "4:memory:/a\n"), None);
        assert_eq!(quota_in_group(root.path(), "0::/a/b\n"), None);
        for (group, text, cores) in [
            ("a/b", "max 100000\n", None),
            ("a", "250000 100000", Some(2)),
            ("a/b", "50000 100000", Some(1)),
        ] {
            std::fs::write(root.path().join(group).join("cpu.max"), text).unwrap();
            assert_eq!(quota_in_group(root.path(), "0::/a/b\n"), cores);
        }
    }

    #[test]
    fn this_machine_has_what_the_rings_need() {
        for process in [Process::Own, Process::Gateway(std::process::id())] {
            let host = HostFacts::look(&process);
            assert_eq!(host.rings, Ok(()));
            assert!(host.cores > 0 && host.descriptors.is_some() && host.memory.is_some());
        }
    }
}
