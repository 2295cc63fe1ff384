//! Where settings come from: flags, environment, file, and what the machine is like.
//!
//! Nothing here knows what a value means. A test can supply every source by hand.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::thread;

use super::error::{ConfigError, Place, nearest};
use super::raw::RawConfig;

/// The file that is read when none is named; it may be missing.
pub const DEFAULT_FILE: &str = "/etc/ipc-gateway/config.toml";

/// A file that is always there and says nothing.
const EMPTY_FILE: &str = "/dev/null";

/// Every environment variable that is read, besides `XDG_RUNTIME_DIR`.
const VARIABLES: [&str; 16] = [
    "IPC_GATEWAY_CONFIG",
    "IPC_GATEWAY_SOCKET",
    "IPC_GATEWAY_SOCKET_MODE",
    "IPC_GATEWAY_NATS",
    "IPC_GATEWAY_UPSTREAM",
    "IPC_GATEWAY_WORKERS",
    "IPC_GATEWAY_ADMIN",
    "IPC_GATEWAY_ADMIN_MODE",
    "IPC_GATEWAY_METRICS",
    "IPC_GATEWAY_LOG",
    "IPC_GATEWAY_LOG_FORMAT",
    "IPC_GATEWAY_NATS_USER",
    "IPC_GATEWAY_NATS_PASSWORD",
    "IPC_GATEWAY_NATS_TOKEN",
    "IPC_GATEWAY_NATS_CREDS",
    "IPC_GATEWAY_NATS_NKEY",
];

/// What the flags of the command line say, unchecked. A flag that is absent is `None` or empty.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Overrides {
    /// `--config`
    pub config: Option<String>,
    /// `--socket`
    pub socket: Option<String>,
    /// `--nats`, each of them; may have credentials in them, so there is no `Debug`.
    pub nats: Vec<String>,
    /// `--upstream`
    pub upstream: Option<String>,
    /// `--workers`
    pub workers: Option<String>,
    /// `--admin`
    pub admin: Option<String>,
    /// `--metrics`
    pub metrics: Option<String>,
}

impl Overrides {
    /// The configuration file that is named, by `--config` or by the environment. An empty variable
    /// names none.
    #[must_use]
    pub fn file(&self, environment: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
        let variable = || environment("IPC_GATEWAY_CONFIG").filter(|path| !path.is_empty());
        let named = self.config.as_ref().map(OsString::from).or_else(variable);
        named.map(PathBuf::from)
    }

    /// Whether what the configuration file says is still there when it has been read. What a pipe
    /// said is not, and it would then say nothing, or never end.
    ///
    /// # Errors
    /// That it is not.
    pub fn can_be_read_again(
        &self,
        environment: impl Fn(&str) -> Option<OsString>,
    ) -> Result<(), ConfigError> {
        let path = self.file(environment);
        let path = path.unwrap_or_else(|| PathBuf::from(DEFAULT_FILE));
        match fs::metadata(&path) {
            // The empty file says the same every time.
            Ok(found) if !found.is_file() && path != Path::new(EMPTY_FILE) => {
                let why = "it is not a regular file, and only such a file can be read again";
                let source = io::Error::other(why);
                Err(ConfigError::Unreadable { path, source })
            }
            // What else is wrong is said when it is read.
            _ => Ok(()),
        }
    }

    /// Whether this flag was given.
    pub(super) fn has(&self, flag: &str) -> bool {
        match flag {
            "--config" => self.config.is_some(),
            "--socket" => self.socket.is_some(),
            "--nats" => !self.nats.is_empty(),
            "--upstream" => self.upstream.is_some(),
            "--workers" => self.workers.is_some(),
            "--admin" => self.admin.is_some(),
            "--metrics" => self.metrics.is_some(),
            _ => false,
        }
    }
}

impl core::fmt::Debug for Overrides {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Overrides")
            .field("config", &self.config)
            .field("socket", &self.socket)
            .field("upstream", &self.upstream)
            .field("workers", &self.workers)
            .field("admin", &self.admin)
            .field("metrics", &self.metrics)
            .finish_non_exhaustive()
    }
}

