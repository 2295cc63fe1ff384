//! The files that grow during a run: metrics, latencies and quiescent points.

use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::IntervalLogWriterBuilder;

use crate::evidence::{Evidence, Sink, now};
use crate::series::{Row, Series};

/// The columns of `metrics.csv`. Times of latency and lag are microseconds.
const COLUMNS: &str = "second,phase,sent,done,ok,rejected,unknown,given_up,refused,faulty,p50_us,p99_us,\
                       p999_us,max_us,lag_max_us,rss_bytes,pss_bytes,\
                       rss_anon_bytes,rss_shmem_bytes,allocated_bytes,fds,threads,mappings,\
                       cpu_ticks,pid,in_flight,in_flight_limit,\
                       idle_ticks,steal_ticks,server_cpu_ticks,router_cpu_ticks,clients_cpu_ticks";

/// The files.
#[derive(Debug)]
pub(crate) struct Recorder {
    metrics: Sink,
    latency: Sink,
    lag: Sink,
    points: Sink,
}

impl Recorder {
    /// Makes them.
    pub(crate) fn new(evidence: &Evidence) -> Self {
        let recorder = Self {
            metrics: evidence.sink("metrics.csv"),
            latency: evidence.sink("latency.hlog"),
            lag: evidence.sink("generator-lag.hlog"),
            points: evidence.sink("quiescent.jsonl"),
        };
        recorder.metrics.line(COLUMNS);
        recorder
            .latency
            .line(&head("latency in microseconds from when a request was due"));
        recorder.lag.line(&head(
            "microseconds from when a request was due, and could be sent, until it was",
        ));
        recorder
    }

    /// Writes the rows from this one on.
    pub(crate) fn write(&self, series: &Series, from: usize) {
        for row in series.rows.iter().skip(from) {
            let during = |span: &&crate::series::Span| {
                (span.from..=span.to.unwrap_or(u64::MAX)).contains(&row.second)
            };
            let phase = series
                .spans
                .iter()
                .find(during)
                .map_or("load", |span| span.what);
            self.metrics.line(&line(row, phase));
            let [.., max] = row.latency;
            interval(&self.latency, row.second, max, &row.latencies);
            interval(&self.lag, row.second, row.lag, &row.lags);
        }
        if series.rows.len() > from {
            self.metrics.flush();
        }
    }

    /// Writes a quiescent point.
    pub(crate) fn point(&self, line: &str) {
        self.points.line(line);
        self.points.flush();
    }

    /// Hands everything to the files.
    pub(crate) fn flush(&self) {
        for sink in [&self.metrics, &self.latency, &self.lag, &self.points] {
            sink.flush();
        }
    }
}

/// One interval of a second, as the format of `.hlog` has it.
fn interval(sink: &Sink, second: u64, max: u64, histogram: &str) {
    if !histogram.is_empty() {
        sink.line(&format!("{second}.000,1.000,{max}.000,{histogram}"));
    }
}

/// The head of a `.hlog` file, whose intervals count from now.
fn head(comment: &str) -> String {
    let mut bytes = Vec::new();
    let mut serializer = V2DeflateSerializer::new();
    let now = now();
    // Writing to a vector does not fail.
    IntervalLogWriterBuilder::new()
        .add_comment(comment)
        .with_start_time(now)
        .with_base_time(now)
        .begin_log_with(&mut bytes, &mut serializer)
        .map(drop)
        .unwrap_or_default();
    String::from_utf8_lossy(&bytes).trim_end().to_owned()
}

fn line(row: &Row, phase: &str) -> String {
    let [p50, p99, p999, max] = row.latency;
    let mut line = format!(
        "{},{phase},{},{},{},{},{},{},{},{},{p50},{p99},{p999},{max},{}",
        row.second,
        row.sent,
        row.done,
        row.ok,
        row.rejected,
        row.unknown,
        row.given_up,
        row.refused,
        row.faulty,
        row.lag,
    );
    let told = |value: Option<u64>| value.map_or_else(String::new, |value| value.to_string());
    match row.usage {
        Some(usage) => line.push_str(&format!(
            ",{},{},{},{},{},{},{},{},{},{},{},{}",
            usage.resident,
            usage.proportional,
            usage.anonymous,
            usage.shared,
            told(usage.gauges.allocated),
            usage.descriptors,
            usage.threads,
            usage.mappings,
            usage.ticks,
            usage.pid,
            told(usage.gauges.in_flight),
            told(usage.gauges.limit),
        )),
        None => line.push_str(",,,,,,,,,,,,"),
    }
    match row.machine {
        Some(machine) => line.push_str(&format!(
            ",{},{},{},{},{}",
            machine.idle, machine.stolen, machine.server, machine.router, machine.clients
        )),
        None => line.push_str(",,,,,"),
    }
    line
}

#[cfg(test)]
mod tests {
    use hdrhistogram::Histogram;
    use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};

    use super::*;
    use crate::client::{Tick, encode};

    #[test]
    fn the_files_can_be_read_again() {
        let directory = tempfile::tempdir().unwrap();
        let evidence = Evidence::in_directory(directory.path());
        let recorder = Recorder::new(&evidence);
        let mut histogram = Histogram::<u64>::new_with_bounds(1, 60_000_000, 3).unwrap();
        histogram.record(1500).unwrap();
        let mut series = Series::starting(0);
        series.take(&Tick {
            at: 5,
            latency: encode(&histogram),
            ..Tick::default()
        });
        series.finish();
        recorder.write(&series, 0);
        recorder.flush();
        let log = std::fs::read(evidence.directory().join("latency.hlog")).unwrap();
        let entries: Vec<_> = IntervalLogIterator::new(&log).map(Result::unwrap).collect();
        let interval = entries.iter().find_map(|entry| match entry {
            LogEntry::Interval(interval) => Some(interval),
            _ => None,
        });
        assert_eq!(interval.unwrap().max(), 1500.0);
        let text = interval.unwrap().encoded_histogram();
        assert_eq!(crate::client::decode(text).unwrap().max(), 1500);
        let metrics = std::fs::read_to_string(evidence.directory().join("metrics.csv")).unwrap();
        let columns: Vec<usize> = metrics
            .lines()
            .map(|line| line.split(',').count())
            .collect();
        assert_eq!(columns, [32, 32]);
        assert_eq!(evidence.failures().0, 0);
    }
}
