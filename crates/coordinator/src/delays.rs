//! How long transactions took from their commit until a reader could see them.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::publisher::now_micros;

const WINDOW: Duration = Duration::from_secs(10);
const SAMPLES: usize = 20_000;

/// The delays of the last seconds.
#[derive(Debug, Default)]
pub(crate) struct Delays(Mutex<VecDeque<(Instant, f32)>>);

/// Rates and quantiles over the window.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Summary {
    /// Transactions a second.
    pub(crate) rate: f64,
    /// Seconds.
    pub(crate) p50: f64,
    /// Seconds.
    pub(crate) p99: f64,
}

impl Delays {
    /// Takes the commit times (µs since 2000) of transactions that are visible now; gives the longest delay, in seconds.
    pub(crate) fn record(&self, commit_times: &[i64]) -> f64 {
        let (now, at) = (now_micros(), Instant::now());
        let mut samples = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut longest = 0.0_f64;
        for time in commit_times {
            let seconds = (now - time).max(0) as f64 / 1e6;
            longest = longest.max(seconds);
            metrics::histogram!("tributary_visible_delay_seconds").record(seconds);
            samples.push_back((at, seconds as f32));
        }
        while samples.len() > SAMPLES || samples.front().is_some_and(|(t, _)| t.elapsed() > WINDOW) {
            samples.pop_front();
        }
        longest
    }

    /// Over the last seconds.
    pub(crate) fn summary(&self) -> Summary {
        let samples = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let recent = samples.iter().filter(|(t, _)| t.elapsed() <= WINDOW);
        let mut delays: Vec<f32> = recent.map(|(_, d)| *d).collect();
        if delays.is_empty() {
            return Summary::default();
        }
        delays.sort_by(f32::total_cmp);
        let quantile = |q: f64| f64::from(delays[((delays.len() - 1) as f64 * q) as usize]);
        Summary { rate: delays.len() as f64 / WINDOW.as_secs_f64(), p50: quantile(0.5), p99: quantile(0.99) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_of_what_was_recorded() {
        let delays = Delays::default();
        let now = now_micros();
        let times: Vec<i64> = (0..100).map(|i| now - i * 10_000).collect();
        let longest = delays.record(&times);
        assert!((0.99..1.2).contains(&longest), "{longest}");
        let summary = delays.summary();
        assert!((0.45..0.6).contains(&summary.p50), "{summary:?}");
        assert!(summary.p99 > 0.9 && summary.rate > 9.0, "{summary:?}");
    }
}
