//! Other users: programs that run as them, where the tests run as root.
#![expect(
    clippy::print_stdout,
    reason = "who runs the tests is to see what was left out"
)]

use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use ipc_ringbuf::sys;

use super::gateway::Gateway;

/// A user and a group that own nothing here.
pub(crate) const STRANGER: u32 = 1000;

/// Whether programs can be run as other users. Says so if not.
pub(crate) fn can_be_others() -> bool {
    let is_root = sys::own_uid() == 0;
    if !is_root {
        println!("not root: only what one user can do is tried");
    }
    is_root
}

/// A copy of a program in a directory that every user can enter.
pub(crate) struct Program {
    dir: tempfile::TempDir,
}

impl Program {
    pub(crate) fn gateway() -> Self {
        Self::copy(Path::new(env!("CARGO_BIN_EXE_ipc-gateway")))
    }

    pub(crate) fn these_tests() -> Self {
        Self::copy(&std::env::current_exe().unwrap())
    }

    fn copy(program: &Path) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
        let copy = Self { dir };
        // By another process: a descriptor of ours that is open for writing could be inherited by
        // what other tests start, and then the program cannot be run.
        let copied = Command::new("cp").arg(program).arg(copy.path()).status();
        assert!(copied.unwrap().success());
        copy
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.dir.path().join("program")
    }

    /// Runs it as this user, with this primary group, in these other groups (`"4300,4301"`).
    pub(crate) fn run_as(&self, uid: u32, gid: u32, groups: &str) -> Command {
        let mut command = Command::new("setpriv");
        command.args(as_user(uid, gid, groups)).arg(self.path());
        command.current_dir("/");
        command
    }
}

/// What `setpriv` is told.
pub(crate) fn as_user(uid: u32, gid: u32, groups: &str) -> Vec<String> {
    let others = match groups {
        "" => "--clear-groups".to_owned(),
        groups => format!("--groups={groups}"),
    };
    vec![format!("--reuid={uid}"), format!("--regid={gid}"), others]
}

/// Lets this group reach and open the gateway's socket.
pub(crate) fn open_to(gateway: &Gateway, gid: u32) {
    let dir = gateway.socket.parent().unwrap();
    std::fs::set_permissions(dir, PermissionsExt::from_mode(0o755)).unwrap();
    chown(&gateway.socket, None, Some(gid)).unwrap();
}
