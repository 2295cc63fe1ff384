//! What `ipc-gateway --version` says of this build: revision, compiler, target, features.
//!
//! Without git or outside of its own checkout the revision is `unknown`, unless
//! `IPC_GATEWAY_REVISION` names it. Runs again when a commit or what is compiled has changed, so that
//! `+modified` is true of what is in the binary.

use std::env;
use std::path::Path;
use std::process::Command;

/// What the binary is built from.
const SOURCES: [&str; 5] = ["Cargo.lock", "Cargo.toml", "build.rs", "ringbuf", "src"];
const UNKNOWN: &str = "unknown";

fn main() {
    for path in SOURCES {
        println!("cargo::rerun-if-changed={path}");
    }
    println!("cargo::rerun-if-env-changed=IPC_GATEWAY_REVISION");
    let named = env::var("IPC_GATEWAY_REVISION").ok();
    let revision = named
        .filter(|name| !name.is_empty())
        .or_else(revision)
        .unwrap_or_else(|| UNKNOWN.to_owned());
    let rustc = env::var("RUSTC").ok();
    let rustc = rustc.and_then(|rustc| said_by(&rustc, &["--version"]));
    tell("REVISION", &revision);
    tell("RUSTC", rustc.as_deref().unwrap_or(UNKNOWN));
    tell("TARGET", &env::var("TARGET").unwrap_or_default());
    tell("FEATURES", &features());
}

fn tell(name: &str, value: &str) {
    println!("cargo::rustc-env=IPCGW_BUILD_{name}={value}");
}

/// The commit that is checked out here, and whether the sources differ from it.
fn revision() -> Option<String> {
    let own = env::var("CARGO_MANIFEST_DIR").ok()?;
    // The sources may lie inside of somebody else's checkout.
    let top = git(&["rev-parse", "--show-toplevel"])?;
    if Path::new(&top).canonicalize().ok()? != Path::new(&own).canonicalize().ok()? {
        return None;
    }
    let reference = git(&["symbolic-ref", "--quiet", "HEAD"]);
    // A reference may be packed, and then has no file; the log of HEAD has all that happens to it.
    for name in ["HEAD", "logs/HEAD", reference.as_deref().unwrap_or("HEAD")] {
        let path = git(&["rev-parse", "--git-path", name]);
        // Cargo would run this each time for a file that is not there.
        if let Some(path) = path.filter(|path| Path::new(path).exists()) {
            println!("cargo::rerun-if-changed={path}");
        }
    }
    let commit = git(&["rev-parse", "--short=12", "HEAD"])?;
    let mut status = vec!["--no-optional-locks", "status", "--porcelain", "--"];
    status.extend(SOURCES);
    let is_modified = git(&status).is_none_or(|changes| !changes.is_empty());
    let mark = if is_modified { "+modified" } else { "" };
    Some(commit + mark)
}

fn features() -> String {
    let names = env::vars().filter_map(|(name, _)| {
        let name = name.strip_prefix("CARGO_FEATURE_")?.to_lowercase();
        (name != "default").then_some(name)
    });
    let mut names: Vec<String> = names.collect();
    names.sort_unstable();
    if names.is_empty() {
        return "none".to_owned();
    }
    names.join(", ")
}

fn git(arguments: &[&str]) -> Option<String> {
    said_by("git", arguments)
}

fn said_by(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}
