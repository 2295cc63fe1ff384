//! The programs of `tools/`, built once for all tests.

use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

/// What runs the program of `tools/` with this name.
pub(crate) fn command(name: &str) -> Command {
    Command::new(directory().join(name))
}

/// The same at the lowest priority: what it takes from others it takes through the gateway, and not
/// by running in their stead.
pub(crate) fn background(name: &str) -> Command {
    let mut command = Command::new("nice");
    command.args(["-n", "19"]).arg(directory().join(name));
    command
}

/// What runs the program of `examples/` with this name.
pub(crate) fn example(name: &str) -> Command {
    static BUILT: OnceLock<&'static Path> = OnceLock::new();
    let directory = BUILT.get_or_init(|| build(&["--package", "ipc-gateway", "--examples"]));
    Command::new(directory.join("examples").join(name))
}

fn directory() -> &'static Path {
    static BUILT: OnceLock<&'static Path> = OnceLock::new();
    BUILT.get_or_init(|| build(&["--package", "ipc-tools", "--bins", "--features", "steps"]))
}

/// Builds programs where this test's own gateway was built, in the same profile; returns where.
fn build(what: &[&str]) -> &'static Path {
    let directory = Path::new(env!("CARGO_BIN_EXE_ipc-gateway"))
        .parent()
        .unwrap();
    let profile = match directory.file_name().unwrap().to_str().unwrap() {
        "debug" => "dev",
        other => other,
    };
    let mut build = Command::new(env!("CARGO"));
    // What cargo says about this test's package: build scripts that look at it (ring's does)
    // would run again now, and once more at the next test.
    for (name, _) in std::env::vars_os() {
        let name_text = name.to_string_lossy();
        if name_text.starts_with("CARGO_PKG_") || name_text.starts_with("CARGO_MANIFEST_") {
            build.env_remove(name);
        }
    }
    let status = build
        .args(["build", "--quiet", "--offline", "--profile", profile])
        .args(what)
        .arg("--target-dir")
        .arg(directory.parent().unwrap())
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status();
    assert!(status.unwrap().success(), "{what:?} are built");
    directory
}
