//! The lines to NATS: each has at most one connection, makes another when that is gone, and keeps
//! what waits for one. A session always uses the same line, so its requests keep their order.

use std::sync::Arc;
use std::task::Context;

use tokio::sync::mpsc::UnboundedSender;

use super::backoff::Backoff;
use super::connection::Connection;
use super::dial::{Dial, Dialed};
use super::failure::{Cause, Failure, without_userinfo};
use super::held::Queue;
use super::inbox::Inbox;
use super::outstanding::Serial;
use crate::clock::Nanos;
use crate::health::{LineHealth, LineState, NatsHealth, Up};
use crate::metrics::nats::NatsMetrics;
use crate::settings::NatsSettings;

/// Nanoseconds after which a connection counts as having worked, so that the wait before the next
/// attempt starts from the shortest again. A server that throws us out at once is not hammered.
const PROVEN_NS: u64 = 1_000_000_000;

/// One line.
#[derive(Debug, Default)]
pub(super) struct Line {
    /// What waits for a connection or for room in it.
    pub(super) queue: Queue,
    pub(super) connection: Option<Connection>,
    is_dialing: bool,
    retry_at: Nanos,
    attempt: u32,
    url: usize,
    /// Whether settings have changed since the present attempt began.
    is_outdated: bool,
}

impl Line {
    fn wants_to_dial(&self) -> bool {
        !self.is_dialing && self.connection.as_ref().is_none_or(|c| c.is_lame)
    }

    fn is_up(&self) -> bool {
        self.connection.as_ref().is_some_and(|c| !c.has_ended)
    }

    fn state(&self) -> LineState {
        match &self.connection {
            Some(connection) if connection.is_lame => LineState::Leaving,
            Some(_) => LineState::Connected,
            None if self.is_dialing => LineState::Connecting,
            None => LineState::Waiting,
        }
    }
}

/// All lines, and the connections whose server is about to end.
pub(super) struct Pool {
    settings: Arc<NatsSettings>,
    boot: String,
    pub(super) lines: Vec<Line>,
    pub(super) retiring: Vec<Connection>,
    next_serial: Serial,
    backoff: Backoff,
    dialed: UnboundedSender<Dialed>,
    health: Arc<NatsHealth>,
    metrics: Arc<NatsMetrics>,
}

impl Pool {
    pub(super) fn new(
        settings: Arc<NatsSettings>,
        boot: String,
        dialed: UnboundedSender<Dialed>,
        health: Arc<NatsHealth>,
        metrics: Arc<NatsMetrics>,
        seed: u64,
    ) -> Self {
        let count = settings.connections.max(1);
        health.set_configured(u32::try_from(count).unwrap_or(u32::MAX));
        let line = |url| Line {
            url,
            ..Line::default()
        };
        Self {
            boot,
            lines: (0..count).map(line).collect(),
            retiring: Vec::new(),
            next_serial: 0,
            backoff: Backoff::new(settings.reconnect, seed),
            settings,
            dialed,
            health,
            metrics,
        }
    }

    /// The line of a session's requests.
    pub(super) fn line_of(&self, session: u32) -> usize {
        usize::try_from(session).unwrap_or(0) % self.lines.len().max(1)
    }

    /// The connection of a line, or that of the next line that has one.
    pub(super) fn choose(&mut self, line: usize) -> Option<&mut Connection> {
        let up = (line..self.lines.len())
            .chain(0..line)
            .find(|&index| self.lines.get(index).is_some_and(Line::is_up))?;
        self.lines.get_mut(up)?.connection.as_mut()
    }

    /// Whether there is a connection.
    pub(super) fn is_up(&self) -> bool {
        self.lines.iter().any(|line| line.connection.is_some())
    }

    /// Requests that wait in all lines.
    pub(super) fn held(&self) -> usize {
        self.lines.iter().map(|line| line.queue.len()).sum()
    }

