//! Checks that every section of the file shares: ranges, units, words.

use core::fmt::Display;
use core::ops::RangeInclusive;
use core::time::Duration;
use std::path::PathBuf;

use toml::Spanned;

use super::error::{ConfigError, Place};
use super::raw::{Field, RawSize};
use super::source::{ConfigFile, Given};
use super::units::{parse_duration, parse_size, show_duration, show_size};

/// A section of the file: turns its fields into checked values, or into an error that names the
/// key in full.
pub(super) struct Section<'a> {
    file: &'a ConfigFile,
    name: String,
}

impl<'a> Section<'a> {
    pub(super) fn new(file: &'a ConfigFile, name: impl Into<String>) -> Self {
        let name = name.into();
        Self { file, name }
    }

    /// Where a field stands.
    pub(super) fn place<T>(&self, field: &Spanned<T>) -> Place {
        Place::in_file(self.file.path.clone(), &self.file.text, field.span().start)
    }

    /// A field and its place.
    pub(super) fn given(&self, field: &Field<String>) -> Option<Given<String>> {
        field.as_ref().map(|field| Given {
            value: field.get_ref().clone(),
            place: self.place(field),
        })
    }

    /// The full name of a key of this section.
    pub(super) fn key(&self, key: &str) -> String {
        format!("{}.{key}", self.name)
    }

    /// The error that `field`, which is shown as `value`, breaks `rule`.
    pub(super) fn refuse<T>(
        &self,
        key: &str,
        field: &Spanned<T>,
        value: impl Display,
        rule: impl Into<String>,
    ) -> ConfigError {
        ConfigError::Value {
            place: self.place(field),
            key: self.key(key),
            value: value.to_string(),
            rule: rule.into(),
        }
    }

    /// A whole number within `range`.
    pub(super) fn integer<T>(
        &self,
        key: &str,
        field: &Field<i64>,
        range: RangeInclusive<T>,
        default: T,
    ) -> Result<T, ConfigError>
    where
        T: TryFrom<i64> + PartialOrd + Display,
    {
        let Some(field) = field else {
            return Ok(default);
        };
        let value = T::try_from(*field.get_ref()).ok();
        value.filter(|value| range.contains(value)).ok_or_else(|| {
            let rule = format!("must be from {} to {}", range.start(), range.end());
            self.refuse(key, field, field.get_ref(), rule)
        })
    }

    /// A duration within `range`.
    pub(super) fn duration(
        &self,
        key: &str,
        field: &Field<String>,
        range: RangeInclusive<Duration>,
        default: Duration,
    ) -> Result<Duration, ConfigError> {
        let Some(field) = field else {
            return Ok(default);
        };
        let shown = format!("{:?}", field.get_ref());
        let value = parse_duration(field.get_ref())
            .map_err(|rule| self.refuse(key, field, &shown, rule))?;
        if range.contains(&value) {
            return Ok(value);
        }
        let (shortest, longest) = (show_duration(*range.start()), show_duration(*range.end()));
        let rule = format!("must be from {shortest} to {longest}");
        Err(self.refuse(key, field, shown, rule))
    }

    /// A size in bytes within `range`.
    pub(super) fn size<T>(
        &self,
        key: &str,
        field: &Field<RawSize>,
        range: RangeInclusive<T>,
        default: T,
    ) -> Result<T, ConfigError>
    where
        T: TryFrom<u64> + Into<u64> + PartialOrd + Copy,
    {
        let Some(field) = field else {
            return Ok(default);
        };
        let bytes = match field.get_ref() {
            RawSize::Bytes(bytes) => u64::try_from(*bytes).ok(),
            RawSize::Text(text) => Some(
                parse_size(text).map_err(|rule| self.refuse(key, field, field.get_ref(), rule))?,
            ),
        };
        let value = bytes.and_then(|bytes| T::try_from(bytes).ok());
        value.filter(|value| range.contains(value)).ok_or_else(|| {
            let (least, most) = ((*range.start()).into(), (*range.end()).into());
            let rule = format!("must be from {} to {}", show_size(least), show_size(most));
            self.refuse(key, field, field.get_ref(), rule)
        })
    }

    /// Text of 1 to `longest` printable ASCII characters without white space.
    pub(super) fn word(
        &self,
        key: &str,
        field: &Spanned<String>,
        longest: usize,
    ) -> Result<String, ConfigError> {
        let text = field.get_ref();
        if (1..=longest).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Ok(text.clone());
        }
        let rule = format!("must be 1 to {longest} printable ASCII characters without spaces");
        Err(self.refuse(key, field, format!("{text:?}"), rule))
    }

    /// A path that is not empty.
    pub(super) fn path(
        &self,
        key: &str,
        field: &Field<String>,
    ) -> Result<Option<PathBuf>, ConfigError> {
        match field {
            None => Ok(None),
            Some(field) if field.get_ref().is_empty() => {
                Err(self.refuse(key, field, "\"\"", "must be a path"))
            }
            Some(field) => Ok(Some(PathBuf::from(field.get_ref()))),
        }
    }
}

/// A field that was checked by its type alone.
pub(super) fn value_or<T: Copy>(field: &Field<T>, default: T) -> T {
    field.as_ref().map_or(default, |field| *field.get_ref())
}
