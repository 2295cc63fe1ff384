//! Numbers for ids and for sampling: unique, not secret.

/// `SplitMix64` (Steele, Lea and Flood, 2014).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The numbers that follow from `seed`, which should be random itself.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub const fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// The id of a span: no id is zero.
    pub fn span_id(&mut self) -> u64 {
        self.number().max(1)
    }

    /// The id of a trace.
    pub fn trace_id(&mut self) -> u128 {
        (u128::from(self.number()) << 64) | u128::from(self.span_id())
    }
}