    /// Every connection, those that retire included.
    pub(super) fn connections(&mut self) -> impl Iterator<Item = &mut Connection> {
        self.lines
            .iter_mut()
            .filter_map(|line| line.connection.as_mut())
            .chain(&mut self.retiring)
    }

    /// The connection with this number.
    pub(super) fn connection(&mut self, serial: Serial) -> Option<&mut Connection> {
        self.connections().find(|c| c.serial() == serial)
    }

    /// A connection that is known to have ended.
    pub(super) fn ended(&mut self) -> Option<&mut Connection> {
        self.connections().find(|c| c.has_ended)
    }

    /// Largest body, in bytes, that every connection takes.
    pub(super) fn max_payload(&mut self) -> Option<u32> {
        let smallest = self.connections().map(|c| c.max_payload()).min()?;
        Some(u32::try_from(smallest).unwrap_or(u32::MAX))
    }

    /// Starts the attempts that are due.
    pub(super) fn dial(&mut self, now: Nanos) {
        let mut started = false;
        for (index, line) in self.lines.iter_mut().enumerate() {
            if !line.wants_to_dial() || line.retry_at > now {
                continue;
            }
            let urls = &self.settings.urls;
            let Some(url) = urls.get(line.url % urls.len().max(1)) else {
                continue;
            };
            self.next_serial = self.next_serial.wrapping_add(1);
            line.is_dialing = true;
            let dial = Dial {
                settings: Arc::clone(&self.settings),
                url: url.clone(),
                line: index,
                serial: self.next_serial,
                inbox: Inbox::new(&self.settings.inbox_prefix, &self.boot, self.next_serial),
                ended: self.dialed.clone(),
            };
            dial.start();
            started = true;
        }
        if started {
            self.show_lines();
        }
    }

    /// When the next attempt is due.
    pub(super) fn due(&self) -> Nanos {
        let waiting = self.lines.iter().filter(|line| line.wants_to_dial());
        waiting
            .map(|line| line.retry_at)
            .min()
            .unwrap_or(Nanos::NEVER)
    }

    /// When a connection has something to do by itself.
    pub(super) fn connections_due(&self) -> Nanos {
        let lines = self
            .lines
            .iter()
            .filter_map(|line| line.connection.as_ref());
        let dues = lines.chain(&self.retiring).map(Connection::due);
        dues.min().unwrap_or(Nanos::NEVER)
    }

    /// Takes the end of an attempt.
    pub(super) fn dialed(
        &mut self,
        index: usize,
        result: Result<Box<Connection>, Failure>,
        now: Nanos,
    ) {
        let Some(line) = self.lines.get_mut(index) else {
            return;
        };
        line.is_dialing = false;
        let is_outdated = core::mem::take(&mut line.is_outdated);
        match result {
            Ok(mut connection) => {
                connection.since = now;
                if connection.is_lame {
                    // A server that is about to end has let us in: another is asked, and not at once,
                    // in case there is none.
                    line.url = line.url.wrapping_add(1);
                    line.retry_at = now.after(self.backoff.wait(line.attempt));
                    line.attempt = line.attempt.saturating_add(1);
                }
                connection.is_lame |= is_outdated;
                connection.hears_statuses = !is_outdated;
                self.retiring.extend(line.connection.replace(*connection));
                self.metrics.connects.increment();
                tracing::info!(line = index, "connected to NATS");
            }
            Err(Failure { text, cause }) => {
                line.url = line.url.wrapping_add(1);
                line.retry_at = now.after(self.backoff.wait(line.attempt));
                line.attempt = line.attempt.saturating_add(1);
                self.metrics.connect_failures.increment();
                if cause == Cause::Authorization {
                    self.metrics.errors_authorization.increment();
                }
                tracing::warn!(line = index, error = %text, "cannot connect to NATS");
                self.health.set_last_error(text);
            }
        }
        self.publish_state();
    }

