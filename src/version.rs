//! Which program this is. `build.rs` finds out what cargo does not say.

/// The version in numbers.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The commit that it is built from, with `+modified` when the sources differed from it; `unknown`
/// when it was built without git.
pub const REVISION: &str = env!("IPCGW_BUILD_REVISION");

/// All that `--version` says.
pub const LONG: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    "\nrevision: ",
    env!("IPCGW_BUILD_REVISION"),
    "\nrustc: ",
    env!("IPCGW_BUILD_RUSTC"),
    "\ntarget: ",
    env!("IPCGW_BUILD_TARGET"),
    "\nfeatures: ",
    env!("IPCGW_BUILD_FEATURES"),
);
