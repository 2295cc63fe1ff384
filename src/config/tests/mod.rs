//! Tests of the configuration as a whole: file text and overrides in, settings or a message out.

mod defaults;
mod differences;
mod generated;
mod origins;
mod precedence;
mod refusals;
mod several;

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::resolve::Layers;
use super::source::{ConfigFile, Environment};
use super::{Config, ConfigError, Host, Overrides};

/// A machine with four cores and an ordinary user.
fn host() -> Host {
    Host {
        uid: 1000,
        cores: 4,
        runtime_dir: Some(PathBuf::from("/run/user/1000")),
        overflow_uid: 60_001,
        overflow_gid: 60_002,
    }
}

/// Everything made up: flags, variables, and the text of `test.toml`.
fn load(
    flags: &Overrides,
    variables: &[(&str, &str)],
    text: &str,
    host: &Host,
) -> Result<Config, ConfigError> {
    let variables: BTreeMap<&str, &str> = variables.iter().copied().collect();
    let environment = Environment::read(|name| variables.get(name).map(Into::into))?;
    let file = ConfigFile::parse(PathBuf::from("test.toml"), text.to_owned())?;
    Config::try_from(Layers {
        flags,
        environment: &environment,
        file: &file,
        host,
    })
}

/// Only a file.
fn parse(text: &str) -> Result<Config, ConfigError> {
    load(&Overrides::default(), &[], text, &host())
}

/// The message that refuses this file.
fn refusal(text: &str) -> String {
    parse(text).expect_err(text).to_string()
}