    /// Drops the connection with this number, whose end is known, and plans another.
    pub(super) fn end(&mut self, serial: Serial, now: Nanos) {
        let is_it = |connection: &Connection| connection.serial() == serial;
        self.retiring.retain(|connection| !is_it(connection));
        let mut lines = self.lines.iter_mut();
        let Some(line) = lines.find(|line| line.connection.as_ref().is_some_and(is_it)) else {
            return;
        };
        let Some(connection) = line.connection.take() else {
            return;
        };
        if now.since(connection.since) >= PROVEN_NS {
            line.attempt = 0;
        }
        line.url = line.url.wrapping_add(1);
        line.retry_at = now.after(self.backoff.wait(line.attempt));
        line.attempt = line.attempt.saturating_add(1);
        self.metrics.disconnects.increment();
        let reason = connection.complaint.as_deref();
        let reason = reason.unwrap_or("a connection to NATS was lost");
        tracing::warn!(reason, "lost a connection to NATS");
        self.health.set_last_error(reason.to_owned());
        self.publish_state();
    }

    /// Notes that a connection's server will end: another connection is made at once, or later if this
    /// one is young, so that one whose servers all say so is not made without end.
    pub(super) fn lame(&mut self, serial: Serial, now: Nanos) {
        for line in &mut self.lines {
            let its = |it: &&mut Connection| it.serial() == serial && !it.is_lame;
            let Some(connection) = line.connection.as_mut().filter(its) else {
                continue;
            };
            connection.is_lame = true;
            line.url = line.url.wrapping_add(1);
            if now.since(connection.since) >= PROVEN_NS {
                (line.attempt, line.retry_at) = (0, Nanos(0));
            } else {
                line.retry_at = now.after(self.backoff.wait(line.attempt));
                line.attempt = line.attempt.saturating_add(1);
            }
        }
    }

    /// What attempts go by from now on.
    pub(super) fn set_settings(&mut self, settings: Arc<NatsSettings>) {
        self.settings = settings;
    }

    /// Makes a new connection for each that there is or is being made. Each is used until its
    /// successor is there.
    pub(super) fn replace_connections(&mut self) {
        // What they hear is of a subject that is not asked for any more.
        for connection in self.connections() {
            connection.hears_statuses = false;
        }
        for line in &mut self.lines {
            line.is_outdated = line.is_dialing;
            if let Some(connection) = &mut line.connection {
                connection.is_lame = true;
                line.retry_at = Nanos(0);
            }
        }
    }

    fn publish_state(&self) {
        let up = self.lines.iter().filter(|line| line.connection.is_some());
        let up = u32::try_from(up.count()).unwrap_or(u32::MAX);
        self.health.set_connected(up);
        self.metrics.connected.set(up.into());
        self.show_lines();
    }

    /// Measures round trips, and shows the lines with what was measured before.
    pub(super) fn probe(&mut self, cx: &mut Context<'_>, now: Nanos) {
        for line in &mut self.lines {
            if let Some(connection) = &mut line.connection {
                connection.probe(cx, now);
            }
        }
        self.show_lines();
    }

    fn show_lines(&self) {
        let urls = &self.settings.urls;
        let show = |(number, line): (usize, &Line)| {
            let next = urls.get(line.url % urls.len().max(1));
            let next = next.map_or("", |url| without_userinfo(url));
            let far = line.connection.as_ref().map(|connection| &connection.far);
            LineHealth {
                line: number,
                state: line.state(),
                server: far.map_or(next, |far| far.server.as_str()).to_owned(),
                up: line.connection.as_ref().map(|connection| Up {
                    server_name: connection.far.name.clone(),
                    since: connection.since,
                    round_trip_ns: connection.far.round_trip_ns,
                }),
            }
        };
        let lines = self.lines.iter().enumerate();
        self.health.set_lines(lines.map(show).collect());
    }
}
