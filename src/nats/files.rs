//! Files with secrets and certificates.

use std::path::Path;

use crate::settings::Secret;

/// Reads a file, anew for every attempt to connect so that it can be replaced. The error names it.
pub(super) async fn read(path: &Path) -> Result<Secret, String> {
    aside(path, |path| std::fs::read_to_string(path))
        .await
        .map(Secret::new)
}

/// The same of a file that need not be text all through: comments between certificates may be in
/// another encoding.
pub(super) async fn read_bytes(path: &Path) -> Result<Vec<u8>, String> {
    aside(path, |path| std::fs::read(path)).await
}

async fn aside<T: Send + 'static>(
    path: &Path,
    read: fn(&Path) -> std::io::Result<T>,
) -> Result<T, String> {
    let describe =
        |error: &dyn core::fmt::Display| format!("cannot read {}: {error}", path.display());
    let owned = path.to_owned();
    tokio::task::spawn_blocking(move || read(&owned))
        .await
        .map_err(|error| describe(&error))?
        .map_err(|error| describe(&error))
}