/// A value and where it stands.
#[derive(Clone)]
pub(super) struct Given<T> {
    pub(super) value: T,
    pub(super) place: Place,
}

/// The variables of [`VARIABLES`] that are set and not empty.
#[derive(Default)]
pub(super) struct Environment(BTreeMap<&'static str, String>);

impl Environment {
    /// Takes what `lookup` knows of the variables.
    pub(super) fn read(lookup: impl Fn(&str) -> Option<OsString>) -> Result<Self, ConfigError> {
        let mut values = BTreeMap::new();
        for name in VARIABLES {
            let Some(value) = lookup(name) else { continue };
            let text = value.into_string().map_err(|_| ConfigError::Syntax {
                place: Place::Variable(name),
                message: "the value is not UTF-8".to_owned(),
            })?;
            if !text.is_empty() {
                values.insert(name, text);
            }
        }
        Ok(Self(values))
    }

    /// Where the variable stands that has this name after `IPC_GATEWAY_`, if it is set.
    pub(super) fn find(&self, short: &str) -> Option<Place> {
        let is_it = |name: &&&str| name.strip_prefix("IPC_GATEWAY_") == Some(short);
        let name = self.0.keys().find(is_it)?;
        Some(Place::Variable(name))
    }

    pub(super) fn get(&self, name: &'static str) -> Option<Given<String>> {
        self.0.get(name).map(|value| Given {
            value: value.clone(),
            place: Place::Variable(name),
        })
    }
}

/// The flag if it is there, else the variable.
pub(super) fn flag_or_variable(
    flag: (&'static str, Option<&String>),
    environment: &Environment,
    variable: &'static str,
) -> Option<Given<String>> {
    let (name, value) = flag;
    match value {
        Some(value) => Some(Given {
            value: value.clone(),
            place: Place::Flag(name),
        }),
        None => environment.get(variable),
    }
}

/// The configuration file; the empty one if there is none.
#[derive(Default)]
pub(super) struct ConfigFile {
    pub(super) path: PathBuf,
    pub(super) text: String,
    pub(super) raw: RawConfig,
}

impl ConfigFile {
    /// Path and text of the file that was named, or of the default one; both are empty if that does
    /// not exist.
    pub(super) fn text(named: Option<&Path>) -> Result<(PathBuf, String), ConfigError> {
        let path = named.unwrap_or_else(|| Path::new(DEFAULT_FILE));
        match fs::read_to_string(path) {
            Ok(text) => Ok((path.to_owned(), text)),
            Err(error) if named.is_none() && error.kind() == io::ErrorKind::NotFound => {
                Ok(Default::default())
            }
            Err(source) => Err(ConfigError::Unreadable {
                path: path.to_owned(),
                source,
            }),
        }
    }

    /// Reads `text` as the file at `path`.
    pub(super) fn parse(path: PathBuf, text: String) -> Result<Self, ConfigError> {
        match toml::from_str(&text) {
            Ok(raw) => Ok(Self { path, text, raw }),
            Err(error) => Err(Self::syntax(path, &text, &error)),
        }
    }

    /// The error without the source line that `toml` would show: it may hold a secret.
    fn syntax(path: PathBuf, text: &str, error: &toml::de::Error) -> ConfigError {
        let offset = error.span().map_or(0, |span| span.start);
        let place = Place::in_file(path, text, offset);
        let message = error.message().lines().collect::<Vec<_>>().join(", ");
        let Some(rest) = message.strip_prefix("unknown field `") else {
            let message = with_word(without_value(message));
            return ConfigError::Syntax { place, message };
        };
        // serde's wording: unknown field `x`, expected one of `a`, `b`
        let key = rest.split('`').next().unwrap_or_default().to_owned();
        let known: Vec<&str> = rest.split('`').skip(2).step_by(2).collect();
        ConfigError::UnknownKey {
            nearest: nearest(&key, &known),
            place,
            key,
        }
    }
}

/// A message of serde about a word that is not in a list, with the one that was probably meant.
fn with_word(message: String) -> String {
    let Some(rest) = message.strip_prefix("unknown variant `") else {
        return message;
    };
    // serde's wording: unknown variant `x`, expected `a` or `b`
    let word = rest.split('`').next().unwrap_or_default();
    let known: Vec<&str> = rest.split('`').skip(2).step_by(2).collect();
    match nearest(word, &known) {
        Some(meant) => format!("{message}, did you mean `{meant}`?"),
        None => message,
    }
}

/// A message of serde without the value that has the wrong type: it may be a URL with a password.
fn without_value(message: String) -> String {
    let wrong = ["invalid type: ", "invalid value: ", "invalid length "];
    if !wrong.iter().any(|start| message.starts_with(start)) {
        return message;
    }
    let expected = message.rsplit_once(", expected ").map(|(_, what)| what);
    match expected {
        Some("i64") => "wrong type, expected a whole number".to_owned(),
        Some("a boolean") => "wrong type, expected true or false".to_owned(),
        Some("a sequence") => "wrong type, expected a list".to_owned(),
        Some(what) if what.starts_with("struct ") => "wrong type, expected a section".to_owned(),
        Some(what) => format!("wrong type, expected {what}"),
        None => "wrong type".to_owned(),
    }
}

/// What the machine and the process are like, as far as defaults and checks depend on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// Effective user number of this process.
    pub uid: u32,
    /// Cores that this process may use: at least 1.
    pub cores: usize,
    /// `XDG_RUNTIME_DIR`, if it is an absolute path.
    pub runtime_dir: Option<PathBuf>,
    /// User number that stands for all users without one in this namespace.
    pub overflow_uid: u32,
    /// The same for groups.
    pub overflow_gid: u32,
}

impl Host {
    /// Asks the system. What it does not say takes the most careful value.
    #[must_use]
    pub fn read() -> Self {
        let runtime_dir = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
        Self {
            uid: effective_uid().unwrap_or(u32::MAX),
            cores: thread::available_parallelism().map_or(1, core::num::NonZero::get),
            runtime_dir: runtime_dir.filter(|path| path.is_absolute()),
            overflow_uid: overflow_id("/proc/sys/kernel/overflowuid"),
            overflow_gid: overflow_id("/proc/sys/kernel/overflowgid"),
        }
    }
}

fn effective_uid() -> Option<u32> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    // Uid: real, effective, saved, file system
    let ids = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    ids.split_whitespace().nth(1)?.parse().ok()
}

