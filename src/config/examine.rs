//! A configuration that cannot be used, examined: everything that is wrong with it, not the first
//! thing only.
//!
//! When every word of the file is known and something is still refused, the value that is refused is
//! replaced by one that is allowed, and the rest is looked at again.

use core::fmt;
use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::error::{ConfigError, Place};
use super::keys;
use super::resolve::{Config, Layers};
use super::source::{ConfigFile, Environment, Host, Overrides, flag_or_variable};
use super::tree::{Leaf, Tree, What};

/// Most errors that are told at once.
const MOST: usize = 32;

/// Why a configuration cannot be used: at least one error, in the order of the file.
#[derive(Debug)]
pub struct Refused {
    errors: Vec<ConfigError>,
    text: String,
}

impl Refused {
    /// The errors.
    #[must_use]
    pub fn errors(&self) -> &[ConfigError] {
        &self.errors
    }

    /// Whether the command line is to blame, and not the configuration.
    #[must_use]
    pub fn is_usage(&self) -> bool {
        self.errors.iter().all(ConfigError::is_usage)
    }

    /// The line of the file that an error is about, and a mark under its place; none if it could
    /// hold a secret.
    #[must_use]
    pub fn excerpt(&self, error: &ConfigError) -> Option<String> {
        let Some(Place::File { line, column, .. }) = error.place() else {
            return None;
        };
        let lines: Vec<&str> = self.text.lines().collect();
        let before = lines.get(..*line)?;
        let shown = *before.last()?;
        let mut heads = before.iter().rev();
        let head = heads.find(|line| line.trim_start().starts_with('['));
        let words = ["@", "nats", "password", "token", "user"];
        let is_secret = words.iter().any(|word| shown.contains(word))
            || head.is_some_and(|head| head.contains("nats"));
        if is_secret {
            return None;
        }
        // A key that is not known may be one of those, misspelt.
        let (key, end) = match shown.split_once('=') {
            Some((key, _)) => (key, key.len() + 1),
            None if shown.trim_start().starts_with('[') => ("", shown.len()),
            None => return None,
        };
        let last = key.rsplit('.').next().unwrap_or_default().trim();
        let is_known = key.is_empty() || keys::is_known(last);
        let plain = if is_known { shown } else { shown.get(..end)? }.replace('\t', " ");
        let indent = " ".repeat(line.to_string().len());
        let mark = " ".repeat(column.saturating_sub(1));
        Some(format!("  {line} | {plain}\n  {indent} | {mark}^"))
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts: Vec<String> = self.errors.iter().map(ToString::to_string).collect();
        f.write_str(&texts.join("\n"))
    }
}

impl core::error::Error for Refused {}

impl From<ConfigError> for Refused {
    fn from(error: ConfigError) -> Self {
        Self {
            errors: vec![error],
            text: String::new(),
        }
    }
}

impl Config {
    /// Reads everything: these flags, this process's environment, the file and the machine.
    ///
    /// # Errors
    /// Everything that is wrong, as far as it can be found at once.
    pub fn load(flags: &Overrides) -> Result<Self, Refused> {
        Self::load_from(flags, |name| env::var_os(name), &Host::read())
    }

    /// Like [`Config::load`], with an environment and a machine that the caller makes up.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn load_from(
        flags: &Overrides,
        environment: impl Fn(&str) -> Option<OsString>,
        host: &Host,
    ) -> Result<Self, Refused> {
        let environment = Environment::read(environment)?;
        let (path, text) = file(flags, &environment)?;
        examine(flags, &environment, (path, text), host)
    }
}

/// The configuration file's path and text; both are empty if there is none.
pub(super) fn file(
    flags: &Overrides,
    environment: &Environment,
) -> Result<(PathBuf, String), ConfigError> {
    let named = flag_or_variable(
        ("--config", flags.config.as_ref()),
        environment,
        "IPC_GATEWAY_CONFIG",
    );
    ConfigFile::text(named.as_ref().map(|named| Path::new(&named.value)))
}

