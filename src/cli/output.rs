//! Writing to standard output and standard error, where a reader that has gone is no failure.

use std::fmt::Display;
use std::io::{self, Write};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use super::exit::Exit;
use crate::control::hold_signals;

/// Longest wait for a reader who may have stopped.
const PATIENCE: Duration = Duration::from_secs(1);

/// Writes `text` and a newline to standard output.
///
/// # Errors
/// [`Exit::Failure`] when it cannot be written, but not when the reader has gone: `| head` is no
/// failure.
pub fn print_line(text: impl Display) -> Result<(), Exit> {
    write_line(&mut io::stdout().lock(), text)
}

/// Writes `ipc-gateway: ` and `text` to standard error. There is nobody to tell if that fails.
pub fn complain(text: impl Display) {
    write_line(
        &mut io::stderr().lock(),
        format_args!("ipc-gateway: {text}"),
    )
    .ok();
}

/// The same as [`print_line`] on a thread of its own, for which nobody waits: the reader may have
/// stopped for good, and what is full would hold up whoever writes.
pub(super) fn print_line_beside(text: String) {
    beside(move || {
        let _unread = print_line(text);
    });
}

/// The same as [`complain`], but not for longer than a second: the reader may have stopped for good.
pub(super) fn complain_for_a_moment(text: impl Display) {
    let (sender, written) = channel();
    let text = text.to_string();
    beside(move || {
        complain(text);
        sender.send(()).ok();
    });
    written.recv_timeout(PATIENCE).ok();
}

/// Runs this on a thread that may never end. Without a thread it is not run.
fn beside(run: impl FnOnce() + Send + 'static) {
    let run = move || {
        // They are not for a thread that does nothing about them.
        hold_signals().ok();
        run();
    };
    let thread = thread::Builder::new().name("ipcgw-say".to_owned());
    thread.spawn(run).ok();
}

fn write_line(out: &mut impl Write, text: impl Display) -> Result<(), Exit> {
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Exit::Failure),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Broken(io::ErrorKind);

    impl Write for Broken {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_has_gone_is_no_failure_and_a_full_disk_is() {
        assert_eq!(
            write_line(&mut Broken(io::ErrorKind::BrokenPipe), "x"),
            Ok(())
        );
        let full = write_line(&mut Broken(io::ErrorKind::StorageFull), "x");
        assert_eq!(full, Err(Exit::Failure));
    }
}
