//! Columns of text as wide as what stands in them.

use ratatui::style::{Style, Stylize as _};
use ratatui::text::{Line, Span};

/// Where a cell's text stands in its column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// Names.
    Left,
    /// Numbers.
    Right,
}

/// What is between two columns.
const GAP: usize = 2;

/// A table: titles, and rows of as many cells, each with its style.
#[derive(Debug)]
pub(super) struct Grid {
    sides: Vec<Side>,
    rows: Vec<Vec<Span<'static>>>,
}

impl Grid {
    /// A table with these columns and no rows yet.
    pub(super) fn new<'t, I: IntoIterator<Item = (&'t str, Side)>>(columns: I) -> Self {
        let (mut titles, mut sides) = (Vec::new(), Vec::new());
        for (title, side) in columns {
            titles.push(Span::from(title.to_owned()).bold());
            sides.push(side);
        }
        Self {
            sides,
            rows: vec![titles],
        }
    }

    /// Marks the title of a column.
    pub(super) fn mark(&mut self, column: usize, mark: char) {
        let title = self.rows.first_mut().and_then(|row| row.get_mut(column));
        if let Some(title) = title {
            title.content.to_mut().push(mark);
        }
    }

    /// Adds a row.
    pub(super) fn push<S: Into<Span<'static>>, I: IntoIterator<Item = S>>(&mut self, cells: I) {
        self.rows.push(cells.into_iter().map(Into::into).collect());
    }

    /// The titles and the rows as lines.
    pub(super) fn lines(self) -> Vec<Line<'static>> {
        let Self { sides, rows } = self;
        let width = |column: usize| {
            let cells = rows.iter().filter_map(|row| row.get(column));
            cells.map(Span::width).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..sides.len()).map(width).collect();
        let line = |row: Vec<Span<'static>>| {
            let mut spans = Vec::new();
            for ((cell, side), width) in row.into_iter().zip(&sides).zip(&widths) {
                let room = " ".repeat(width.saturating_sub(cell.width()));
                let room = Span::styled(room, Style::new());
                match side {
                    Side::Left => spans.extend([cell, room]),
                    Side::Right => spans.extend([room, cell]),
                }
                spans.push(Span::from(" ".repeat(GAP)));
            }
            Line::from(spans)
        };
        rows.into_iter().map(line).collect()
    }
}
