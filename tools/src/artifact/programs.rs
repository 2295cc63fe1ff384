//! Where the programs are that a run starts.

use std::path::{Path, PathBuf};

/// What `tools/setup.sh` installs, in the current directory.
const INSTALLED: &str = "target/nats-server/2.14/nats-server";

/// The programs that a run is about; none where nothing was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Programs {
    /// nats-server.
    pub nats_server: Option<PathBuf>,
    /// ipc-gateway.
    pub gateway: Option<PathBuf>,
    /// The revision that the program which makes the run was built of, as the gateway says its own; none
    /// for a program of this package.
    pub tool_revision: Option<String>,
}

impl Programs {
    /// Looks for nats-server at `$NATS_SERVER`, in `$PATH` and where `tools/setup.sh` puts it, and
    /// for ipc-gateway beside this program.
    #[must_use]
    pub fn find() -> Self {
        let own = std::env::current_exe().ok();
        let beside = own.as_deref().and_then(Path::parent);
        Self::find_in(beside)
    }

    /// The same, with ipc-gateway in this directory.
    #[must_use]
    pub fn find_in(bin_dir: Option<&Path>) -> Self {
        Self {
            nats_server: nats_server(),
            gateway: bin_dir
                .map(|dir| dir.join("ipc-gateway"))
                .filter(|path| path.is_file()),
            tool_revision: None,
        }
    }
}

fn nats_server() -> Option<PathBuf> {
    let named = std::env::var_os("NATS_SERVER").filter(|name| !name.is_empty());
    if let Some(named) = named {
        // It was named, so nothing else will do.
        let path = PathBuf::from(named);
        return if path.is_file() {
            Some(path)
        } else {
            in_path(&path)
        };
    }
    in_path(Path::new("nats-server")).or_else(|| {
        let installed = PathBuf::from(INSTALLED);
        installed.is_file().then_some(installed)
    })
}

fn in_path(name: &Path) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|dir| dir.join(name))
        .find(|file| file.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_found_in_the_path_or_not_at_all() {
        assert!(in_path(Path::new("sh")).is_some());
        assert_eq!(in_path(Path::new("no-such-program-here")), None);
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Programs::find_in(Some(dir.path())).gateway, None);
        let gateway = dir.path().join("ipc-gateway");
        std::fs::write(&gateway, "").unwrap();
        assert_eq!(Programs::find_in(Some(dir.path())).gateway, Some(gateway));
    }
}
