//! Judging what the machine is like for a gateway with this configuration.

use super::finding::{Check, Finding};
use super::host::HostFacts;
use crate::config::Config;
use crate::control::descriptors_for;
use crate::settings::Threads;

/// Clock sources that are read without a system call.
const FAST_CLOCKS: &[&str] = &[
    "tsc",
    "kvm-clock",
    "hyperv_clocksource_tsc_page",
    "arch_sys_counter",
];

/// Governors that leave a core at its speed or raise it at once.
const FAST_GOVERNORS: &[&str] = &["performance", "schedutil"];

/// What to do where the machine's own files in `/proc` are not seen.
const UNSEEN: &str = "Mount /proc, all of it: a unit with ProcSubset=pid hides this from what runs in \
                      it, so run doctor in a shell beside it.";

/// A finding for each check of the machine.
pub(super) fn judge(host: &HostFacts, config: &Config) -> Vec<Finding> {
    vec![
        kernel(host),
        descriptors(host, config.control.max_sessions),
        memory(host, config.control.quota.memory_bytes),
        swap(host),
        users(host),
        processes(host),
        clock(host),
        cores(host, config),
        isolation(host),
        governor(host),
    ]
}

fn kernel(host: &HostFacts) -> Finding {
    let release = host.kernel.as_deref().unwrap_or("of unknown release");
    match &host.rings {
        Err(reason) => Finding::fail(
            Check::Kernel,
            format!("Linux {release}: no shared memory for rings: {reason}"),
            "Run on Linux 5.1 or later, with memfd_create, fcntl seals and eventfd allowed by what \
             filters system calls (SystemCallFilter=, a container's seccomp profile).",
        ),
        Ok(()) if !host.sees_processes => Finding::warn(
            Check::Kernel,
            format!("Linux {release} has no SO_PEERPIDFD"),
            "With Linux 6.5 or later the end of a client's process is seen itself; here only the end \
             of its connection is, which a process it has forked can keep open.",
        ),
        Ok(()) => Finding::ok(
            Check::Kernel,
            format!("Linux {release}: sealed memory, eventfd, SO_PEERPIDFD"),
        ),
    }
}

fn descriptors(host: &HostFacts, sessions: u32) -> Finding {
    let wanted = descriptors_for(sessions);
    match host.descriptors {
        None => Finding::warn(
            Check::Descriptors,
            "the hard limit on open descriptors is not known",
            format!("{sessions} sessions (control.max_sessions) take {wanted}."),
        ),
        Some(limit) if limit < wanted => Finding::fail(
            Check::Descriptors,
            format!("at most {limit} open descriptors; {sessions} sessions take {wanted}"),
            format!(
                "Set LimitNOFILE={wanted} in the unit (ulimit -Hn in a shell), or lower \
                 control.max_sessions: clients beyond are refused as OVERLOADED."
            ),
        ),
        Some(u64::MAX) => Finding::ok(Check::Descriptors, "no limit on open descriptors"),
        Some(limit) => Finding::ok(
            Check::Descriptors,
            format!("at most {limit} open descriptors; {sessions} sessions take {wanted}"),
        ),
    }
}

fn memory(host: &HostFacts, quota: u64) -> Finding {
    let mib = |bytes: u64| bytes >> 20;
    match host.memory {
        None => Finding::warn(
            Check::Memory,
            "how much memory can be had is not known",
            UNSEEN,
        ),
        Some((bytes, bound)) if bytes < quota => Finding::warn(
            Check::Memory,
            format!("{} MiB can be had ({bound})", mib(bytes)),
            format!(
                "One user may have {} MiB (control.quota.memory): make room, raise the limit, or lower the \
                 quota. A gateway that runs out of memory is killed.",
                mib(quota)
            ),
        ),
        Some((bytes, bound)) => Finding::ok(
            Check::Memory,
            format!("{} MiB can be had ({bound})", mib(bytes)),
        ),
    }
}

fn swap(host: &HostFacts) -> Finding {
    match host.swaps {
        Some(0) => Finding::ok(Check::Swap, "none"),
        None => Finding::warn(
            Check::Swap,
            "whether memory can be swapped out is not known",
            UNSEEN,
        ),
        Some(places) => Finding::warn(
            Check::Swap,
            format!("memory is swapped out; files and devices for it: {places}"),
            "A ring that was swapped out makes its worker wait for the disk: MemorySwapMax=0 in the \
             gateway's unit and in its clients', or swapoff -a.",
        ),
    }
}

fn users(host: &HostFacts) -> Finding {
    match host.all_users {
        Some(true) => Finding::ok(Check::Users, "all users are seen as they are"),
        Some(false) => Finding::warn(
            Check::Users,
            "in a user namespace: users outside it are seen as nobody in particular",
            "No policy lets such a user in. Run the gateway in the machine's own user namespace \
             (PrivateUsers=no, --userns=host).",
        ),
        None => Finding::warn(
            Check::Users,
            "whether all users are seen as they are is not known",
            "Mount /proc.",
        ),
    }
}

fn processes(host: &HostFacts) -> Finding {
    match &host.hidden {
        None => Finding::ok(Check::Processes, "the names of clients' processes are seen"),
        Some(option) => Finding::warn(
            Check::Processes,
            format!("/proc is mounted with {option}"),
            "`top` and /status cannot name the command of another user's client: ProtectProc=default \
             in the unit, or mount /proc with gid= a group of the gateway.",
        ),
    }
}

