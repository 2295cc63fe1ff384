//! What happened, line by line: printed when asked for, and always folded into one number, so that
//! two runs can be compared.

use core::fmt::{self, Write as _};
use std::io::Write as _;

use super::progress;

/// The trace of one run.
#[derive(Debug)]
pub(crate) struct Trace {
    hash: Fnv,
    prints: bool,
}

/// The hash of Fowler, Noll and Vo, 64 bits, variant 1a.
#[derive(Debug)]
struct Fnv(u64);

impl fmt::Write for Fnv {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        Ok(())
    }
}

impl Trace {
    pub(crate) const fn new(prints: bool) -> Self {
        Self {
            hash: Fnv(0xcbf2_9ce4_8422_2325),
            prints,
        }
    }

    /// Notes a line: use `format_args!`.
    pub(crate) fn note(&mut self, line: fmt::Arguments<'_>) {
        // Hashing cannot fail.
        let _ = self.hash.write_fmt(line);
        let _ = self.hash.write_char('\n');
        if self.prints {
            let step = progress::step();
            drop(writeln!(std::io::stdout().lock(), "{step:>6}  {line}"));
        }
    }

    /// The number of everything so far.
    pub(crate) const fn hash(&self) -> u64 {
        self.hash.0
    }
}
