//! Runs a command and leaves an artifact of it: its output, its exit code, its verdict.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Instant;

use ipc_tools::artifact::{Artifact, Check, Verdict};
use serde_json::json;

/// Exit code of a command that could not tell.
const UNDECIDED: i32 = 3;

/// Runs it, shows what it prints, and returns whether it ended with 0, or with 3, which is inconclusive.
///
/// # Errors
/// The artifact cannot be written, or the command cannot be started.
pub(crate) fn record(root: &Path, kind: &str, command: &[String]) -> io::Result<Verdict> {
    let Some((program, arguments)) = command.split_first() else {
        return Err(io::Error::other("no command"));
    };
    let mut artifact = Artifact::create(root, kind, json!({ "recorded": command }))?;
    let (out, err) = (artifact.file("stdout.txt")?, artifact.file("stderr.txt")?);
    let begun = Instant::now();
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| io::Error::new(error.kind(), format!("{program}: {error}")))?;
    let pipes = (child.stdout.take(), child.stderr.take());
    let (written, said) = thread::scope(|scope| {
        let stdout = scope.spawn(|| copy(pipes.0, out, io::stdout()));
        let stderr = copy(pipes.1, err, io::stderr());
        (stdout.join(), stderr)
    });
    let status = child.wait()?;
    written.map_err(|_| io::Error::other("the copy of its output ended early"))??;
    said?;
    let seconds = begun.elapsed().as_secs();
    let verdict = match status.code() {
        Some(UNDECIDED) => Verdict::Inconclusive,
        _ => Verdict::from(status.success()),
    };
    let check = Check::new(kind, kind, command.join(" "), verdict);
    artifact.check(&check.detail(format!("{status}, {seconds} s")))?;
    artifact.finish("What it printed is in `stdout.txt` and `stderr.txt`.\n")
}

/// Copies everything to the file and to whoever looks on.
fn copy(from: Option<impl Read>, mut file: File, mut onlooker: impl Write) -> io::Result<()> {
    let Some(mut from) = from else {
        return Ok(());
    };
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let read = match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let part = buffer.get(..read).unwrap_or_default();
        file.write_all(part)?;
        // Nobody need look on.
        onlooker.write_all(part).ok();
        onlooker.flush().ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn run(script: &str) -> (Verdict, String, String) {
        let dir = tempfile::tempdir().unwrap();
        let command = ["sh", "-c", script].map(str::to_owned);
        let verdict = record(dir.path(), "proof", &command).unwrap();
        let run = ipc_tools::artifact::runs(dir.path(), "proof").unwrap();
        let read = |name: &str| fs::read_to_string(run[0].join(name)).unwrap();
        (verdict, read("stdout.txt"), read("checks.jsonl"))
    }

    #[test]
    fn a_command_that_ends_well_passes_and_its_output_is_kept() {
        let (verdict, out, checks) = run("echo one; echo two >&2");
        assert_eq!((verdict, out.as_str()), (Verdict::Pass, "one\n"));
        assert!(checks.contains("exit status: 0"), "{checks}");
    }

    #[test]
    fn one_that_does_not_fails_or_could_not_tell() {
        assert_eq!(run("exit 1").0, Verdict::Fail);
        assert_eq!(run("exit 3").0, Verdict::Inconclusive);
        assert_eq!(run("kill -KILL $$").0, Verdict::Fail);
    }

    #[test]
    fn one_that_cannot_be_started_leaves_no_finished_run() {
        let dir = tempfile::tempdir().unwrap();
        let error = record(dir.path(), "proof", &["/nowhere/program".to_owned()]).unwrap_err();
        assert!(
            error.to_string().starts_with("/nowhere/program: "),
            "{error}"
        );
        let run = ipc_tools::artifact::runs(dir.path(), "proof").unwrap();
        assert_eq!(Artifact::read(&run[0]).unwrap().conclusion, None);
    }
}
