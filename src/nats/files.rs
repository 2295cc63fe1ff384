//! Files with secrets and certificates.

use std::path::Path;

use crate::settings::Secret;

/// Reads a file, anew for every attempt to connect so that it can be replaced. The error names it.
pub(super) async fn read(path: &Path) -> Result<Secret, String> {
    let describe =
        |error: &dyn core::fmt::Display| format!("cannot read {}: {error}", path.display());
    let owned = path.to_owned();
    tokio::task::spawn_blocking(move || std::fs::read_to_string(owned))
        .await
        .map_err(|error| describe(&error))?
        .map(Secret::new)
        .map_err(|error| describe(&error))
}
