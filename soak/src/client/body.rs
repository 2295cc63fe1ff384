//! What a client sends: a decide request whose id has the client's name and the request's mark. The
//! bytes are made once; only the mark's digits change.

use memchr::memmem::Finder;

/// Digits of a mark.
const DIGITS: usize = 16;
/// What stands before an id.
const KEY: &[u8] = br#""request_id":""#;

/// The request's bytes, and how its reply is known.
#[derive(Debug)]
pub(crate) struct Body {
    bytes: Vec<u8>,
    /// Where the digits begin.
    digits: usize,
    /// What stands between the key and the digits.
    name: Vec<u8>,
    key: Finder<'static>,
}

impl Body {
    /// Requests of a client, of `bytes` bytes unless that is too few.
    pub(crate) fn new(name: &str, bytes: usize) -> Self {
        let head = format!(r#"{{"tenant_id":"soak","request_id":"{name}-"#);
        let middle = r#"","task":{"type":"soak","payload":{"text":""#;
        let tail = r#""}}}"#;
        let fixed = head.len() + DIGITS + middle.len() + tail.len();
        let mut text = head.clone();
        text.extend(std::iter::repeat_n('0', DIGITS));
        text.push_str(middle);
        text.extend(std::iter::repeat_n('x', bytes.saturating_sub(fixed)));
        text.push_str(tail);
        Self {
            bytes: text.into_bytes(),
            digits: head.len(),
            name: format!("{name}-").into_bytes(),
            key: Finder::new(KEY),
        }
    }

    /// The request with this mark.
    pub(crate) fn of(&mut self, mark: u64) -> &[u8] {
        if let Some(digits) = self.bytes.get_mut(self.digits..self.digits + DIGITS) {
            write_digits(digits, mark);
        }
        &self.bytes
    }

    /// Whether a reply names the request with this mark.
    pub(crate) fn names(&self, reply: &[u8], mark: u64) -> bool {
        let Some(at) = self.key.find(reply) else {
            return false;
        };
        let rest = reply.get(at + KEY.len()..).unwrap_or_default();
        let Some(rest) = rest.strip_prefix(self.name.as_slice()) else {
            return false;
        };
        let mut digits = [0; DIGITS];
        write_digits(&mut digits, mark);
        let after = rest.strip_prefix(digits.as_slice());
        after.is_some_and(|after| after.first() == Some(&b'"'))
    }
}

fn write_digits(digits: &mut [u8], mut number: u64) {
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + u8::try_from(number % 10).unwrap_or(0);
        number /= 10;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_names_its_request_and_has_the_size_asked_for() {
        let mut body = Body::new("c1", 256);
        let bytes = body.of(7).to_vec();
        assert_eq!(bytes.len(), 256);
        let value: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(value["request_id"], "c1-0000000000000007");
        assert!(body.names(&bytes, 7));
        assert!(!body.names(&bytes, 77));
        assert!(!Body::new("c11", 256).names(&bytes, 7));
        assert!(!body.names(br#"{"ok":true}"#, 7));
    }
}
