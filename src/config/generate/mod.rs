//! What is made from the table of keys: the commented example, the JSON schema, and the table in
//! `docs/OPERATIONS.md`. Tests hold the files to what is made here; with `IPCGW_WRITE=1` they write
//! them.

mod example;
mod schema;
#[cfg(test)]
mod table;

pub use self::example::example;
pub use self::schema::schema;
#[cfg(test)]
pub(super) use self::table::table;

use super::keys::{Absent, Key, Kind};

/// What values a key may have, in words.
fn values(kind: Kind) -> String {
    match kind {
        Kind::Text(rule) => rule.to_owned(),
        Kind::Secret => "text, never shown".to_owned(),
        Kind::Words(words) => {
            let quoted: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
            quoted.join(" or ")
        }
        Kind::Bool => "true or false".to_owned(),
        Kind::Integer(least, most) => format!("{least} to {most}"),
        Kind::Ratio => "0.0 to 1.0".to_owned(),
        Kind::Mode => "0o600 for the owner, nothing for others".to_owned(),
        Kind::Duration(least, most) | Kind::Size(least, most) => format!("{least} to {most}"),
        Kind::Texts(rule) => format!("a list of {rule}"),
        Kind::Ids => "a list of numbers, none of them 65534".to_owned(),
    }
}

/// What a key is when it is left out, in words; none if the value itself says it.
const fn absent(key: &Key) -> Option<&'static str> {
    match key.absent {
        Absent::Default(_) => None,
        Absent::Depends(words) => Some(words),
        Absent::Required => Some("must be given"),
    }
}
