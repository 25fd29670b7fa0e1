//! Latencies in histograms (HDR, three digits), and what the report says of them.

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// The longest latency that is told apart, in microseconds: an hour.
const LONGEST_US: u64 = 3_600_000_000;
/// Significant digits that are kept.
const DIGITS: u8 = 3;

/// Latencies in microseconds.
#[derive(Debug, Clone)]
pub(crate) struct Times(Histogram<u64>);

impl Default for Times {
    fn default() -> Self {
        Self(
            Histogram::new_with_bounds(1, LONGEST_US, DIGITS)
                .expect("the bounds are in order, the digits at most five"),
        )
    }
}

impl Times {
    pub(crate) fn record(&mut self, us: u64) {
        self.0.saturating_record(us.max(1));
    }

    pub(crate) fn join(&mut self, other: &Self) {
        // Histograms of the same bounds can always be added.
        let _ = self.0.add(&other.0);
    }

    pub(crate) fn figures(&self) -> Figures {
        let at = |quantile: f64| in_ms(self.0.value_at_quantile(quantile));
        Figures {
            count: self.0.len(),
            p50_ms: at(0.5),
            p90_ms: at(0.9),
            p99_ms: at(0.99),
            p999_ms: at(0.999),
            max_ms: in_ms(self.0.max()),
        }
    }
}

/// What is reported of latencies, in milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    /// How many there were.
    pub count: u64,
    /// The median.
    pub p50_ms: f64,
    /// The 90th percentile.
    pub p90_ms: f64,
    /// The 99th percentile.
    pub p99_ms: f64,
    /// The 99.9th percentile.
    pub p999_ms: f64,
    /// The longest.
    pub max_ms: f64,
}

/// Microseconds in milliseconds.
#[allow(clippy::cast_precision_loss)] // an hour at most
pub(crate) fn in_ms(us: u64) -> f64 {
    us as f64 / 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_what_was_recorded() {
        let (mut times, mut more) = (Times::default(), Times::default());
        (1..=900).for_each(|n| times.record(n * 1_000));
        (901..=1_000).for_each(|n| more.record(n * 1_000));
        times.join(&more);
        let figures = times.figures();
        assert_eq!(figures.count, 1_000);
        for (is, wanted) in [(figures.p50_ms, 500.0), (figures.p99_ms, 990.0), (figures.max_ms, 1_000.0)] {
            assert!((is - wanted).abs() <= wanted / 500.0, "{is} {wanted}");
        }
        assert_eq!(Times::default().figures(), Figures::default());
    }
}
