//! The payload of every request.

/// The route whose receiver checks the body.
const DECIDE: &str = "decide";
/// A decide request up to the text that is padded.
const HEAD: &str =
    r#"{"tenant_id":"bench","request_id":"bench-1","task":{"type":"bench","payload":{"text":""#;
/// What follows the text.
const TAIL: &str = r#""}}}"#;

/// A decide request of exactly `bytes` bytes. Where that is too few for one and the route is not
/// `decide`, letters.
pub(super) fn build(route: &str, bytes: u32) -> Result<Vec<u8>, String> {
    let bytes = bytes as usize;
    let least = HEAD.len() + TAIL.len();
    let Some(text) = bytes.checked_sub(least) else {
        if route == DECIDE {
            return Err(format!(
                "--payload {bytes} is too small for a decide request: give at least {least}"
            ));
        }
        return Ok(vec![b'x'; bytes]);
    };
    Ok(format!("{HEAD}{}{TAIL}", "x".repeat(text)).into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_a_decide_request_of_the_size_asked_for() {
        for bytes in [90, 128, 4096] {
            let body = build("decide", bytes).unwrap();
            assert_eq!(body.len(), bytes as usize);
            let value: serde_json::Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(value["tenant_id"], "bench");
            assert!(value["task"]["payload"].to_string().len() >= 10);
        }
    }

    #[test]
    fn a_size_too_small_is_refused_for_decide_alone() {
        let error = build("decide", 89).unwrap_err();
        assert!(error.contains("at least 90"), "{error}");
        assert_eq!(build("audit", 3).unwrap(), b"xxx");
    }
}
