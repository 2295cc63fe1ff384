//! The revision that a package of this workspace is built of, for its build script: 12 digits of the
//! commit, and `+modified` when what is compiled differs from it, as `ipc-gateway --version` says of the
//! gateway.
//!
//! Without git or outside of its own checkout it is `unknown`, unless `IPC_GATEWAY_REVISION` names it.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What every tool is built from, besides sources of its own.
const SHARED: [&str; 9] = [
    "Cargo.lock",
    "Cargo.toml",
    "build.rs",
    "ringbuf",
    "src",
    "tools/Cargo.toml",
    "tools/build.rs",
    "tools/revision.rs",
    "tools/src",
];

/// Puts it into `IPCGW_TOOL_REVISION` of the package, whose manifest is one level below the top of the
/// checkout. `own` are sources besides those that all tools share. Runs again when a commit or a source
/// has changed.
pub(crate) fn tell(own: &[&str]) {
    println!("cargo::rerun-if-env-changed=IPC_GATEWAY_REVISION");
    let sources = [&SHARED[..], own].concat();
    let top = env::var_os("CARGO_MANIFEST_DIR").and_then(|own| {
        let own = PathBuf::from(own);
        own.parent().map(Path::to_owned)
    });
    if let Some(top) = &top {
        for path in &sources {
            println!("cargo::rerun-if-changed={}", top.join(path).display());
        }
    }
    let named = env::var("IPC_GATEWAY_REVISION").ok();
    let revision = named
        .filter(|name| !name.is_empty())
        .or_else(|| revision(&top?, &sources))
        .unwrap_or_else(|| "unknown".to_owned());
    println!("cargo::rustc-env=IPCGW_TOOL_REVISION={revision}");
}

/// The commit that is checked out there, and whether the sources differ from it.
fn revision(top: &Path, sources: &[&str]) -> Option<String> {
    // The sources may lie inside of somebody else's checkout.
    let found = git(top, &["rev-parse", "--show-toplevel"])?;
    if Path::new(&found).canonicalize().ok()? != top.canonicalize().ok()? {
        return None;
    }
    let reference = git(top, &["symbolic-ref", "--quiet", "HEAD"]);
    // A reference may be packed, and then has no file; the log of HEAD has all that happens to it.
    for name in ["HEAD", "logs/HEAD", reference.as_deref().unwrap_or("HEAD")] {
        let path = git(top, &["rev-parse", "--git-path", name]);
        // Cargo would run this each time for a file that is not there.
        if let Some(path) = path.map(|path| top.join(path)).filter(|path| path.exists()) {
            println!("cargo::rerun-if-changed={}", path.display());
        }
    }
    let commit = git(top, &["rev-parse", "--short=12", "HEAD"])?;
    let mut status = vec!["--no-optional-locks", "status", "--porcelain", "--"];
    status.extend(sources);
    let is_modified = git(top, &status).is_none_or(|changes| !changes.is_empty());
    let mark = if is_modified { "+modified" } else { "" };
    Some(commit + mark)
}

fn git(top: &Path, arguments: &[&str]) -> Option<String> {
    let mut command = Command::new("git");
    command.current_dir(top).args(arguments);
    let output = command.output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}
