//! Where, when and with what a run was made.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::programs::Programs;

/// The version of the files' form.
pub const SCHEMA: u32 = 1;
/// What stands where the machine does not say.
const UNKNOWN: &str = "unknown";

/// `environment.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Environment {
    /// [`SCHEMA`] of whoever wrote it.
    pub schema: u32,
    /// What kind of run: `e2e`, `contract`, `soak`.
    pub kind: String,
    /// When it began, as in RFC 3339, in UTC.
    pub started: String,
    /// The command line.
    pub command: Vec<String>,
    /// Variables that tell the programs' allocator something: those whose names begin with `MIMALLOC_`.
    #[serde(default)]
    pub variables: BTreeMap<String, String>,
    /// The source that the current directory holds.
    pub git: Git,
    /// The kernel's release.
    pub kernel: String,
    /// The processor's model.
    pub cpu: String,
    /// Cores that this process may use.
    pub cores: usize,
    /// Memory of the machine, in bytes; 0 when the machine does not say.
    pub memory_bytes: u64,
    /// What `rustc --version` says.
    pub rustc: String,
    /// What `ipc-gateway --version` says.
    pub gateway_version: String,
    /// The revision that the tool itself was built of, in the form of `revision` in
    /// [`gateway_version`](Self::gateway_version). Empty in evidence that is older than this member.
    #[serde(default)]
    pub tool_revision: String,
    /// How the programs were built: `release`, or `debug` when the tool was or the gateway lies in
    /// cargo's directory of that name. None in evidence that is older than this member.
    #[serde(default)]
    pub profile: Option<String>,
    /// What `nats-server -v` says.
    pub nats_server: String,
    /// What the run was told to do.
    pub configuration: Value,
}

/// A revision of the source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Git {
    /// The commit, 40 hexadecimal digits; `unknown` outside of a repository.
    pub revision: String,
    /// Whether something differs from it. True when the revision is not known.
    pub dirty: bool,
}

impl Environment {
    /// Looks at the machine, the source and the programs.
    pub(super) fn look(
        kind: &str,
        started: String,
        programs: &Programs,
        configuration: Value,
    ) -> Self {
        let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let version = |program: &Option<_>, flag| {
            let said = program
                .as_deref()
                .and_then(|program: &Path| said_by(program, &[flag]));
            said.unwrap_or_else(|| UNKNOWN.to_owned())
        };
        Self {
            schema: SCHEMA,
            kind: kind.to_owned(),
            started,
            command: std::env::args_os()
                .map(|word| word.to_string_lossy().into_owned())
                .collect(),
            variables: for_allocators(std::env::vars_os()),
            git: Git::look(),
            kernel: kernel.trim().to_owned(),
            cpu: model(&cpus),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            memory_bytes: memory_bytes(&memory),
            rustc: said_by("rustc", &["--version"]).unwrap_or_else(|| UNKNOWN.to_owned()),
            gateway_version: version(&programs.gateway, "--version"),
            tool_revision: programs
                .tool_revision
                .clone()
                .unwrap_or_else(|| env!("IPCGW_TOOL_REVISION").to_owned()),
            profile: Some(profile(programs.gateway.as_deref()).to_owned()),
            nats_server: version(&programs.nats_server, "-v"),
            configuration,
        }
    }
}

impl Environment {
    /// The command line, with [`variables`](Self::variables) before it as a shell takes them.
    #[must_use]
    pub fn command_line(&self) -> String {
        let variables = self.variables.iter();
        let mut words: Vec<_> = variables
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        words.extend_from_slice(&self.command);
        words.join(" ")
    }

    /// The revision that the gateway was built of, of 12 digits; none when it does not say.
    #[must_use]
    pub fn gateway_revision(&self) -> Option<Git> {
        let mut lines = self.gateway_version.lines();
        let said = lines.find_map(|line| line.strip_prefix("revision: "))?;
        Git::said(said)
    }

    /// The revision that the tool itself was built of, of 12 digits; none when it does not say.
    #[must_use]
    pub fn revision_of_tool(&self) -> Option<Git> {
        Git::said(&self.tool_revision)
    }
}

fn for_allocators(all: impl IntoIterator<Item = (OsString, OsString)>) -> BTreeMap<String, String> {
    all.into_iter()
        .map(|(name, value)| {
            let text = |text: OsString| text.to_string_lossy().into_owned();
            (text(name), text(value))
        })
        .filter(|(name, _)| name.starts_with("MIMALLOC_"))
        .collect()
}

/// How this tool and the gateway at this path were built.
fn profile(gateway: Option<&Path>) -> &'static str {
    let directory = gateway.and_then(Path::parent).and_then(Path::file_name);
    if cfg!(debug_assertions) || directory == Some(OsStr::new("debug")) {
        "debug"
    } else {
        "release"
    }
}

