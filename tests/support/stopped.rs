//! One thread of a gateway that does not go on.

use nix::sys::ptrace;
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;

use super::eventually;
use super::gateway::Gateway;

/// A thread of the gateway that does not go on: traced and stopped.
pub(crate) struct Stopped(Pid);

impl Stopped {
    pub(crate) fn stop(gateway: &Gateway, name: &str) -> Self {
        // A thread names itself when it first runs; others end while they are looked at.
        let is_it = |path: &std::path::PathBuf| {
            std::fs::read_to_string(path.join("comm")).is_ok_and(|comm| comm.trim() == name)
        };
        let mut task = None;
        eventually("the thread runs", || {
            let mut tasks = std::fs::read_dir(format!("/proc/{}/task", gateway.pid())).unwrap();
            task = tasks.find_map(|task| Some(task.ok()?.path()).filter(is_it));
            task.is_some()
        });
        let task = task.unwrap();
        let thread = task.file_name().unwrap().to_str().unwrap().parse().unwrap();
        let thread = Pid::from_raw(thread);
        ptrace::seize(thread, ptrace::Options::empty()).unwrap();
        ptrace::interrupt(thread).unwrap();
        waitpid(thread, Some(WaitPidFlag::__WALL)).unwrap();
        Self(thread)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        ptrace::detach(self.0, None).ok();
    }
}
