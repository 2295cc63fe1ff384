//! The state of a running `top`: what it shows, and what keys do to it.

use core::time::Duration;

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::args::INTERVALS;
use super::sample::{Sample, Sampler};
use super::sessions::{Column, Sort};
use crate::status::Status;

/// Rows that page up and page down scroll.
const PAGE: usize = 10;

/// What is shown.
#[derive(Debug)]
pub(super) struct App {
    sampler: Sampler,
    pub(super) sample: Option<Sample>,
    /// Why the gateway does not answer; none while it does.
    pub(super) away: Option<String>,
    pub(super) is_paused: bool,
    pub(super) sort: Sort,
    pub(super) filter: String,
    /// Whether keys go into the filter.
    pub(super) is_typing: bool,
    pub(super) interval: Duration,
    /// Rows of the table that are above the first that is shown. The view draws it back to where the
    /// last row is the last on the screen.
    pub(super) scroll: usize,
}

/// What a key asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flow {
    /// To go on.
    Go,
    /// To end.
    Quit,
}

impl App {
    pub(super) fn new(column: Column, interval: Duration) -> Self {
        Self {
            sampler: Sampler::default(),
            sample: None,
            away: None,
            is_paused: false,
            sort: Sort::by(column),
            filter: String::new(),
            is_typing: false,
            interval,
            scroll: 0,
        }
    }

    /// Takes what the gateway has answered, or why it has not.
    pub(super) fn heard(&mut self, answer: Result<Status, String>) {
        match answer {
            Ok(status) => {
                self.away = None;
                let sample = self.sampler.push(status);
                if sample.is_some() && !self.is_paused {
                    self.sample = sample;
                }
            }
            Err(reason) => {
                self.away = Some(reason);
                self.sampler.forget();
            }
        }
    }

    /// A key was pressed.
    pub(super) fn key(&mut self, key: KeyEvent) -> Flow {
        if key.kind == KeyEventKind::Release {
            return Flow::Go;
        }
        let has_control = key.modifiers.contains(KeyModifiers::CONTROL);
        if has_control && matches!(key.code, KeyCode::Char('c' | 'C')) {
            return Flow::Quit;
        }
        if self.is_typing {
            self.type_into_filter(key.code);
            return Flow::Go;
        }
        match key.code {
            KeyCode::Char('q' | 'Q') => return Flow::Quit,
            KeyCode::Char('/') => {
                self.is_typing = true;
                self.scroll = 0;
            }
            KeyCode::Char(' ') => self.is_paused = !self.is_paused,
            KeyCode::Char('<') | KeyCode::Left => self.sort = Sort::by(self.sort.column.step(-1)),
            KeyCode::Char('>') | KeyCode::Right => self.sort = Sort::by(self.sort.column.step(1)),
            KeyCode::Char('r') => self.sort.is_reversed = !self.sort.is_reversed,
            KeyCode::Char('+' | '=') => self.set_interval(self.interval * 2),
            KeyCode::Char('-') => self.set_interval(self.interval / 2),
            KeyCode::Esc => self.filter.clear(),
            KeyCode::Up => self.scroll = self.scroll.saturating_sub(1),
            KeyCode::Down => self.scroll = self.scroll.saturating_add(1),
            KeyCode::PageUp => self.scroll = self.scroll.saturating_sub(PAGE),
            KeyCode::PageDown => self.scroll = self.scroll.saturating_add(PAGE),
            KeyCode::Home => self.scroll = 0,
            KeyCode::End => self.scroll = usize::MAX,
            _ => {}
        }
        Flow::Go
    }

    fn type_into_filter(&mut self, key: KeyCode) {
        match key {
            KeyCode::Enter => self.is_typing = false,
            KeyCode::Esc => {
                self.is_typing = false;
                self.filter.clear();
            }
            KeyCode::Backspace => drop(self.filter.pop()),
            KeyCode::Char(c) if !c.is_control() => self.filter.push(c),
            _ => {}
        }
    }

    fn set_interval(&mut self, interval: Duration) {
        self.interval = interval.clamp(INTERVALS.0, INTERVALS.1);
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{app, statuses};
    use super::*;

    fn press(app: &mut App, keys: &str) -> Flow {
        let mut flow = Flow::Go;
        for c in keys.chars() {
            let code = match c {
                '\n' => KeyCode::Enter,
                '\u{1b}' => KeyCode::Esc,
                '\u{8}' => KeyCode::Backspace,
                c => KeyCode::Char(c),
            };
            flow = app.key(KeyEvent::from(code));
        }
        flow
    }

    #[test]
    fn q_and_control_c_end_but_q_can_be_typed() {
        let mut app = app();
        assert_eq!(press(&mut app, "x"), Flow::Go);
        assert_eq!(press(&mut app, "q"), Flow::Quit);
        assert_eq!(press(&mut app, "/q"), Flow::Go);
        let control_c = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        assert_eq!(app.key(control_c), Flow::Quit);
        assert_eq!(app.filter, "q");
    }

    #[test]
    fn a_filter_is_typed_corrected_kept_and_dropped() {
        let mut app = app();
        press(&mut app, "/ab\u{8}c\n");
        assert_eq!((app.filter.as_str(), app.is_typing), ("ac", false));
        press(&mut app, "/ r");
        assert_eq!(app.filter, "ac r");
        press(&mut app, "\u{1b}");
        assert_eq!((app.filter.as_str(), app.is_typing), ("", false));
    }

    #[test]
    fn a_pause_keeps_what_is_shown_until_it_is_over() {
        let mut app = app();
        let (earlier, mut later) = statuses();
        let shown = app.sample.clone();
        press(&mut app, " ");
        later.time_seconds += 2.0;
        app.heard(Ok(later.clone()));
        assert_eq!(app.sample, shown);
        press(&mut app, " ");
        later.time_seconds += 2.0;
        app.heard(Ok(later));
        assert_ne!(app.sample, shown);
        drop(earlier);
    }

    #[test]
    fn a_gateway_that_does_not_answer_is_away_and_what_it_said_stays_until_it_is_back() {
        let mut app = app();
        app.heard(Err("gone".to_owned()));
        assert_eq!(app.away.as_deref(), Some("gone"));
        assert!(app.sample.is_some());
        let (earlier, later) = statuses();
        let shown = app.sample.clone();
        app.heard(Ok(later));
        assert_eq!((app.away.as_ref(), &app.sample), (None, &shown));
        drop(earlier);
    }

    #[test]
    fn keys_choose_order_interval_and_place() {
        let mut app = app();
        press(&mut app, ">r");
        assert_eq!(app.sort.column, Column::P50);
        assert!(!app.sort.is_falling());
        // Another column begins in its own order.
        press(&mut app, "<");
        assert_eq!(app.sort, Sort::by(Column::Rate));
        press(&mut app, "++++++");
        assert_eq!(app.interval, INTERVALS.1);
        press(&mut app, "----------");
        assert_eq!(app.interval, INTERVALS.0);
        app.key(KeyEvent::from(KeyCode::PageDown));
        app.key(KeyEvent::from(KeyCode::Down));
        assert_eq!(app.scroll, PAGE + 1);
        app.key(KeyEvent::from(KeyCode::PageUp));
        assert_eq!(app.scroll, 1);
        app.key(KeyEvent::from(KeyCode::Home));
        assert_eq!(app.scroll, 0);
    }
}
