//! The W3C trace context, version 00: `00-<trace id>-<span id>-<flags>` in lower-case hexadecimal.

/// What a `traceparent` says.
///
/// ```
/// use ipc_gateway::trace::Context;
///
/// let header = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
/// let context = Context::parse(header).unwrap();
/// assert!(context.is_sampled);
/// assert_eq!(context.header(), header);
/// assert_eq!(Context::parse("00-0-0-01"), None);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Context {
    /// The trace; never 0.
    pub trace_id: u128,
    /// The span that what follows is a child of; never 0.
    pub span_id: u64,
    /// Whether whoever sent it records it.
    pub is_sampled: bool,
}

impl Context {
    /// Reads a header's value; `None` if it breaks the rules.
    #[must_use]
    pub fn parse(value: &str) -> Option<Self> {
        let mut parts = value.split('-');
        let version = hex(parts.next()?, 2)?;
        let trace_id = hex(parts.next()?, 32)?;
        let span_id = hex(parts.next()?, 16)?;
        let flags = hex(parts.next()?, 2)?;
        // Only later versions may have more parts, and no version is ff.
        if version == 0xff || (version == 0 && parts.next().is_some()) {
            return None;
        }
        let span_id = u64::try_from(span_id).ok()?;
        (trace_id != 0 && span_id != 0).then_some(Self {
            trace_id,
            span_id,
            is_sampled: flags & 1 == 1,
        })
    }

    /// The header's value.
    #[must_use]
    pub fn header(&self) -> String {
        let flags = u8::from(self.is_sampled);
        format!(
            "00-{:032x}-{:016x}-{flags:02x}",
            self.trace_id, self.span_id
        )
    }

    /// The trace that a `trace_id` header names: 32 hexadecimal digits or a UUID.
    #[must_use]
    pub fn trace_id_of(value: &str) -> Option<u128> {
        let digits: String = value.chars().filter(|c| *c != '-').collect();
        let id = hex(&digits.to_ascii_lowercase(), 32)?;
        (id != 0).then_some(id)
    }
}

fn hex(text: &str, length: usize) -> Option<u128> {
    let lower_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    if text.len() != length || !text.bytes().all(lower_hex) {
        return None;
    }
    u128::from_str_radix(text, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn what_is_read_is_written_again() {
        let context = Context::parse(PARENT).unwrap();
        assert_eq!(context.trace_id, 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736);
        assert_eq!(context.span_id, 0x00f0_67aa_0ba9_02b7);
        assert!(context.is_sampled);
        assert_eq!(context.header(), PARENT);
        let off = PARENT.replace("-01", "-00");
        assert!(!Context::parse(&off).unwrap().is_sampled);
    }

    #[test]
    fn what_breaks_the_rules_is_nothing() {
        for wrong in [
            "",
            "00",
            &PARENT.to_uppercase(),
            &PARENT.replace("00-4", "ff-4"),
            &format!("{PARENT}-x"),
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01",
            "00-+bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ] {
            assert_eq!(Context::parse(wrong), None, "{wrong}");
        }
        // A later version may say more.
        assert!(Context::parse(&format!("01{}-x", &PARENT[2..])).is_some());
    }

    #[test]
    fn a_trace_id_is_digits_or_a_uuid() {
        let id = Some(0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736);
        let uuid = "4BF92F35-77B3-4DA6-A3CE-929D0E0E4736";
        assert_eq!(Context::trace_id_of(uuid), id);
        assert_eq!(Context::trace_id_of(&uuid.replace('-', "")), id);
        assert_eq!(Context::trace_id_of("own"), None);
        assert_eq!(Context::trace_id_of(&"0".repeat(32)), None);
    }
}
