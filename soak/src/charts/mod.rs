//! Charts of a run for people: throughput, latency, memory, descriptors and threads over time, with
//! marks where something was broken or paused. The same picture as PNG and as SVG. What is drawn is in
//! `panels`; here is how.

mod panels;

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::{FontStyle, register_font};

use crate::series::{Series, Span};
use panels::{Panel, number, panels};

/// Pixels.
const SIZE: (u32, u32) = (1600, 2520);
const HEAD: u32 = 92;
/// The font of the PNG; see its licence beside it.
const FONT: &[u8] = include_bytes!("../../assets/DejaVuSans-subset.ttf");

const INK: RGBColor = RGBColor(45, 52, 60);
const GRID: RGBColor = RGBColor(225, 229, 233);
const PAUSE: RGBColor = RGBColor(150, 158, 168);

/// The colours of faults, in the order in which they occur first.
const MARKS: [RGBColor; 8] = [
    RGBColor(228, 87, 86),
    RGBColor(245, 166, 35),
    RGBColor(120, 94, 190),
    RGBColor(84, 162, 75),
    RGBColor(65, 150, 200),
    RGBColor(214, 110, 170),
    RGBColor(150, 110, 70),
    RGBColor(110, 125, 0),
];

/// The picture as PNG is made at `png`; returned is the SVG.
pub(crate) fn draw(series: &Series, title: &str, png: &std::path::Path) -> Result<String, String> {
    register_font("sans-serif", FontStyle::Normal, FONT).map_err(|_| "the font is broken")?;
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        picture(&root, series, title)?;
        root.present().map_err(|error| error.to_string())?;
    }
    let root = BitMapBackend::new(png, SIZE).into_drawing_area();
    picture(&root, series, title)?;
    root.present().map_err(|error| error.to_string())?;
    Ok(svg)
}

fn picture<B: DrawingBackend>(
    root: &DrawingArea<B, Shift>,
    series: &Series,
    title: &str,
) -> Result<(), String> {
    root.fill(&WHITE).map_err(|error| error.to_string())?;
    let (head, body) = root.split_vertically(HEAD);
    let kinds = kinds(&series.spans);
    headline(&head, title, &kinds)?;
    let panels = panels(&series.rows);
    let areas = body.split_evenly((panels.len(), 1));
    #[expect(clippy::cast_precision_loss, reason = "seconds of a run")]
    let minutes = (series.rows.len().max(2) as f64) / 60.0;
    for (panel, area) in panels.iter().zip(&areas) {
        let points = || panel.lines.iter().flat_map(|line| &line.points);
        let most = points().map(|point| point.1).fold(0.0, f64::max).max(1e-3);
        let least = points()
            .map(|point| point.1)
            .filter(|value| *value > 0.0)
            .fold(most, f64::min);
        let room = Room {
            area,
            panel,
            spans: &series.spans,
            kinds: &kinds,
            minutes,
        };
        if panel.is_logarithmic {
            let (from, to) = (least * 0.7, most * 3.0);
            room.draw((from..to).log_scale(), (from, to))?;
        } else {
            let from = if panel.from_zero { 0.0 } else { least * 0.8 };
            // Room for the legend.
            let to = most * 1.3;
            room.draw(from..to, (from, to))?;
        }
    }
    Ok(())
}

/// Title, and what the marks mean.
fn headline<B: DrawingBackend>(
    area: &DrawingArea<B, Shift>,
    title: &str,
    kinds: &[(&'static str, RGBColor)],
) -> Result<(), String> {
    let text = |size: i32| ("sans-serif", size).into_font().color(&INK);
    let fail = |error: DrawingAreaErrorKind<B::ErrorType>| error.to_string();
    area.draw_text(title, &text(28), (24, 18)).map_err(fail)?;
    let mut x = 26;
    for (name, colour) in kinds {
        let mark = Rectangle::new([(x, 62), (x + 16, 78)], colour.mix(0.75).filled());
        area.draw(&mark).map_err(fail)?;
        area.draw_text(name, &text(17), (x + 23, 61))
            .map_err(fail)?;
        x += 60 + 9 * i32::try_from(name.len()).unwrap_or(0);
    }
    Ok(())
}

/// Where a panel goes, and what it shows.
struct Room<'a, B: DrawingBackend> {
    area: &'a DrawingArea<B, Shift>,
    panel: &'a Panel,
    spans: &'a [Span],
    kinds: &'a [(&'static str, RGBColor)],
    minutes: f64,
}

