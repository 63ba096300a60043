//! How long an observation takes to Redis: sampled containers are read whenever Redis says that they changed.

use std::collections::BTreeMap;

use domain::Timestamp;
use service::Failure;
use service::redis::Settings;
use tokio::time::Instant;

use crate::report::Latency;
use crate::tracked::Tracked;

/// Most samples.
const SAMPLES_MAX: usize = 1 << 20;

/// What was seen, in nanoseconds.
#[derive(Default)]
pub(crate) struct Samples {
    latencies: Vec<u64>,
    readings: Vec<u64>,
}

/// Watches containers in Redis.
pub(crate) struct Sampler {
    tracked: Tracked,
    seen: BTreeMap<String, Option<String>>,
}

impl Sampler {
    /// Knows what is there now: only what comes after it is a sample.
    pub(crate) async fn open(settings: &Settings, keys: &[String]) -> Result<Self, Failure> {
        let mut tracked = Tracked::open(settings, "observed_at").await?;
        let first = tracked.read(keys.iter()).await?;
        Ok(Self { tracked, seen: keys.iter().cloned().zip(first).collect() })
    }

    /// Samples until dropped. An observation bears the producer's clock, which is this machine's.
    pub(crate) async fn sample(&mut self, into: &mut Samples) -> Result<(), Failure> {
        while into.latencies.len() < SAMPLES_MAX {
            let changed = self.tracked.changed().await?;
            let begin = Instant::now();
            let read = self.tracked.read(changed.iter()).await?;
            let now = service::clock::now();
            into.readings.push(u64::try_from(begin.elapsed().as_nanos()).unwrap_or(u64::MAX));
            for (key, observed_at) in changed.into_iter().zip(read) {
                let at = observed_at.as_deref().and_then(|text| text.parse::<Timestamp>().ok());
                let is_news = self.seen.insert(key, observed_at.clone()) != Some(observed_at);
                if let Some(at) = at.filter(|_| is_news) {
                    into.latencies.push(u64::try_from(now.0.saturating_sub(at.0)).unwrap_or(0));
                }
            }
        }
        std::future::pending().await
    }
}

impl Samples {
    /// Sums them up.
    pub(crate) fn report(mut self, events_per_second: f64) -> Latency {
        self.latencies.sort_unstable();
        self.readings.sort_unstable();
        let of = |part| quantile(&self.latencies, part);
        Latency {
            events_per_second,
            samples: self.latencies.len(),
            p50_seconds: of(500),
            p99_seconds: of(990),
            p999_seconds: of(999),
            max_seconds: of(1000),
            resolution_seconds: quantile(&self.readings, 500),
        }
    }
}

/// The value, in seconds, that so many thousandths do not exceed; 0 of nothing.
fn quantile(sorted: &[u64], thousandths: usize) -> f64 {
    let rank = (sorted.len() * thousandths).div_ceil(1000).max(1);
    sorted.get(rank - 1).map_or(0.0, |nanos| *nanos as f64 / 1e9)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_a_value_that_was_seen() {
        let sorted: Vec<u64> = (1..=1000).map(|n| n * 1_000_000_000).collect();
        let of = |thousandths| quantile(&sorted, thousandths);
        assert_eq!([of(500), of(990), of(999), of(1000)], [500.0, 990.0, 999.0, 1000.0]);
        assert_eq!((quantile(&sorted[..1], 999), quantile(&[], 500)), (1.0, 0.0));
    }
}
