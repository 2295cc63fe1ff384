//! What a process writes, read as it comes: a pipe that nobody reads would stop its writer.

use std::io::{BufRead as _, BufReader, Read};
use std::process::Child;
use std::sync::{Arc, Condvar, Mutex};

use super::SOON;

/// What has been written so far, and whether that is all.
#[derive(Default)]
struct Written {
    text: String,
    ended: bool,
}

pub(crate) struct Lines(Arc<(Mutex<Written>, Condvar)>);

impl Lines {
    pub(crate) fn of(pipe: impl Read + Send + 'static) -> Self {
        let shared: Arc<(Mutex<Written>, Condvar)> = Arc::default();
        let lines = Self(Arc::clone(&shared));
        std::thread::spawn(move || {
            let mut pipe = BufReader::new(pipe);
            let (written, changed) = &*shared;
            let mut line = String::new();
            while pipe.read_line(&mut line).is_ok_and(|bytes| bytes > 0) {
                written.lock().unwrap().text.push_str(&line);
                line.clear();
                changed.notify_all();
            }
            written.lock().unwrap().ended = true;
            changed.notify_all();
        });
        lines
    }

    /// Everything so far.
    pub(crate) fn text(&self) -> String {
        self.0.0.lock().unwrap().text.clone()
    }

    /// Everything, once the writer has closed its end.
    pub(crate) fn all(&self) -> String {
        self.wait(|written| written.ended)
    }

    /// Waits until this has been written.
    pub(crate) fn wait_for(&self, what: &str) {
        let text = self.wait(|written| written.ended || written.text.contains(what));
        assert!(text.contains(what), "{what:?} was not said, but: {text}");
    }

    /// The same of a process that has just been started, which does not outlive a test that waits in vain.
    pub(crate) fn wait_for_start(&self, child: &mut Child, what: &str) {
        struct EndInVain<'a>(&'a mut Child);
        impl Drop for EndInVain<'_> {
            fn drop(&mut self) {
                if std::thread::panicking() {
                    self.0.kill().ok();
                    self.0.wait().ok();
                }
            }
        }
        let _child = EndInVain(child);
        self.wait_for(what);
    }

    /// Waits for this many lines; returns everything so far.
    pub(crate) fn wait_for_lines(&self, count: usize) -> String {
        let text = self.wait(|written| written.ended || written.text.lines().count() >= count);
        assert!(
            text.lines().count() >= count,
            "{count} lines were expected: {text}"
        );
        text
    }

    fn wait(&self, done: impl Fn(&Written) -> bool) -> String {
        let (written, changed) = &*self.0;
        let guard = written.lock().unwrap();
        let (guard, _) = changed
            .wait_timeout_while(guard, SOON, |written| !done(written))
            .unwrap();
        guard.text.clone()
    }
}