fn clock(host: &HostFacts) -> Finding {
    match host.clock.as_deref() {
        Some(source) if FAST_CLOCKS.contains(&source) => Finding::ok(Check::Clock, source),
        Some(source) => Finding::warn(
            Check::Clock,
            source,
            "Reading this clock takes a system call, for each batch: see \
             /sys/devices/system/clocksource/clocksource0/available_clocksource for tsc, and the \
             kernel's log for why it is not used.",
        ),
        None => Finding::warn(Check::Clock, "the clock source is not known", "Mount /sys."),
    }
}

fn cores(host: &HostFacts, config: &Config) -> Finding {
    let (cores, workers) = (host.cores, config.workers.workers);
    let own = match config.workers.threads {
        Threads::Split => workers,
        Threads::Merged => 0,
    };
    let noun = if cores == 1 { "core" } else { "cores" };
    let found = format!("{cores} {noun}, workers.count is {workers}");
    if cores >= own.saturating_add(2) {
        return Finding::ok(Check::Cores, found);
    }
    Finding::warn(
        Check::Cores,
        found,
        "Workers share cores with what they wait for, and throughput is less: give the gateway \
         (AllowedCPUs=, CPUAffinity=) two cores more than workers.count, or lower that.",
    )
}

fn isolation(host: &HostFacts) -> Finding {
    // Most machines are like this, and do well.
    let none = "no core is kept free of other programs (isolcpus=); needed for the steadiest \
                latency only";
    match &host.isolated {
        None => Finding::ok(Check::Isolation, none),
        Some(list) => Finding::ok(
            Check::Isolation,
            format!("the kernel keeps cores {list} free; CPUAffinity= gives them to the gateway"),
        ),
    }
}

fn governor(host: &HostFacts) -> Finding {
    match host.governor.as_deref() {
        None => Finding::ok(
            Check::Governor,
            "none: the speed of cores is not this kernel's to choose",
        ),
        Some(governor) if FAST_GOVERNORS.contains(&governor) => {
            Finding::ok(Check::Governor, governor)
        }
        Some(governor) => Finding::warn(
            Check::Governor,
            governor,
            "Cores that are idle between requests become slow: cpupower frequency-set -g performance",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::super::tests::configured;
    use super::*;

    fn good() -> HostFacts {
        HostFacts {
            kernel: Some("6.18.0".to_owned()),
            rings: Ok(()),
            sees_processes: true,
            descriptors: Some(524_288),
            memory: Some((8 << 30, "MemAvailable")),
            swaps: Some(0),
            all_users: Some(true),
            hidden: None,
            clock: Some("tsc".to_owned()),
            cores: 8,
            isolated: None,
            governor: Some("performance".to_owned()),
        }
    }

    /// What is not OK.
    fn complaints(host: &HostFacts) -> Vec<(Check, Level)> {
        let config = configured("workers.count = 2\ncontrol.max_sessions = 100");
        let findings = judge(host, &config).into_iter();
        let bad = findings.filter(|it| it.level != Level::Ok);
        bad.inspect(|it| assert!(!it.advice.is_empty(), "{it}"))
            .map(|it| (it.check, it.level))
            .collect()
    }

    #[test]
    fn a_good_machine_is_ok_and_each_fault_is_found() {
        assert_eq!(complaints(&good()), []);
        let with = |change: &dyn Fn(&mut HostFacts)| {
            let mut host = good();
            change(&mut host);
            complaints(&host)
        };
        let no_rings = with(&|host| host.rings = Err("memfd_create: EPERM".to_owned()));
        assert_eq!(no_rings, [(Check::Kernel, Level::Fail)]);
        let blind = with(&|host| host.sees_processes = false);
        assert_eq!(blind, [(Check::Kernel, Level::Warn)]);
        let few = |limit| with(&|host| host.descriptors = Some(limit));
        assert_eq!(few(1823), [(Check::Descriptors, Level::Fail)]);
        assert_eq!(few(1824), []);
        let little = with(&|host| host.memory = Some((255 << 20, "MemAvailable")));
        assert_eq!(little, [(Check::Memory, Level::Warn)]);
        for swaps in [Some(1), None] {
            let swapping = with(&|host| host.swaps = swaps);
            assert_eq!(swapping, [(Check::Swap, Level::Warn)]);
        }
        // As in a unit with ProcSubset=pid.
        let hidden = with(&|host| (host.memory, host.swaps) = (None, None));
        assert_eq!(
            hidden,
            [(Check::Memory, Level::Warn), (Check::Swap, Level::Warn)]
        );
        let namespace = with(&|host| host.all_users = Some(false));
        assert_eq!(namespace, [(Check::Users, Level::Warn)]);
        let hiding = with(&|host| host.hidden = Some("hidepid=2".to_owned()));
        assert_eq!(hiding, [(Check::Processes, Level::Warn)]);
        let slow = with(&|host| host.clock = Some("hpet".to_owned()));
        assert_eq!(slow, [(Check::Clock, Level::Warn)]);
        assert_eq!(with(&|host| host.cores = 3), [(Check::Cores, Level::Warn)]);
        assert_eq!(with(&|host| host.cores = 4), []);
        let saving = with(&|host| host.governor = Some("powersave".to_owned()));
        assert_eq!(saving, [(Check::Governor, Level::Warn)]);
    }
}
