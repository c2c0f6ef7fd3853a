//! A store that counts and times every call, and tells `tracing` of it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use msglog_core::Result;
use msglog_core::store::MessageStore;
use tracing::{Instrument, Level, event, span};

use super::around::{Around, At, Call, Wrapped};

/// A store whose calls [`Counters`] count; made by [`Counters::wrap`].
pub type Instrumented = Wrapped<Counters>;

/// How many steps the histogram of a call has: powers of two of microseconds, up to an hour.
const STEPS: usize = 32;

/// The figures of one kind of call. Calls that were dropped before they ended are in none of them.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct CallStats {
    /// How many ended.
    pub calls: u64,
    /// How many of them with an error.
    pub failures: u64,
    /// How long they took in all.
    pub total: Duration,
    /// How long the longest took.
    pub max: Duration,
    histogram: [u64; STEPS],
}

impl CallStats {
    fn count(&mut self, took: Duration, failed: bool) {
        self.calls += 1;
        self.failures += u64::from(failed);
        self.total += took;
        self.max = self.max.max(took);
        let step = (u128::BITS - took.as_micros().leading_zeros()) as usize;
        if let Some(there) = self.histogram.get_mut(step.min(STEPS - 1)) {
            *there += 1;
        }
    }

    /// A time within which this share of the calls ended, e.g. 0.99; at most twice too long.
    pub fn quantile(&self, share: f64) -> Duration {
        let mut seen = 0_u64;
        for (step, count) in (0_u32..).zip(&self.histogram) {
            seen += count;
            if seen > 0 && seen as f64 >= self.calls as f64 * share {
                return Duration::from_micros((1_u64 << step) - 1).min(self.max);
            }
        }
        self.max
    }
}

/// Counts and latencies of a store's calls. Clones share them.
///
/// Each call is a `tracing` span `store` of level debug with the fields `call` and `partition`,
/// and an event within it says how long it took; one that failed is of level warn.
#[derive(Clone, Debug, Default)]
pub struct Counters(Arc<Mutex<BTreeMap<Call, CallStats>>>);

impl Counters {
    /// Nothing counted yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// A store over `inner` whose calls are counted here.
    pub fn wrap(&self, inner: Arc<dyn MessageStore>) -> Arc<Instrumented> {
        Wrapped::new(inner, self.clone())
    }

    /// What was counted of one kind of call.
    pub fn of(&self, call: Call) -> CallStats {
        self.all().get(&call).copied().unwrap_or_default()
    }

    /// What was counted, by call; none that never ended.
    pub fn all(&self) -> BTreeMap<Call, CallStats> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Around for Counters {
    fn around<'a, T: Send + 'a>(
        &'a self,
        at: At<'a>,
        work: BoxFuture<'a, Result<T>>,
    ) -> BoxFuture<'a, Result<T>> {
        let partition = at.partition.map(tracing::field::display);
        let span = span!(Level::DEBUG, "store", call = %at.call, partition);
        let counted = async move {
            let started = Instant::now();
            let outcome = work.await;
            let took = started.elapsed();
            let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            all.entry(at.call).or_default().count(took, outcome.is_err());
            drop(all);
            match &outcome {
                Ok(_) => event!(Level::DEBUG, ?took, "done"),
                Err(error) => event!(Level::WARN, ?took, %error, "failed"),
            }
            outcome
        };
        Box::pin(counted.instrument(span))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes down the spans and the levels of the events in them.
    #[derive(Clone, Debug, Default)]
    struct Heard(Arc<Mutex<Vec<String>>>);

    impl tracing::Subscriber for Heard {
        fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
            true
        }

        fn new_span(&self, span: &span::Attributes<'_>) -> span::Id {
            let text = format!("{} {}", span.metadata().name(), span.values());
            self.0.lock().unwrap().push(text);
            span::Id::from_u64(1)
        }

        fn event(&self, event: &tracing::Event<'_>) {
            self.0.lock().unwrap().push(event.metadata().level().to_string());
        }

        fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
        fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
        fn enter(&self, _: &span::Id) {}
        fn exit(&self, _: &span::Id) {}
    }

    #[test]
    fn each_call_is_a_span_with_an_event_that_says_how_it_ended() {
        let (counters, heard) = (Counters::new(), Heard::default());
        let name: msglog_core::TopicPartition = "orders-0".parse().unwrap();
        let at = At { call: Call::Append, partition: Some(&name) };
        let lost = msglog_core::Error::new(msglog_core::ErrorKind::Unavailable, "lost");
        tracing::subscriber::with_default(heard.clone(), || {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(async {
                counters.around(at, Box::pin(async { Ok(()) })).await.unwrap();
                let failing = counters.around::<()>(at, Box::pin(async { Err(lost) }));
                failing.await.unwrap_err();
            });
        });
        let heard = heard.0.lock().unwrap().clone();
        let [one, done, two, failed] = heard.as_slice() else { panic!("{heard:?}") };
        for span in [one, two] {
            let is_whole = span.starts_with("store") && span.contains("append");
            assert!(is_whole && span.contains("orders-0"), "{span}");
        }
        assert_eq!((done.as_str(), failed.as_str()), ("DEBUG", "WARN"));
        let stats = counters.of(Call::Append);
        assert_eq!((stats.calls, stats.failures), (2, 1));
        assert_eq!(counters.of(Call::Sync), CallStats::default());
    }

    #[test]
    fn quantile_is_an_upper_bound_within_a_factor_of_two() {
        let mut stats = CallStats::default();
        assert_eq!(stats.quantile(0.99), Duration::ZERO);
        for micros in 1..=1000 {
            stats.count(Duration::from_micros(micros), micros % 10 == 0);
        }
        assert_eq!((stats.calls, stats.failures), (1000, 100));
        assert_eq!(stats.max, Duration::from_millis(1));
        for (share, exact) in [(0.001, 1), (0.1, 100), (0.5, 500), (0.99, 990), (1.0, 1000)] {
            let found = stats.quantile(share);
            let exact = Duration::from_micros(exact);
            assert!(found >= exact && found <= exact * 2, "{share}: {found:?} for {exact:?}");
        }
    }
}
