//! What is seen: the state as lines, and lines on the screen.
//!
//! ```text
//!  head        the gateway, sums, outcomes
//!  workers, connections to NATS, routes
//!  sessions    takes the rest, and scrolls
//!  help
//! ```

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Color, Style, Stylize as _};
use ratatui::text::{Line, Span};

use super::app::App;
use super::figures::{NONE, age, clean, count, percent, rate, time};
use super::grid::{Grid, Side};
use super::sample::Sample;
use super::sessions::{Column, arrange};

type Lines = Vec<Line<'static>>;

/// Lines of each of workers, connections and routes that are shown when there are more than the
/// screen has room for, titles included.
const FEW: usize = 3;
/// Lines that the table of sessions has at least.
const TABLE: usize = 5;

/// Everything as text, without a screen's limits: a line for each, without codes for a terminal.
pub(super) fn text(app: &App) -> String {
    let mut lines = head(app);
    if let Some(sample) = &app.sample {
        lines.extend(sections(sample).into_iter().flatten());
        lines.extend(sessions(app, sample));
    }
    let lines = lines.iter().map(|line| {
        let text: String = line
            .spans
            .iter()
            .map(|span| span.content.as_ref())
            .collect();
        text.trim_end().to_owned()
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Everything on a screen of this size. What is scrolled too far is drawn back.
pub(super) fn draw(buffer: &mut Buffer, area: Rect, app: &mut App) {
    let height = usize::from(area.height);
    let mut lines = head(app);
    if let Some(sample) = &app.sample {
        let sections = sections(sample);
        let all: usize = sections.iter().map(Vec::len).sum();
        let is_tight = lines.len() + all + TABLE + 1 > height;
        for section in sections {
            lines.extend(if is_tight { few(section) } else { section });
        }
        let mut rows = sessions(app, sample).into_iter();
        lines.extend(rows.by_ref().take(2));
        // The last line is for the keys.
        let room = height.saturating_sub(lines.len() + 1).max(1);
        app.scroll = app.scroll.min(rows.len().saturating_sub(room));
        lines.extend(rows.skip(app.scroll));
    }
    lines.truncate(height.saturating_sub(1));
    let mut rows = area.rows();
    for (line, row) in lines.iter().zip(rows.by_ref()) {
        buffer.set_line(row.x, row.y, line, row.width);
    }
    if let Some(row) = area.rows().next_back() {
        buffer.set_line(row.x, row.y, &help(app), row.width);
    }
}

/// The first lines, and how many were left out.
fn few(mut section: Lines) -> Lines {
    // An empty line, the titles, and rows.
    let most = 1 + FEW;
    if section.len() > most {
        let hidden = section.len() - most + 1;
        section.truncate(most - 1);
        section.push(Line::from(format!("and {hidden} more").dim()));
    }
    section
}

fn head(app: &App) -> Lines {
    let mut lines = vec![title(app)];
    let Some(sample) = &app.sample else {
        if app.away.is_none() {
            lines.push(Line::from("measuring"));
        }
        return lines;
    };
    let totals = &sample.totals;
    let mut sums = Grid::new([
        ("COMPLETED/S", Side::Right),
        ("ANSWERED/S", Side::Right),
        ("REJECTED/S", Side::Right),
        ("UNKNOWN/S", Side::Right),
        ("IN FLIGHT", Side::Right),
        ("P50", Side::Right),
        ("P99", Side::Right),
        ("COMPLETED", Side::Right),
    ]);
    let alarming = |rate_of: f64, color| {
        let style = if rate_of > 0.0 {
            Style::new().fg(color)
        } else {
            Style::new()
        };
        Span::styled(rate(rate_of), style)
    };
    sums.push([
        Span::from(rate(totals.completed_per_second)).bold(),
        Span::from(rate(totals.answered_per_second)),
        alarming(totals.rejected_per_second, Color::Yellow),
        alarming(totals.unknown_per_second, Color::Red),
        Span::from(count(totals.now.in_flight)),
        Span::from(time(totals.now.p50_seconds)),
        Span::from(time(totals.now.p99_seconds)),
        Span::from(count(totals.now.completed)),
    ]);
    lines.extend(sums.lines());
    let codes = totals.now.codes.iter().zip(&totals.codes_per_second);
    let mut codes: Vec<_> = codes.filter(|(_, rate)| **rate > 0.0).collect();
    codes.sort_by(|a, b| b.1.total_cmp(a.1));
    let codes = codes.into_iter().map(|(code, per_second)| {
        let text = format!("{} {}/s  ", clean(&code.code), rate(*per_second));
        match code.outcome.as_str() {
            "rejected" => text.yellow(),
            "unknown" => text.red(),
            _ => Span::from(text),
        }
    });
    lines.push(codes.collect());
    lines
}

fn title(app: &App) -> Line<'static> {
    let mut spans = vec!["ipc-gateway".bold()];
    if let Some(sample) = &app.sample {
        let gateway = &sample.gateway;
        let up = age(gateway.uptime_seconds);
        let about = format!(
            " {}  pid {}  up {up}  ",
            clean(&gateway.version),
            gateway.pid
        );
        spans.push(Span::from(about));
        if app.away.is_none() {
            let reason = clean(gateway.reason.as_deref().unwrap_or_default());
            spans.push(match (gateway.live, gateway.ready, gateway.draining) {
                (false, ..) => format!("not alive: {reason}").red().bold(),
                (_, _, true) => "draining".yellow().bold(),
                (_, true, _) => "ready".green(),
                _ => format!("not ready: {reason}").red().bold(),
            });
        }
    }
    if let Some(reason) = &app.away {
        let text = format!("  not reachable: {}; trying again", clean(reason));
        spans.push(text.red().bold());
    }
    if app.is_paused {
        spans.push("  PAUSED".yellow().bold());
    }
    Line::from(spans)
}

/// Workers, connections and routes: an empty line, titles, rows.
fn sections(sample: &Sample) -> [Lines; 3] {
    let begun = |grid: Grid| {
        let mut lines = vec![Line::default()];
        lines.extend(grid.lines());
        lines
    };
    let connections = sample.nats.as_ref().map(|_| begun(connections(sample)));
    [
        begun(workers(sample)),
        connections.unwrap_or_default(),
        begun(routes(sample)),
    ]
}

fn workers(sample: &Sample) -> Grid {
    let mut grid = Grid::new([
        ("WORKER", Side::Right),
        ("BUSY", Side::Right),
        ("SESSIONS", Side::Right),
        ("IN FLIGHT", Side::Right),
        ("STATE", Side::Left),
    ]);
    for worker in &sample.workers {
        let now = &worker.now;
        let state = match (now.overloaded, now.asleep) {
            (true, _) => "overloaded".yellow(),
            (_, true) => Span::from("asleep"),
            _ => Span::from("awake"),
        };
        grid.push([
            Span::from(now.worker.to_string()),
            Span::from(percent(worker.busy)),
            Span::from(count(now.sessions)),
            Span::from(count(now.in_flight)),
            state,
        ]);
    }
    grid
}

fn connections(sample: &Sample) -> Grid {
    let mut grid = Grid::new([
        ("NATS", Side::Right),
        ("STATE", Side::Left),
        ("SERVER", Side::Left),
        ("NAME", Side::Left),
        ("ROUND TRIP", Side::Right),
        ("UP", Side::Right),
    ]);
    let nats = sample.nats.as_ref();
    for connection in nats.map_or(&[][..], |nats| &nats.connections) {
        let state = clean(&connection.state);
        let state = match state.as_str() {
            "connected" => state.green(),
            "leaving" => state.yellow(),
            _ => state.red(),
        };
        let name = connection.server_name.as_deref().unwrap_or(NONE);
        let up = connection.up_seconds.map_or_else(|| NONE.to_owned(), age);
        grid.push([
            Span::from(connection.connection.to_string()),
            state,
            Span::from(clean(&connection.server)),
            Span::from(clean(name)),
            Span::from(time(connection.round_trip_seconds)),
            Span::from(up),
        ]);
    }
    grid
}

fn routes(sample: &Sample) -> Grid {
    let mut grid = Grid::new([
        ("ROUTE", Side::Left),
        ("BREAKER", Side::Left),
        ("OPENED", Side::Right),
        ("ADMITTED/S", Side::Right),
        ("REJECTED/S", Side::Right),
        ("IN FLIGHT", Side::Right),
        ("LIMIT", Side::Right),
    ]);
    for route in &sample.routes {
        let now = &route.now;
        let breaker = clean(&now.breaker);
        let breaker = match breaker.as_str() {
            "closed" => breaker.green(),
            "open" => breaker.red(),
            _ => breaker.yellow(),
        };
        grid.push([
            Span::from(clean(&now.route)),
            breaker,
            Span::from(count(now.breaker_opens)),
            Span::from(rate(route.admitted_per_second)),
            Span::from(rate(route.rejected_per_second)),
            Span::from(count(now.in_flight)),
            Span::from(count(now.in_flight_limit)),
        ]);
    }
    grid
}

/// An empty line, titles, rows.
fn sessions(app: &App, sample: &Sample) -> Lines {
    let side = |column| match column {
        Column::Command => Side::Left,
        _ => Side::Right,
    };
    let mut grid = Grid::new(Column::ALL.map(|column| (column.title(), side(column))));
    let sorted = Column::ALL.iter().position(|c| *c == app.sort.column);
    let mark = if app.sort.is_falling() { '▾' } else { '▴' };
    grid.mark(sorted.unwrap_or(0), mark);
    for row in arrange(&sample.sessions, &app.filter, app.sort) {
        grid.push(Column::ALL.map(|column| column.cell(row)));
    }
    let mut lines = vec![Line::default()];
    lines.extend(grid.lines());
    lines
}

fn help(app: &App) -> Line<'static> {
    if app.is_typing {
        return Line::from(vec![
            "filter: ".bold(),
            Span::from(format!("{}_", clean(&app.filter))),
            "   enter keeps it, escape drops it".dim(),
        ]);
    }
    let mut spans = Vec::new();
    if !app.filter.is_empty() {
        spans.push(format!("filter: {}   ", clean(&app.filter)).bold());
    }
    let every = format!("every {:?}   ", app.interval);
    spans.push(Span::from(every));
    let keys = "q quit  / filter  space pause  < > sort  r reverse  + - interval  arrows scroll";
    spans.push(keys.dim());
    Line::from(spans)
}

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::super::fixture::{app, statuses};
    use super::*;

    /// The lines of a screen.
    fn screen(app: &mut App, width: u16, height: u16) -> Vec<String> {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        let frame = |frame: &mut ratatui::Frame<'_>| {
            let area = frame.area();
            draw(frame.buffer_mut(), area, app);
        };
        terminal.draw(frame).unwrap();
        let buffer = terminal.backend().buffer().clone();
        let line = |row: Rect| -> String {
            let cells = row
                .columns()
                .map(|cell| buffer[(cell.x, cell.y)].symbol().to_owned());
            cells.collect::<String>().trim_end().to_owned()
        };
        buffer.area.rows().map(line).collect()
    }

    const SCREEN: &str = "\
ipc-gateway 0.1.0  pid 100  up 1h 2m  ready
COMPLETED/S  ANSWERED/S  REJECTED/S  UNKNOWN/S  IN FLIGHT     P50      P99  COMPLETED
      1,050       1,000        50.0          0         55  850 us  12.0 ms     12,345
