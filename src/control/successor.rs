//! The program that takes over: what this process becomes, called as this one was.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use tokio::time::timeout;

use super::handover::FORM;

/// Longest time until a program has said whether it can take over.
const CHECK_TIMEOUT: Duration = Duration::from_secs(10);
/// The subcommand that runs a gateway.
const SERVE: &str = "serve";

/// A program that takes over.
#[derive(Debug, PartialEq, Eq)]
pub struct Successor {
    program: PathBuf,
    /// The configuration file, if this gateway has read it although nobody named it. The successor
    /// is told its name: in its absence everything would silently become the default.
    config: Option<PathBuf>,
}

impl Successor {
    pub(super) const fn new(program: PathBuf, config: Option<PathBuf>) -> Self {
        Self { program, config }
    }

    pub(super) fn program(&self) -> &Path {
        &self.program
    }

    /// Asks it whether it could serve as this one was told to, and go on with these sessions. It is
    /// ended where that takes too long, or nobody waits for it any more.
    ///
    /// # Errors
    /// Why it cannot.
    pub(super) async fn check(self) -> Result<Self, String> {
        let mut command = Command::new(&self.program);
        command.args(["check-config", "--takes-over", &FORM.to_string()]);
        command
            .args(self.flags(env::args_os()))
            .stdin(Stdio::null());
        let mut command = tokio::process::Command::from(command);
        let program = self.program.display();
        match timeout(CHECK_TIMEOUT, command.kill_on_drop(true).output()).await {
            Ok(Ok(output)) if output.status.success() => Ok(self),
            Ok(Ok(output)) => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
            Ok(Err(error)) => Err(format!("{program}: {error}")),
            Err(_) => Err(format!(
                "{program}: does not say within {CHECK_TIMEOUT:?} whether it can take over"
            )),
        }
    }

    /// What runs it.
    pub(super) fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.arg(SERVE).args(self.flags(env::args_os()));
        command
    }

    /// The flags of `serve` in these words, and the file that nobody named.
    fn flags(&self, words: impl Iterator<Item = OsString>) -> Vec<OsString> {
        let named = self.config.iter();
        let named = named.flat_map(|file| ["--config".into(), file.clone().into_os_string()]);
        let given = words.skip_while(|word| word != SERVE).skip(1);
        named.chain(given).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_successor_is_told_of_a_file_that_nobody_named() {
        let words = ["ipc-gateway", "serve", "--workers", "2"].map(OsString::from);
        let flags = |config: Option<&str>| {
            let successor = Successor::new("next".into(), config.map(PathBuf::from));
            successor.flags(words.clone().into_iter())
        };
        assert_eq!(flags(None), ["--workers", "2"]);
        let expected = ["--config", "/etc/file", "--workers", "2"];
        assert_eq!(flags(Some("/etc/file")), expected);
    }
}
