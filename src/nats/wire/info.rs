//! What a server says of itself (`INFO`): when a connection begins, and when something changes.

use serde::{Deserialize, Deserializer};

/// The parts of it that matter here. Others are ignored, and what is missing is as the protocol
/// says.
#[derive(Clone, Debug, Deserialize)]
#[serde(default)]
pub struct Info {
    /// What it calls itself.
    pub server_name: String,
    /// Its version.
    pub version: String,
    /// Largest body of a message that it takes, in bytes.
    #[serde(deserialize_with = "limit")]
    pub max_payload: usize,
    /// Whether it speaks TLS only.
    pub(super) tls_required: bool,
    /// Whether it speaks TLS if asked to.
    pub(super) tls_available: bool,
    /// What to sign so that it knows us.
    pub(super) nonce: String,
    /// Whether it will end soon.
    #[serde(rename = "ldm")]
    pub(super) is_lame: bool,
}

impl Default for Info {
    fn default() -> Self {
        Self {
            server_name: String::new(),
            version: String::new(),
            max_payload: USUAL,
            tls_required: false,
            tls_available: false,
            nonce: String::new(),
            is_lame: false,
        }
    }
}

/// Largest body that is taken where nothing is said.
const USUAL: usize = 1024 * 1024;

/// A negative limit is none.
fn limit<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    let bytes = Option::<i64>::deserialize(deserializer)?;
    Ok(bytes.map_or(USUAL, |bytes| usize::try_from(bytes).unwrap_or(usize::MAX)))
}

impl Info {
    pub(super) fn read(json: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(json)
    }

    /// Whether it has said that it will end soon.
    pub(in crate::nats) const fn is_lame(&self) -> bool {
        self.is_lame
    }

    /// Whether a connection to it can be encrypted.
    pub(super) const fn speaks_tls(&self) -> bool {
        self.tls_required || self.tls_available
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_says_is_read_and_the_rest_ignored() {
        let json = br#"{"server_id":"X","server_name":"n","version":"2.14.0","proto":1,
            "headers":true,"max_payload":1048576,"jetstream":true,"client_id":5,
            "tls_required":true,"nonce":"abc","connect_urls":["10.0.0.1:4222"]}"#;
        let info = Info::read(json).unwrap();
        assert_eq!(
            (info.server_name.as_str(), info.max_payload),
            ("n", 1 << 20)
        );
        assert!(info.speaks_tls() && info.nonce == "abc" && !info.is_lame);
        assert!(Info::read(b"{\"ldm\":true}").unwrap().is_lame);
        assert!(!Info::read(b"{}").unwrap().speaks_tls());
        assert!(Info::read(b"").is_err() && Info::read(b"{\"version\":7}").is_err());
        let limit = |json: &[u8]| Info::read(json).unwrap().max_payload;
        assert_eq!(limit(b"{\"max_payload\":-1}"), usize::MAX);
        assert_eq!(limit(b"{\"max_payload\":null}"), 1 << 20);
    }
}
