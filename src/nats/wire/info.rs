//! What a server says of itself (`INFO`): when a connection begins, and when something changes.

use serde::Deserialize;

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
            max_payload: 1024 * 1024,
            tls_required: false,
            tls_available: false,
            nonce: String::new(),
            is_lame: false,
        }
    }
}

impl Info {
    pub(super) fn read(json: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(json)
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
        assert!(Info::read(b"").is_err() && Info::read(b"{\"max_payload\":-1}").is_err());
    }
}