/// The configuration that these sources make, or all that is wrong with it.
pub(super) fn examine(
    flags: &Overrides,
    environment: &Environment,
    (path, text): (PathBuf, String),
    host: &Host,
) -> Result<Config, Refused> {
    let read = |text: &str| {
        let file = ConfigFile::parse(path.clone(), text.to_owned())?;
        Config::try_from(Layers {
            flags,
            environment,
            file: &file,
            host,
        })
    };
    let first = match read(&text) {
        Ok(config) => return Ok(config),
        Err(error) => error,
    };
    let faults = Tree::read(&text).faults;
    if !faults.is_empty() {
        let error = |fault: super::tree::Fault| {
            let place = Place::in_file(path.clone(), &text, fault.at);
            match fault.what {
                What::Wrong(message) => ConfigError::Syntax { place, message },
                What::Unknown(key, nearest) => ConfigError::UnknownKey {
                    place,
                    key,
                    nearest,
                },
            }
        };
        let errors = faults.into_iter().take(MOST).map(error).collect();
        return Err(Refused { errors, text });
    }
    let mut mended = Mended {
        text: text.clone(),
        patches: Vec::new(),
    };
    let mut errors = Vec::new();
    let mut next = Some(first);
    while let Some(error) = next.take() {
        let placed = mended.place_back(&error, &text);
        let mending = mended.mend(&error);
        if mending == Mending::SeenBefore && !errors.is_empty() {
            break;
        }
        errors.push(match placed {
            Some(place) => error.at(place),
            None => error,
        });
        if mending == Mending::Done && errors.len() < MOST {
            next = read(&mended.text).err();
        }
    }
    errors.sort_by_key(|error| match error.place() {
        Some(Place::File { line, column, .. }) => (*line, *column),
        _ => (0, 0),
    });
    Err(Refused { errors, text })
}

/// What can be done about an error.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mending {
    /// The value is another now.
    Done,
    /// It is about a value that was replaced, or follows from that.
    SeenBefore,
    /// There is no such value.
    Impossible,
}

/// The file with values in place of those that were refused.
struct Mended {
    text: String,
    /// Where, in the original text, and by how many bytes it has grown there.
    patches: Vec<Patch>,
}

struct Patch {
    name: String,
    at: usize,
    grown: isize,
}

impl Mended {
    fn mend(&mut self, error: &ConfigError) -> Mending {
        let Some(Place::File { line, column, .. }) = error.place() else {
            return Mending::Impossible;
        };
        let at = offset(&self.text, *line, *column);
        let tree = Tree::read(&self.text);
        let holds = |leaf: &&Leaf| leaf.value.contains(&at);
        let Some(leaf) = tree.leaves.iter().find(holds) else {
            return Mending::Impossible;
        };
        if self.patches.iter().any(|patch| patch.name == leaf.name) {
            return Mending::SeenBefore;
        }
        let sample = leaf.key.sample();
        let original = self.original(leaf.value.start);
        let grown = sample.len().cast_signed() - leaf.value.len().cast_signed();
        self.text.replace_range(leaf.value.clone(), sample);
        self.patches.push(Patch {
            name: leaf.name.clone(),
            at: original,
            grown,
        });
        self.patches.sort_by_key(|patch| patch.at);
        Mending::Done
    }

    /// The place in the original text of a byte of the present one.
    fn original(&self, at: usize) -> usize {
        self.patches.iter().fold(at, |at, patch| {
            if patch.at < at {
                at.saturating_add_signed(-patch.grown)
            } else {
                at
            }
        })
    }

    /// The place of an error in the original text.
    fn place_back(&self, error: &ConfigError, text: &str) -> Option<Place> {
        let Place::File { path, line, column } = error.place()? else {
            return None;
        };
        let at = self.original(offset(&self.text, *line, *column));
        Some(Place::in_file(path.clone(), text, at))
    }
}

/// The byte at a line and a column.
fn offset(text: &str, line: usize, column: usize) -> usize {
    let lines = text.split_inclusive('\n');
    let before: usize = lines.take(line.saturating_sub(1)).map(str::len).sum();
    let rest = text.get(before..).unwrap_or_default();
    let chars = rest.chars().take(column.saturating_sub(1));
    before + chars.map(char::len_utf8).sum::<usize>()
}
