//! What the program says of itself: its version, completions for shells, man pages.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Output};

use crate::support::eventually;
use crate::support::gateway::{program, start};

fn run(arguments: &[&str]) -> Output {
    Command::new(program()).args(arguments).output().unwrap()
}

fn said(arguments: &[&str]) -> String {
    let output = run(arguments);
    assert_eq!(output.status.code(), Some(0), "{arguments:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The subcommands that the help names, without `help` itself.
fn subcommands() -> BTreeSet<String> {
    let help = said(&["--help"]);
    let (_, list) = help.split_once("Commands:\n").unwrap();
    let lines = list.lines().take_while(|line| line.starts_with("  "));
    let first = lines.filter_map(|line| line.strip_prefix("  ")?.split_whitespace().next());
    let names: BTreeSet<String> = first
        .filter(|name| *name != "help")
        .map(str::to_owned)
        .collect();
    assert!(names.contains("serve") && names.len() > 6, "{help}");
    names
}

#[test]
fn the_version_is_short_or_says_what_was_built_and_the_log_begins_with_it() {
    let number = env!("CARGO_PKG_VERSION");
    assert_eq!(said(&["-V"]), format!("ipc-gateway {number}\n"));
    let long = said(&["--version"]);
    let lines: Vec<&str> = long.lines().collect();
    assert_eq!(lines[0], format!("ipc-gateway {number}"));
    let value = |line: usize, name: &str| lines[line].strip_prefix(name).unwrap();
    let revision = value(1, "revision: ");
    assert!(value(2, "rustc: ").starts_with("rustc 1."), "{long}");
    assert!(value(3, "target: ").contains("linux"), "{long}");
    assert!(!value(4, "features: ").is_empty());
    if Path::new(env!("CARGO_MANIFEST_DIR")).join(".git").exists() {
        let commit = revision.strip_suffix("+modified").unwrap_or(revision);
        assert_eq!(commit.len(), 12, "{long}");
        let mut git = Command::new("git");
        let git = git.args(["cat-file", "-e", commit]);
        let status = git.current_dir(env!("CARGO_MANIFEST_DIR")).status();
        assert!(status.unwrap().success(), "no commit {commit}");
    }
    let gateway = start(&["--upstream", "loopback"]);
    // Lines are written by a thread of their own.
    eventually("the log begins with what starts", || {
        let log = gateway.log();
        let first = log.lines().next().unwrap_or_default();
        first.contains("starting") && first.contains(revision)
    });
}

/// What bash offers for the last of these words.
fn bash_completes(words: &[&str]) -> BTreeSet<String> {
    let script = r#"
        source <("$1" completions bash)
        shift
        function=$(complete -p ipc-gateway | sed 's/.*-F \([^ ]*\).*/\1/')
        COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMPREPLY=()
        "$function" ipc-gateway "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
        printf '%s\n' "${COMPREPLY[@]}"
    "#;
    let mut bash = Command::new("bash");
    bash.args(["--norc", "-euo", "pipefail", "-c", script, "bash"]);
    let output = bash.arg(program()).args(words).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let offers = String::from_utf8(output.stdout).unwrap();
    offers.lines().map(str::to_owned).collect()
}

#[test]
fn bash_completes_subcommands_flags_and_values_and_offers_nothing_hidden() {
    let first = bash_completes(&["ipc-gateway", ""]);
    for name in subcommands() {
        assert!(first.contains(&name), "{name} in {first:?}");
    }
    assert!(!first.contains("bench-client"), "{first:?}");
    let checks = bash_completes(&["ipc-gateway", "check"]);
    assert_eq!(checks, BTreeSet::from(["check-config".to_owned()]));
    let flags = bash_completes(&["ipc-gateway", "serve", "--up"]);
    assert_eq!(flags, BTreeSet::from(["--upstream".to_owned()]));
    let values = bash_completes(&["ipc-gateway", "serve", "--upstream", ""]);
    let expected = ["loopback", "nats"].map(str::to_owned);
    assert_eq!(values, BTreeSet::from(expected));
}

#[test]
fn every_shell_has_completions() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = said(&["completions", shell]);
        for name in subcommands() {
            assert!(script.contains(&name), "{name} for {shell}");
        }
        assert!(!script.contains("bench-client"), "{shell}");
    }
}

#[test]
fn every_subcommand_has_a_man_page_and_nothing_else_has() {
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("new/man1");
    said(&["man", "--out", out.to_str().unwrap()]);
    let files = out.read_dir().unwrap();
    let files = files.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let pages: BTreeSet<String> = files.collect();
    let names = subcommands().into_iter();
    let mut expected: BTreeSet<String> =
        names.map(|name| format!("ipc-gateway-{name}.1")).collect();
    expected.insert("ipc-gateway.1".to_owned());
    assert_eq!(pages, expected);
    for page in &pages {
        let text = std::fs::read_to_string(out.join(page)).unwrap();
        assert!(text.contains(".TH ipc-gateway"), "{page}: {text}");
        assert!(!text.contains("bench-client") && !text.contains("bench\\-client"));
    }
    let serve = std::fs::read_to_string(out.join("ipc-gateway-serve.1")).unwrap();
    assert!(
        serve.contains("upstream") && serve.contains("SIGTERM"),
        "{serve}"
    );
    let taken = out.join("ipc-gateway.1");
    let output = run(&["man", "--out", taken.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(73));
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(
        errors.starts_with("ipc-gateway: cannot write man pages"),
        "{errors}"
    );
}
