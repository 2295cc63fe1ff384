//! SIGINT and SIGTERM for the subcommands that are not the server: held back and waited for.

use std::io;

use nix::sys::signal::{SigSet, Signal};

/// SIGINT and SIGTERM, held back from this thread and from every thread and process that it
/// starts afterwards: Ctrl-C at a terminal reaches only who [waits](Self::wait) for it.
#[derive(Clone, Copy, Debug)]
pub struct Interrupts(SigSet);

impl Interrupts {
    /// Holds the signals back. To be called before any thread is started.
    ///
    /// # Errors
    /// The operating system's.
    pub fn hold() -> io::Result<Self> {
        let mut set = SigSet::empty();
        set.add(Signal::SIGINT);
        set.add(Signal::SIGTERM);
        set.thread_block()?;
        Ok(Self(set))
    }

    /// The same for a program that changes the terminal and has to give it back: SIGHUP and SIGQUIT
    /// too.
    ///
    /// # Errors
    /// The operating system's.
    pub fn hold_at_terminal() -> io::Result<Self> {
        let Self(mut set) = Self::hold()?;
        set.add(Signal::SIGHUP);
        set.add(Signal::SIGQUIT);
        set.thread_block()?;
        Ok(Self(set))
    }

    /// Returns when one of the signals has come to this process.
    ///
    /// # Errors
    /// The operating system's.
    pub fn wait(&self) -> io::Result<()> {
        self.0.wait()?;
        Ok(())
    }
}