fn overflow_id(path: &str) -> u32 {
    let text = fs::read_to_string(path).ok();
    text.and_then(|text| text.trim().parse().ok())
        .unwrap_or(65_534)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_is_read_from_proc() {
        let host = Host::read();
        assert_eq!(host.uid, effective_uid().unwrap());
        assert!(host.cores >= 1);
        assert_eq!(overflow_id("/does/not/exist"), 65_534);
    }

    #[test]
    fn a_file_is_named_by_the_flag_else_by_a_variable_that_is_not_empty() {
        let mut flags = Overrides::default();
        assert_eq!(flags.file(|_| None), None);
        assert_eq!(flags.file(|_| Some(OsString::new())), None);
        assert_eq!(flags.file(|_| Some("/b".into())), Some("/b".into()));
        flags.config = Some("/a".to_owned());
        assert_eq!(flags.file(|_| Some("/b".into())), Some("/a".into()));
    }

    #[test]
    fn a_file_that_is_not_regular_is_not_read_again() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let (reader, _writer) = io::pipe().unwrap();
        let pipe = format!("/dev/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&reader));
        let can = |path: &str| {
            let flags = Overrides {
                config: Some(path.to_owned()),
                ..Overrides::default()
            };
            flags.can_be_read_again(|_| None)
        };
        for path in [file.path().to_str().unwrap(), "/does/not/exist", EMPTY_FILE] {
            can(path).unwrap();
        }
        let error = can(&pipe).unwrap_err().to_string();
        assert!(error.contains("not a regular file"), "{error}");
        can("/dev/zero").unwrap_err();
    }

    #[test]
    fn an_empty_variable_counts_as_not_set() {
        let environment = Environment::read(|_| Some(OsString::new())).unwrap();
        assert!(environment.get("IPC_GATEWAY_SOCKET").is_none());
    }
}
