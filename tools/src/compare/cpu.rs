//! Processor time of processes, in nanoseconds: the sum over their threads of the first number of
//! `/proc/PID/task/TID/schedstat`.

use std::fs;
use std::path::Path;

use ipc_tools::stage::{Failure, While as _};

/// Nanoseconds that a thread has run, from the text of its `schedstat`.
fn run_time(text: &str) -> Option<u64> {
    text.split_whitespace().next()?.parse().ok()
}

/// Nanoseconds that all threads of a process have run. Threads that have ended do not count.
fn of(pid: u32) -> Result<u64, Failure> {
    let path = format!("/proc/{pid}/task");
    let threads = fs::read_dir(&path).or_say(format_args!("cannot read {path}"))?;
    let mut sum = 0;
    for thread in threads.flatten() {
        // A thread may end meanwhile.
        if let Ok(text) = fs::read_to_string(thread.path().join("schedstat")) {
            sum += run_time(&text)
                .ok_or_else(|| Failure::Failed(format!("{path}: schedstat says {text:?}")))?;
        }
    }
    Ok(sum)
}

/// The same for all of these processes together.
///
/// # Errors
/// One of them has ended, or this kernel does not count.
pub(crate) fn of_all(pids: &[u32]) -> Result<u64, Failure> {
    pids.iter().map(|&pid| of(pid)).sum()
}

/// Looks whether this kernel counts.
///
/// # Errors
/// It does not.
pub(crate) fn check() -> Result<(), Failure> {
    if Path::new("/proc/self/schedstat").exists() {
        Ok(())
    } else {
        Err(Failure::new(
            "this kernel has no /proc/PID/schedstat (CONFIG_SCHED_INFO): processor time is unknown",
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_number_is_the_time() {
        assert_eq!(run_time("47730862 18972358 142\n"), Some(47_730_862));
        assert_eq!(run_time(""), None);
        assert_eq!(run_time("x 1 2"), None);
    }

    #[test]
    fn a_process_that_works_takes_time_and_one_that_is_gone_is_an_error() {
        let own = std::process::id();
        let before = of_all(&[own]).unwrap();
        let mut sum = 0_u64;
        while of_all(&[own]).unwrap() == before {
            sum = (0..10_000).fold(sum, u64::wrapping_add);
        }
        of_all(&[own, u32::MAX]).unwrap_err();
    }
}