OK 1,000/s  OVERLOADED 50.0/s

WORKER  BUSY  SESSIONS  IN FLIGHT  STATE
     0   50%         1          0  awake
     1    0%         1          0  awake

NATS  STATE      SERVER                 NAME  ROUND TRIP     UP
   0  connected  nats://127.0.0.1:4222  n1        120 us  1m 0s
   1  waiting    nats://127.0.0.1:4223  -              -      -

ROUTE   BREAKER  OPENED  ADMITTED/S  REJECTED/S  IN FLIGHT  LIMIT
decide  closed        0       1,000           0         55    128
audit   open          2           0        50.0          0      0

SESSION   PID   UID  COMMAND  WORKER  IN FLIGHT  RING  RATE/S▾     P50      P99
      1  4711  1000  trader        1         40   25%      800  900 us  15.0 ms
      2   815  1000  ide           0         15    0%      200  500 us  2.00 ms
      7    12  1001  batch         0          0    0%     50.0       -        -";

    #[test]
    fn a_screen_shows_everything() {
        let mut expected: Vec<String> = SCREEN.lines().map(str::to_owned).collect();
        expected.resize(23, String::new());
        expected.push(
            "every 1s   q quit  / filter  space pause  < > sort  r reverse  + - interval  arrows \
             scroll"
                .to_owned(),
        );
        let shown = screen(&mut app(), 120, 24);
        for (shown, expected) in shown.iter().zip(&expected) {
            assert_eq!(shown, expected);
        }
        assert_eq!(shown.len(), expected.len());
    }

    #[test]
    fn text_is_the_same_without_help_and_without_codes() {
        let text = text(&app());
        assert_eq!(text, SCREEN);
        // The manual shows it as it is.
        assert!(include_str!("../../../docs/OPERATIONS.md").contains(SCREEN));
        assert!(!text.contains('\u{1b}'));
    }

    #[test]
    fn a_low_screen_leaves_out_rows_and_keeps_sessions_and_help() {
        let mut app = app();
        let mut sample = app.sample.take().unwrap();
        let worker = sample.workers[0].clone();
        sample.workers.extend(vec![worker; 6]);
        app.sample = Some(sample);
        let shown = screen(&mut app, 80, 24);
        assert!(shown.iter().any(|line| line == "and 7 more"), "{shown:#?}");
        assert!(
            shown.iter().any(|line| line.contains("trader")),
            "{shown:#?}"
        );
        assert!(shown[23].starts_with("every 1s   q quit"));
        // And with next to no room nothing fails.
        for (width, height) in [(1, 1), (3, 2), (0, 5), (200, 3)] {
            assert_eq!(screen(&mut app, width, height).len(), usize::from(height));
        }
    }

    #[test]
    fn scrolling_moves_the_rows_and_not_their_titles() {
        let mut app = app();
        app.scroll = 2;
        // With room for one row.
        let shown = screen(&mut app, 120, 20);
        let at = shown
            .iter()
            .position(|line| line.starts_with("SESSION"))
            .unwrap();
        assert!(shown[at + 1].contains("batch") && shown[at + 2].starts_with("every"));
    }

    #[test]
    fn a_filter_a_pause_and_a_gateway_that_is_away_are_seen() {
        let mut app = app();
        app.filter = "trad".to_owned();
        app.is_paused = true;
        app.heard(Err("connection refused".to_owned()));
        let shown = screen(&mut app, 160, 24);
        assert!(shown[0].contains("PAUSED") && shown[0].contains("not reachable"));
        assert!(shown[0].contains("connection refused; trying again"));
        assert!(!shown.iter().any(|line| line.contains("batch")));
        assert!(shown[23].starts_with("filter: trad"));
        app.is_typing = true;
        assert!(screen(&mut app, 160, 24)[23].starts_with("filter: trad_"));
    }

    #[test]
    fn before_the_second_answer_it_measures() {
        let mut app = App::new(Column::Rate, Duration::from_secs(1));
        app.heard(Ok(statuses().0));
        assert_eq!(screen(&mut app, 80, 24)[1], "measuring");
    }

    #[test]
    fn what_is_scrolled_too_far_comes_back() {
        let mut app = app();
        // The rows of the table on a screen that has room for two of three.
        let rows = |app: &mut App| -> Vec<String> {
            let lines = screen(app, 120, 21).into_iter();
            let lines = lines
                .skip_while(|line| !line.starts_with("SESSION"))
                .skip(1);
            let names = lines.filter_map(|line| Some(line.split_whitespace().nth(3)?.to_owned()));
            names
                .filter(|name| ["trader", "ide", "batch"].contains(&name.as_str()))
                .collect()
        };
        assert_eq!(rows(&mut app), ["trader", "ide"]);
        app.scroll = usize::MAX;
        assert_eq!(rows(&mut app), ["ide", "batch"]);
        assert_eq!(app.scroll, 1);
        // Fewer rows are left than were scrolled away.
        "trader".clone_into(&mut app.filter);
        assert_eq!(rows(&mut app), ["trader"]);
        assert_eq!(app.scroll, 0);
    }
}