impl Git {
    /// What a program says of its own build: digits, and `+modified` where it is so.
    fn said(text: &str) -> Option<Self> {
        let (revision, mark) = text.split_once('+').unwrap_or((text, ""));
        let is_one = revision.len() >= 7 && revision.bytes().all(|b| b.is_ascii_hexdigit());
        is_one.then(|| Self {
            revision: revision.to_owned(),
            dirty: !mark.is_empty(),
        })
    }

    fn look() -> Self {
        let revision = said_by("git", &["rev-parse", "HEAD"]);
        let changes = said_by("git", &["status", "--porcelain"]);
        Self {
            dirty: revision.is_none() || changes.is_none_or(|changes| !changes.is_empty()),
            revision: revision.unwrap_or_else(|| UNKNOWN.to_owned()),
        }
    }
}

/// What a program prints, if it ends well.
fn said_by(program: impl AsRef<OsStr>, arguments: &[&str]) -> Option<String> {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null());
    let output = command.output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    output.status.success().then_some(text)
}

/// The first model name of `/proc/cpuinfo`.
fn model(cpus: &str) -> String {
    let line = cpus.lines().find(|line| line.starts_with("model name"));
    line.and_then(|line| line.split_once(':'))
        .map_or(UNKNOWN, |(_, name)| name.trim())
        .to_owned()
}

/// The whole memory, of `/proc/meminfo`, which counts in KiB.
fn memory_bytes(text: &str) -> u64 {
    let line = text.lines().find(|line| line.starts_with("MemTotal:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1));
    kib.and_then(|kib| kib.parse::<u64>().ok())
        .map_or(0, |kib| kib.saturating_mul(1024))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_is_read_from_its_files() {
        let cpus = "processor\t: 0\nmodel name\t: AMD EPYC\nmodel name\t: other\n";
        assert_eq!(model(cpus), "AMD EPYC");
        assert_eq!(model(""), UNKNOWN);
        assert_eq!(
            memory_bytes("MemTotal:       16 kB\nMemFree: 1 kB\n"),
            16_384
        );
        assert_eq!(memory_bytes("MemTotal:\n"), 0);
    }

    #[test]
    fn the_gateway_says_of_which_revision_it_is_or_that_it_was_changed() {
        let mut environment =
            Environment::look("e2e", String::new(), &Programs::default(), Value::Null);
        assert_eq!(environment.gateway_revision(), None);
        let mut revision = |said: &str| {
            environment.gateway_version = format!("ipc-gateway 0.1.0\nrevision: {said}\nrustc: x");
            let git = environment.gateway_revision()?;
            Some((git.revision, git.dirty))
        };
        let clean = revision("f66352eada82");
        assert_eq!(clean, Some(("f66352eada82".to_owned(), false)));
        let changed = revision("f66352eada82+modified");
        assert_eq!(changed, Some(("f66352eada82".to_owned(), true)));
        assert_eq!(revision("unknown"), None);
    }

    #[test]
    fn the_tool_says_of_which_revision_it_is() {
        let mut programs = Programs::default();
        let own = Environment::look("e2e", String::new(), &programs, Value::Null);
        assert_eq!(own.tool_revision, env!("IPCGW_TOOL_REVISION"));
        programs.tool_revision = Some("f66352eada82+modified".to_owned());
        let other = Environment::look("soak", String::new(), &programs, Value::Null);
        let git = other.revision_of_tool().unwrap();
        assert_eq!((git.revision.as_str(), git.dirty), ("f66352eada82", true));
        // Evidence of before has no such member.
        let mut old = serde_json::to_value(&other).unwrap();
        old.as_object_mut().unwrap().remove("tool_revision");
        let old: Environment = serde_json::from_value(old).unwrap();
        assert_eq!(old.revision_of_tool(), None);
    }

    #[test]
    fn what_the_allocator_is_told_stands_before_the_command() {
        let mut environment =
            Environment::look("soak", String::new(), &Programs::default(), Value::Null);
        environment.command = vec!["ipc-soak".to_owned(), "--rate".to_owned(), "50%".to_owned()];
        let told = [("PASSWORD", "secret"), ("MIMALLOC_PURGE_DELAY", "-1")];
        let told = told.map(|(name, value)| (name.into(), value.into()));
        environment.variables = for_allocators(told);
        let line = environment.command_line();
        assert_eq!(line, "MIMALLOC_PURGE_DELAY=-1 ipc-soak --rate 50%");
    }

    #[test]
    fn a_gateway_from_the_directory_of_debug_builds_is_one() {
        let path = Path::new("/work/target/debug/ipc-gateway");
        assert_eq!(profile(Some(path)), "debug");
        let own = if cfg!(debug_assertions) {
            "debug"
        } else {
            "release"
        };
        let path = Path::new("/work/target/release/ipc-gateway");
        assert_eq!(profile(Some(path)), own);
        assert_eq!(profile(None), own);
    }

    #[test]
    fn a_program_that_fails_says_nothing() {
        assert_eq!(said_by("/nowhere/program", &[]), None);
        assert_eq!(said_by("false", &[]), None);
        assert_eq!(said_by("echo", &["a"]).as_deref(), Some("a"));
    }
}