impl<B: DrawingBackend> Room<'_, B> {
    fn draw<Y>(&self, y: Y, (from, to): (f64, f64)) -> Result<(), String>
    where
        Y: plotters::coord::ranged1d::AsRangedCoord<Value = f64>,
        Y::CoordDescType: Ranged<ValueType = f64> + plotters::coord::ranged1d::ValueFormatter<f64>,
    {
        let fail = |error: DrawingAreaErrorKind<B::ErrorType>| error.to_string();
        let text = |size: i32| ("sans-serif", size).into_font().color(&INK);
        let mut chart = ChartBuilder::on(self.area)
            .caption(self.panel.title, text(21))
            .margin_left(14)
            .margin_right(28)
            .margin_bottom(8)
            .x_label_area_size(46)
            .y_label_area_size(104)
            .build_cartesian_2d(0.0..self.minutes, y)
            .map_err(fail)?;
        chart
            .configure_mesh()
            .x_desc("minutes since the start of the load")
            .y_desc(self.panel.unit)
            .x_labels(14)
            .y_labels(7)
            .x_label_formatter(&|minutes| trim(*minutes))
            .y_label_formatter(&|value| trim(*value))
            .bold_line_style(GRID)
            .light_line_style(TRANSPARENT)
            .axis_style(INK.mix(0.6))
            .label_style(text(16))
            .axis_desc_style(text(16))
            .draw()
            .map_err(fail)?;
        // A mark of a second must be seen in a run of hours.
        let least = self.minutes / 500.0;
        let marks = self.spans.iter().map(|span| {
            let (from_x, to_x) = edges(span, least, self.minutes);
            let colour = self.kinds.iter().find(|kind| kind.0 == span.what);
            let colour = colour.map_or(PAUSE, |kind| kind.1);
            Rectangle::new([(from_x, from), (to_x, to)], colour.mix(0.3).filled())
        });
        chart.draw_series(marks).map_err(fail)?;
        for line in &self.panel.lines {
            let style = line.colour.stroke_width(2);
            let floor = from;
            let points = line
                .points
                .iter()
                .map(|point| (point.0, point.1.max(floor)));
            chart
                .draw_series(LineSeries::new(points, style))
                .map_err(fail)?
                .label(line.name)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 22, y)], style));
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperRight)
            .background_style(WHITE.mix(0.85))
            .border_style(GRID)
            .label_font(text(16))
            .draw()
            .map_err(fail)
    }
}

/// The kinds of marks in the order in which they occur first, pauses first of all.
fn kinds(spans: &[Span]) -> Vec<(&'static str, RGBColor)> {
    let mut kinds: Vec<(&'static str, RGBColor)> = Vec::new();
    let mut colours = MARKS.iter().cycle();
    for span in spans {
        if kinds.iter().any(|kind| kind.0 == span.what) {
            continue;
        }
        if span.what == "quiescent" {
            kinds.insert(0, (span.what, PAUSE));
        } else {
            kinds.push((span.what, colours.next().copied().unwrap_or(PAUSE)));
        }
    }
    kinds
}

/// From when to when a mark is drawn, in minutes.
fn edges(span: &Span, least: f64, end: f64) -> (f64, f64) {
    let from = number(span.from) / 60.0;
    let to = number(span.to.unwrap_or(span.from) + 1) / 60.0;
    (from.min(end), to.max(from + least).min(end))
}

/// A number as short as it can be read.
fn trim(value: f64) -> String {
    if value.abs() >= 10_000.0 {
        return format!("{:.0}k", value / 1000.0);
    }
    let text = if value.abs() >= 100.0 {
        format!("{value:.0}")
    } else {
        format!("{value:.2}")
    };
    match text.split_once('.') {
        Some(_) => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Tick;

    #[test]
    fn a_picture_has_its_titles_units_and_marks() {
        let mut series = Series::starting(0);
        for second in 0..120 {
            let mut tick = Tick {
                at: second * 1_000_000_000,
                ..Tick::default()
            };
            tick.account.codes.insert("OK".to_owned(), 1000);
            series.take(&tick);
        }
        series.begin("lame duck", 4, 30_000_000_000);
        series.end("lame duck", 33_000_000_000);
        series.finish();
        let directory = tempfile::tempdir().unwrap();
        let png = directory.path().join("charts.png");
        let svg = draw(&series, "a title of its own", &png).unwrap();
        for text in [
            "a title of its own",
            "lame duck",
            "answered OK",
            "completions per second",
            "minutes since the start",
            "MiB",
            "taken by the host",
        ] {
            assert!(svg.contains(text), "{text}");
        }
        let bytes = std::fs::read(&png).unwrap();
        assert!(bytes.starts_with(b"\x89PNG") && bytes.len() > 20_000);
    }

    #[test]
    fn a_run_without_a_second_is_drawn_too() {
        let directory = tempfile::tempdir().unwrap();
        draw(
            &Series::default(),
            "nothing",
            &directory.path().join("x.png"),
        )
        .unwrap();
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!(trim(0.5), "0.5");
        assert_eq!(trim(20.0), "20");
        assert_eq!(trim(12_000.0), "12k");
        assert_eq!(trim(1250.0), "1250");
    }
}
