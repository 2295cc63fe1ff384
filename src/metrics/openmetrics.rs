//! Families of the exposition, written one after the other.

use core::fmt;

use prometheus_client::encoding::{
    DescriptorEncoder, EncodeLabelSet, MetricEncoder, NativeHistogram, NativeHistogramBuckets,
    NoLabelSet,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;

use super::latency::{self, Counts, Histogram};

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

    /// A counter of time.
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

    /// A gauge of memory.
    pub(super) fn bytes(&mut self, name: &'static str, help: &str, value: u64) -> fmt::Result {
        let unit = Unit::Bytes;
        let mut metric = self
            .0
            .encode_descriptor(name, help, Some(&unit), MetricType::Gauge)?;
        metric.encode_gauge(&value)
    }

    /// A gauge of a moment, in whole seconds since 1970.
    pub(super) fn moment(&mut self, name: &'static str, help: &str, value: u64) -> fmt::Result {
        let unit = Unit::Seconds;
        let mut metric = self
            .0
            .encode_descriptor(name, help, Some(&unit), MetricType::Gauge)?;
        metric.encode_gauge(&value)
    }

    pub(super) fn info(
        &mut self,
        name: &'static str,
        help: &str,
        labels: &impl EncodeLabelSet,
    ) -> fmt::Result {
        let mut metric = self.family(name, help, MetricType::Info)?;
        metric.encode_info(labels)
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

    /// One histogram of several sources, in seconds: classic buckets, and native ones in a format
    /// that has them.
    pub(super) fn histogram<'h, I: IntoIterator<Item = &'h Histogram>>(
        &mut self,
        name: &'static str,
        help: &str,
        sources: I,
    ) -> fmt::Result {
        let unit = Unit::Seconds;
        let mut metric =
            self.0
                .encode_descriptor(name, help, Some(&unit), MetricType::Histogram)?;
        let counts = Counts::of(sources);
        let classic: Vec<(f64, u64)> = counts.classic().collect();
        let (first, buckets) = counts.native();
        let spans = [(first, u32::try_from(buckets.len()).unwrap_or(0))];
        let spans = if buckets.is_empty() {
            &[]
        } else {
            spans.as_slice()
        };
        let mut before = 0;
        let deltas: Vec<i64> = buckets
            .iter()
            .map(|&count| {
                let count = i64::try_from(count).unwrap_or(i64::MAX);
                count - core::mem::replace(&mut before, count)
            })
            .collect();
        let native = NativeHistogram {
            schema: latency::SCHEMA,
            zero_threshold: latency::ZERO_THRESHOLD,
            zero_count: counts.zero(),
            negative: NativeHistogramBuckets {
                spans: &[],
                deltas: &[],
            },
            positive: NativeHistogramBuckets {
                spans,
                deltas: &deltas,
            },
            created: None,
        };
        metric.encode_histogram_with_native::<NoLabelSet>(
            seconds(counts.sum_ns()),
            counts.count(),
            &classic,
            None,
            native,
        )
    }
}

#[expect(clippy::cast_precision_loss, reason = "a dashboard needs no more")]
fn seconds(nanos: u64) -> f64 {
    nanos as f64 / 1e9
}
