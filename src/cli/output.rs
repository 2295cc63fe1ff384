//! Writing to standard output and standard error, where a reader that has gone is no failure.

use std::fmt::Display;
use std::io::{self, Write};

use super::exit::Exit;

/// Writes `text` and a newline to standard output.
///
/// # Errors
/// [`Exit::Failure`] when it cannot be written, but not when the reader has gone: `| head` is no
/// failure.
pub fn print_line(text: impl Display) -> Result<(), Exit> {
    write_line(&mut io::stdout().lock(), text)
}

/// Writes `ipc-gateway: ` and `text` to standard error. There is nobody to tell if that fails.
pub fn complain(text: impl Display) {
    write_line(
        &mut io::stderr().lock(),
        format_args!("ipc-gateway: {text}"),
    )
    .ok();
}

fn write_line(out: &mut impl Write, text: impl Display) -> Result<(), Exit> {
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Exit::Failure),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Broken(io::ErrorKind);

    impl Write for Broken {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_has_gone_is_no_failure_and_a_full_disk_is() {
        assert_eq!(
            write_line(&mut Broken(io::ErrorKind::BrokenPipe), "x"),
            Ok(())
        );
        let full = write_line(&mut Broken(io::ErrorKind::StorageFull), "x");
        assert_eq!(full, Err(Exit::Failure));
    }
}
