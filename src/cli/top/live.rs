//! The view on a terminal, until it is left. Whatever ends it, a key, a signal, an error or a
//! panic, the terminal is given back as it was.

use core::time::Duration;
use std::io::{self, IsTerminal as _};
use std::process::ExitCode;
use std::sync::mpsc::{self, Receiver, TryRecvError};
use std::thread;

use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event};

use super::app::{App, Flow};
use super::args::TopArgs;
use super::ask::{NoStatus, ask};
use super::view;
use crate::cli::admin::aside;
use crate::cli::exit::Exit;
use crate::cli::output::complain;
use crate::clock::{Clock as _, Nanos, System};
use crate::control::Interrupts;
use crate::settings::AdminAddress;
use crate::status::Status;

/// Longest time without a look for answers and signals, which wake nobody who waits for a key.
const LOOK: Duration = Duration::from_millis(50);

/// Shows the view. `first` is what the gateway has answered already.
pub(super) fn run(args: &TopArgs, address: &AdminAddress, first: Status) -> ExitCode {
    if !io::stdin().is_terminal() || !io::stdout().is_terminal() {
        complain("the view needs a terminal; use --once or --json");
        return Exit::Usage.into();
    }
    let signals = match signals() {
        Ok(signals) => signals,
        Err(error) => {
            complain(format_args!("cannot wait for signals: {error}"));
            return Exit::OsError.into();
        }
    };
    let mut app = App::new(args.sort, args.interval);
    app.heard(Ok(first));
    // Also has a panic give the terminal back.
    let shown = ratatui::try_init().and_then(|mut terminal| {
        let mut live = Live {
            app,
            address,
            signals,
            asked: None,
            due: System.now().after(args.interval),
        };
        live.run(&mut terminal)
    });
    let restored = ratatui::try_restore();
    match shown.and(restored) {
        Ok(()) => Exit::Ok.into(),
        Err(error) => {
            complain(format_args!("the terminal failed: {error}"));
            Exit::Failure.into()
        }
    }
}

/// Where the first signal to end is heard of.
fn signals() -> io::Result<Receiver<()>> {
    let interrupts = Interrupts::hold_at_terminal()?;
    let (sender, receiver) = mpsc::channel();
    thread::Builder::new().spawn(move || {
        if interrupts.wait().is_ok() {
            sender.send(()).ok();
        }
    })?;
    Ok(receiver)
}

struct Live<'a> {
    app: App,
    address: &'a AdminAddress,
    signals: Receiver<()>,
    /// The question that is on its way.
    asked: Option<Receiver<Result<Status, NoStatus>>>,
    /// When to ask the next one.
    due: Nanos,
}

impl Live<'_> {
    fn run(&mut self, terminal: &mut DefaultTerminal) -> io::Result<()> {
        loop {
            terminal.draw(|frame| {
                let area = frame.area();
                view::draw(frame.buffer_mut(), area, &mut self.app);
            })?;
            // Until there is something new to show.
            loop {
                if self.signals.try_recv().is_ok() {
                    return Ok(());
                }
                if self.hear() {
                    break;
                }
                let wait = LOOK.min(self.due.until(System.now()));
                if !event::poll(wait)? {
                    continue;
                }
                match event::read()? {
                    Event::Key(key) if self.app.key(key) == Flow::Quit => return Ok(()),
                    Event::Key(_) | Event::Resize(..) => break,
                    _ => {}
                }
            }
        }
    }

    /// Asks when it is time, and takes what has been answered. Returns whether there was anything.
    fn hear(&mut self) -> bool {
        let now = System.now();
        if self.asked.is_none() {
            if self.due > now {
                return false;
            }
            self.due = now.after(self.app.interval);
            let address = self.address.clone();
            match aside(move || ask(&address)) {
                Ok(asked) => self.asked = Some(asked),
                Err(error) => {
                    self.app.heard(Err(format!("cannot ask: {error}")));
                    return true;
                }
            }
        }
        let answer = match self.asked.as_ref().map(Receiver::try_recv) {
            Some(Ok(answer)) => answer.map_err(|error| error.to_string()),
            Some(Err(TryRecvError::Disconnected)) => Err("no answer".to_owned()),
            _ => {
                // Not to be looked at all the time meanwhile.
                self.due = self.due.max(now.after(LOOK));
                return false;
            }
        };
        self.asked = None;
        self.app.heard(answer);
        true
    }
}
