//! The configuration, in two storeys.
//!
//! ```text
//!  TOML file --> raw::RawConfig (syntax only) --+
//!  flags, environment --> Overrides ------------+--> Layers --TryFrom--> Config (what is meant)
//!  the machine --> Host (uid, cores, ..) -------+
//! ```
//!
//! Flags win over the environment, the environment over the file, the file over the defaults.
//! [`Config`] is the only thing that leaves: every value in it has been checked, so the rooms that
//! read it check nothing again. Every refusal ([`ConfigError`]) says where the value stands (file,
//! line and column, or variable), which key it is, what it is and what is allowed. No message and
//! no output of this room ever contains a secret.

mod check;
mod difference;
mod error;
mod examine;
mod generate;
mod keys;
mod origin;
mod print;
mod raw;
mod resolve;
mod source;
mod tree;
mod units;

#[cfg(test)]
mod tests;

pub use self::difference::Difference;
pub use self::error::{ConfigError, Place};
pub use self::examine::Refused;
pub use self::generate::{example, schema};
pub use self::origin::Effective;
pub use self::resolve::{Config, admin_address, socket_path};
pub use self::source::{DEFAULT_FILE, Host, Overrides};
pub use self::units::{parse_duration, parse_size};
