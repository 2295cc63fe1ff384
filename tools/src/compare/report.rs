//! What is printed: a table for people, or one JSON document with every round.

use core::fmt::Write as _;

use serde::Serialize;

use crate::figures::{Best, Comparison, Ratios, Summary};
use crate::job::Kind;
use crate::machine::Machine;
use crate::stats::Spread;

/// Everything that was measured.
#[derive(Debug, Serialize)]
pub(crate) struct Document {
    pub(crate) machine: Machine,
    pub(crate) rounds: usize,
    /// Of each run, counted.
    pub(crate) seconds: f64,
    pub(crate) warmup: f64,
    pub(crate) cells: Vec<Comparison>,
    pub(crate) best: Vec<Best>,
}

impl Document {
    /// The table.
    pub(crate) fn text(&self) -> String {
        let mut out = format!(
            "{}\n{} rounds of {} s after {} s; medians, spread in brackets; latency in us; CPU in \
             seconds per million requests; probe: cache-line round trip in ns\n",
            self.machine.text(),
            self.rounds,
            self.seconds,
            self.warmup
        );
        for cell in &self.cells {
            out.push_str(&table(cell));
        }
        for best in &self.best {
            writeln!(
                out,
                "\n{} B, one client, best window of each: gateway {} / iceoryx2 {} = {:.2}",
                best.payload,
                grouped(best.of),
                grouped(best.to),
                best.ratio
            )
            .ok();
        }
        out
    }
}

/// One cell.
fn table(comparison: &Comparison) -> String {
    let cell = comparison.cell;
    let clients = if cell.clients == 1 {
        "client"
    } else {
        "clients"
    };
    let mut out = format!(
        "\n{} B, {} {clients} x {} in flight{}\n",
        cell.payload,
        cell.clients,
        cell.window,
        kind_text(comparison.kind)
    );
    let head = [
        "contender",
        "requests/s",
        "(min - max)",
        "p50",
        "p99",
        "p99.9",
        "clients",
        "gateway",
        "server",
        "responder",
        "CPU total",
        "probe",
    ];
    out.push_str(&line(&head.map(str::to_owned)));
    for summary in &comparison.contenders {
        out.push_str(&line(&row(summary)));
    }
    for ratios in &comparison.ratios {
        out.push_str(&ratio_line(ratios));
    }
    for to_probe in &comparison.to_probe {
        writeln!(
            out,
            "  p50 of {:<17} / {}: {}",
            to_probe.contender,
            to_probe.probe,
            bracketed(&to_probe.ratio, 2)
        )
        .ok();
    }
    out
}

const fn kind_text(kind: Kind) -> &'static str {
    match kind {
        Kind::Steady => "",
        Kind::Spinning => ", both sides spinning on a core each",
        Kind::Asleep => ", a request every 2 ms, both sides asleep; probe: one wake-up",
    }
}

fn row(summary: &Summary) -> [String; 12] {
    let cpu = summary.cpu;
    let role = |time: Option<f64>| time.map_or_else(|| "-".to_owned(), figure);
    let rate = summary.rate;
    [
        summary.contender.clone(),
        grouped(rate.median),
        format!("({} - {})", grouped(rate.min), grouped(rate.max)),
        figure(summary.p50_us.median),
        figure(summary.p99_us.median),
        figure(summary.p999_us.median),
        figure(cpu.clients),
        role(cpu.gateway),
        role(cpu.server),
        role(cpu.responder),
        figure(cpu.total),
        format!("{:.0}", summary.probe_ns.median),
    ]
}

fn ratio_line(ratios: &Ratios) -> String {
    format!(
        "  {} / {:<17} rate {}  CPU {}  p50 {}  p99 {}\n",
        ratios.of,
        ratios.to,
        bracketed(&ratios.rate, 2),
        bracketed(&ratios.cpu, 2),
        bracketed(&ratios.p50, 2),
        bracketed(&ratios.p99, 2)
    )
}

/// Columns: names to the left, figures to the right.
fn line(columns: &[String; 12]) -> String {
    const WIDTHS: [usize; 12] = [18, 11, 25, 9, 9, 9, 9, 9, 9, 10, 10, 7];
    let mut out = String::new();
    for (index, (column, width)) in columns.iter().zip(WIDTHS).enumerate() {
        if index == 0 {
            write!(out, "{column:<width$}").ok();
        } else {
            write!(out, "{column:>width$}").ok();
        }
    }
    out.push('\n');
    out
}

fn bracketed(spread: &Spread, digits: usize) -> String {
    format!(
        "{:.digits$} ({:.digits$} - {:.digits$})",
        spread.median, spread.min, spread.max
    )
}

/// Three significant digits or all before the point.
fn figure(value: f64) -> String {
    let digits = match value {
        100.0.. => 0,
        10.0.. => 1,
        _ => 2,
    };
    format!("{value:.digits$}")
}

/// A whole number with commas.
fn grouped(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::tests::figures;
    use crate::figures::{Cell, Summary};

    #[test]
    fn numbers_are_short_and_grouped() {
        let cases = [
            (0.0, "0"),
            (999.4, "999"),
            (1000.0, "1,000"),
            (1_234_567.0, "1,234,567"),
        ];
        for (value, text) in cases {
            assert_eq!(grouped(value), text);
        }
        let short = [0.123, 9.994, 12.34, 99.94, 1234.5].map(figure);
        assert_eq!(short, ["0.12", "9.99", "12.3", "99.9", "1234"]);
    }

    #[test]
    fn a_table_has_a_line_for_each_contender_and_ratio() {
        let summary = |name, rate| Summary::new(name, vec![figures(rate)]);
        let cell = Cell {
            payload: 256,
            clients: 4,
            window: 16,
        };
        let contenders = vec![summary("raw", 400_000.0), summary("gateway", 300_000.0)];
        let text = table(&Comparison::new(cell, Kind::Steady, contenders, "gateway"));
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[1], "256 B, 4 clients x 16 in flight");
        let columns = lines[2..5].iter().map(|line| line.chars().count());
        assert!(
            columns
                .clone()
                .all(|width| width == columns.clone().next().unwrap())
        );
        assert!(lines[3].starts_with("raw ") && lines[3].contains("400,000"));
        assert!(lines[5].contains("gateway / raw") && lines[5].contains("rate 0.75 "));
        assert_eq!(lines.len(), 6);
    }
}
