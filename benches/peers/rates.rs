//! What a contender has reached.

use std::time::Duration;

/// What one contender has reached in each round.
#[derive(Default)]
pub(crate) struct Rates(pub(crate) Vec<f64>);

impl Rates {
    pub(crate) fn note(&mut self, count: u64, time: Duration) {
        self.0.push(count as f64 / time.as_secs_f64());
    }

    fn sorted(&self) -> Vec<f64> {
        let mut rates = self.0.clone();
        rates.sort_by(f64::total_cmp);
        rates
    }

    pub(crate) fn median(&self) -> f64 {
        let rates = self.sorted();
        rates.get(rates.len() / 2).copied().unwrap_or_default()
    }

    /// Prints what was reached, each divided by `unit`.
    pub(crate) fn print(&self, name: &str, unit: f64, unit_name: &str) {
        let rates = self.sorted();
        let (least, most) = (rates.first().unwrap(), rates.last().unwrap());
        println!(
            "{name:<12}{:>8.2} {unit_name} ({:.2} to {:.2})",
            self.median() / unit,
            least / unit,
            most / unit
        );
    }

    /// The ratios to another contender within each round.
    pub(crate) fn over(&self, other: &Self) -> Self {
        Self(self.0.iter().zip(&other.0).map(|(a, b)| a / b).collect())
    }

    pub(crate) fn print_ratio(&self, name: &str, target: f64) {
        let rates = self.sorted();
        let (least, most) = (rates.first().unwrap(), rates.last().unwrap());
        let median = self.median();
        let verdict = if median >= target {
            "reached"
        } else {
            "missed"
        };
        println!(
            "{name:<24}{median:>6.2} ({least:.2} to {most:.2}), target {target:.1}: {verdict}"
        );
    }
}
