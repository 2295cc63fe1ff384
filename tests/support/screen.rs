//! A program on a pseudo terminal.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, ExitStatus};
use std::sync::{Arc, Condvar, Mutex};

use nix::pty::{Winsize, openpty};
use nix::sys::termios::{SetArg, Termios, tcgetattr, tcsetattr};
use nix::unistd::ttyname;

use super::{SOON, eventually, signal};

/// The terminal, and the program that runs on it.
pub(crate) struct Screen {
    child: Child,
    /// The terminal's own end, to type on.
    keyboard: File,
    /// The program's end, to see what it is left as.
    terminal: OwnedFd,
    before: Termios,
    shown: Arc<(Mutex<Vec<u8>>, Condvar)>,
}

impl Screen {
    /// Starts a program on a terminal of this size, which is its controlling one.
    pub(crate) fn start(program: &Command, columns: u16, rows: u16) -> Self {
        let size = Winsize {
            ws_row: rows,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        let pty = openpty(&size, None).unwrap();
        let before = tcgetattr(&pty.slave).unwrap();
        let end = || pty.slave.try_clone().unwrap();
        let mut command = Command::new("setsid");
        command.arg("--ctty").arg(program.get_program());
        command.args(program.get_args());
        command.env("TERM", "xterm-256color").env_remove("NO_COLOR");
        let child = command.stdin(end()).stdout(end()).stderr(end()).spawn();
        let keyboard = File::from(pty.master);
        let shown: Arc<(Mutex<Vec<u8>>, Condvar)> = Arc::default();
        let (mut reader, shared) = (keyboard.try_clone().unwrap(), Arc::clone(&shown));
        std::thread::spawn(move || {
            let mut chunk = [0; 4096];
            // Until every end of the program's side is closed.
            while let Ok(bytes @ 1..) = reader.read(&mut chunk) {
                shared.0.lock().unwrap().extend(&chunk[..bytes]);
                shared.1.notify_all();
            }
        });
        Self {
            child: child.expect("setsid of util-linux"),
            keyboard,
            terminal: pty.slave,
            before,
            shown,
        }
    }

    /// How much has been shown so far.
    pub(crate) fn now(&self) -> usize {
        self.shown.0.lock().unwrap().len()
    }

    /// Waits until this has been shown after so much. Cells that stay as they are are not written
    /// again, so it should be one word.
    pub(crate) fn wait_for(&self, what: &str, after: usize) {
        let is_missing = |shown: &mut Vec<u8>| {
            let new = shown.get(after..).unwrap_or_default();
            !new.windows(what.len()).any(|part| part == what.as_bytes())
        };
        let guard = self.shown.0.lock().unwrap();
        let waited = self.shown.1.wait_timeout_while(guard, SOON, is_missing);
        let (shown, timeout) = waited.unwrap();
        let text = String::from_utf8_lossy(&shown[after..]);
        assert!(!timeout.timed_out(), "{what:?} is not in {text:?}");
    }

    /// Presses keys; then this is to be seen.
    pub(crate) fn press(&mut self, keys: &str, what: &str) {
        let before = self.now();
        self.keyboard.write_all(keys.as_bytes()).unwrap();
        self.wait_for(what, before);
    }

    /// Makes the terminal this large.
    pub(crate) fn resize(&self, columns: u16, rows: u16) {
        let name = ttyname(&self.terminal).unwrap();
        let mut command = Command::new("stty");
        command.arg("-F").arg(name);
        let size = [columns, rows].map(|number| number.to_string());
        command.args(["cols", &size[0], "rows", &size[1]]);
        assert!(command.status().unwrap().success());
    }

    pub(crate) fn signal(&self, name: &str) {
        signal(name, self.child.id());
    }

    /// Whether the program has switched line editing and echo off.
    pub(crate) fn is_raw(&self) -> bool {
        tcgetattr(&self.terminal).unwrap().local_flags != self.before.local_flags
    }

    /// Presses keys that end the program; returns how it has, and all that it has shown.
    pub(crate) fn end(mut self, keys: &str) -> (ExitStatus, String) {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
        let mut status = None;
        eventually("it ends", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        assert!(!self.is_raw(), "the terminal is not as it was");
        // What it has written last is there when this is.
        let after = self.now();
        tcsetattr(&self.terminal, SetArg::TCSANOW, &self.before).unwrap();
        let mut end = File::from(self.terminal.try_clone().unwrap());
        end.write_all(b"<end>").unwrap();
        self.wait_for("<end>", after.saturating_sub(5));
        let shown = self.shown.0.lock().unwrap().clone();
        (
            status.unwrap(),
            String::from_utf8_lossy(&shown).into_owned(),
        )
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
