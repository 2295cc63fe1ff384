//! Families of the `OpenMetrics` text, written one after the other.

use core::fmt;

use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;

use super::latency::Histogram;

/// Writes one family after the other.
pub(super) struct Out<'a>(DescriptorEncoder<'a>);

impl<'a> Out<'a> {
    pub(super) const fn new(encoder: DescriptorEncoder<'a>) -> Self {
        Self(encoder)
    }

    fn family(
        &mut self,
        name: &'static str,
        help: &str,
        kind: MetricType,
    ) -> Result<MetricEncoder<'_>, fmt::Error> {
        self.0.encode_descriptor(name, help, None, kind)
    }

    pub(super) fn counter(&mut self, name: &'static str, help: &str, value: u64) -> fmt::Result {
        let mut metric = self.family(name, help, MetricType::Counter)?;
        metric.encode_counter::<NoLabelSet, _, u64>(&value, None)
    }

    pub(super) fn seconds(&mut self, name: &'static str, help: &str, nanos: u64) -> fmt::Result {
        let unit = Unit::Seconds;
        let mut metric = self
            .0
            .encode_descriptor(name, help, Some(&unit), MetricType::Counter)?;
        metric.encode_counter::<NoLabelSet, _, u64>(&seconds(nanos), None)
    }

    pub(super) fn gauge(&mut self, name: &'static str, help: &str, value: u64) -> fmt::Result {
        let mut metric = self.family(name, help, MetricType::Gauge)?;
        metric.encode_gauge(&value)
    }

    pub(super) fn counters<L: EncodeLabelSet>(
        &mut self,
        name: &'static str,
        help: &str,
        samples: impl IntoIterator<Item = (L, u64)>,
    ) -> fmt::Result {
        let mut metric = self.family(name, help, MetricType::Counter)?;
        for (labels, value) in samples {
            metric
                .encode_family(&labels)?
                .encode_counter::<NoLabelSet, _, u64>(&value, None)?;
        }
        Ok(())
    }

    pub(super) fn gauges<L: EncodeLabelSet>(
        &mut self,
        name: &'static str,
        help: &str,
        samples: impl IntoIterator<Item = (L, u64)>,
    ) -> fmt::Result {
        let mut metric = self.family(name, help, MetricType::Gauge)?;
        for (labels, value) in samples {
            metric.encode_family(&labels)?.encode_gauge(&value)?;
        }
        Ok(())
    }

    /// One histogram of several sources, in seconds.
    pub(super) fn histogram(
        &mut self,
        name: &'static str,
        help: &str,
        sources: &[&Histogram],
    ) -> fmt::Result {
        let unit = Unit::Seconds;
        let mut metric =
            self.0
                .encode_descriptor(name, help, Some(&unit), MetricType::Histogram)?;
        let mut buckets: Vec<(f64, u64)> = Vec::new();
        for source in sources {
            for (at, (bound, count)) in source.buckets().enumerate() {
                match buckets.get_mut(at) {
                    Some((_, total)) => *total += count,
                    None => buckets.push((bound.map_or(f64::INFINITY, seconds), count)),
                }
            }
        }
        let count = buckets.iter().map(|(_, count)| count).sum();
        let sum = sources.iter().map(|source| source.sum_ns()).sum();
        metric.encode_histogram::<NoLabelSet>(seconds(sum), count, &buckets, None)
    }
}

#[expect(clippy::cast_precision_loss, reason = "a dashboard needs no more")]
fn seconds(nanos: u64) -> f64 {
    nanos as f64 / 1e9
}
