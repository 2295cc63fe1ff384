//! Why a configuration is refused, and where the offending text stands.

use core::fmt;
use std::io;
use std::path::PathBuf;

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A flag of the command line.
    Flag(&'static str),
    /// An environment variable.
    Variable(&'static str),
    /// A file; lines and columns count from 1, columns in characters.
    File {
        /// The file.
        path: PathBuf,
        /// The line.
        line: usize,
        /// The column.
        column: usize,
    },
}

impl Place {
    /// The place of the byte `offset` in the text of the file at `path`.
    pub(super) fn in_file(path: PathBuf, text: &str, offset: usize) -> Self {
        let before = text.get(..offset).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Self::File {
            path,
            line: before.matches('\n').count() + 1,
            column: before.chars().count() - before.get(..line_start).map_or(0, char_count) + 1,
        }
    }
}

fn char_count(text: &str) -> usize {
    text.chars().count()
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(name) => f.write_str(name),
            Self::Variable(name) => write!(f, "environment variable {name}"),
            Self::File { path, line, column } => {
                write!(f, "{}:{line}:{column}", path.display())
            }
        }
    }
}

/// Why a configuration is refused. The text is one line and never contains a secret.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{}: cannot read the configuration: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The file is not TOML, or a value has the wrong type.
    #[error("{place}: {message}")]
    Syntax {
        /// Where.
        place: Place,
        /// What is wrong.
        message: String,
    },
    /// No such key.
    #[error("{place}: unknown key `{key}`{}", suggestion(nearest.as_ref()))]
    UnknownKey {
        /// Where.
        place: Place,
        /// The key as written.
        key: String,
        /// The key that was probably meant.
        nearest: Option<String>,
    },
    /// A value is not allowed.
    #[error("{place}: {key} = {value}: {rule}")]
    Value {
        /// Where.
        place: Place,
        /// The full name of the key.
        key: String,
        /// The value as written, without secrets.
        value: String,
        /// What is allowed.
        rule: String,
    },
    /// A key that must be there is missing, or several do not go together.
    #[error("{place}: {problem}")]
    Combination {
        /// Where.
        place: Place,
        /// What is wrong.
        problem: String,
    },
    /// There is no default place for the admin socket.
    #[error("no default admin socket beside {}; set --admin", socket.display())]
    NoAdmin {
        /// The clients' socket.
        socket: PathBuf,
    },
}

impl ConfigError {
    /// Where it is, if that can be said.
    #[must_use]
    pub const fn place(&self) -> Option<&Place> {
        match self {
            Self::Unreadable { .. } | Self::NoAdmin { .. } => None,
            Self::Syntax { place, .. }
            | Self::UnknownKey { place, .. }
            | Self::Value { place, .. }
            | Self::Combination { place, .. } => Some(place),
        }
    }

    /// The same error somewhere else.
    pub(super) fn at(mut self, there: Place) -> Self {
        match &mut self {
            Self::Unreadable { .. } | Self::NoAdmin { .. } => {}
            Self::Syntax { place, .. }
            | Self::UnknownKey { place, .. }
            | Self::Value { place, .. }
            | Self::Combination { place, .. } => *place = there,
        }
        self
    }

    /// Whether the command line is to blame, and not the configuration.
    #[must_use]
    pub const fn is_usage(&self) -> bool {
        matches!(self.place(), Some(Place::Flag(_)))
    }
}

fn suggestion(nearest: Option<&String>) -> String {
    nearest.map_or_else(String::new, |key| format!(", did you mean `{key}`?"))
}

/// The candidate that `text` was probably meant to be, if one is close enough.
pub(super) fn nearest(text: &str, candidates: &[&str]) -> Option<String> {
    candidates
        .iter()
        .map(|candidate| (strsim::jaro_winkler(text, candidate), candidate))
        .filter(|(likeness, _)| *likeness > 0.75)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, candidate)| (*candidate).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_count_lines_and_columns_from_one_in_characters() {
        let text = "a = 1\nä = 2\n";
        let at = |offset| Place::in_file("x.toml".into(), text, offset).to_string();
        assert_eq!(at(0), "x.toml:1:1");
        assert_eq!(at(4), "x.toml:1:5");
        assert_eq!(at(6), "x.toml:2:1");
        assert_eq!(at(11), "x.toml:2:5");
        assert_eq!(at(9999), "x.toml:3:1");
    }

    #[test]
    fn a_word_far_from_all_has_no_suggestion() {
        assert_eq!(
            nearest("ruote", &["route", "log"]),
            Some("route".to_owned())
        );
        assert_eq!(nearest("zzz", &["route", "log"]), None);
    }
}
