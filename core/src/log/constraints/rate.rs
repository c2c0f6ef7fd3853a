//! The rate of a topic: a token bucket for messages and one for bytes, taken from together.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::Rate;
use crate::Timestamp;

/// The most units a second, so that what is kept for an hour fits.
pub(super) const UNITS_MAX: u64 = 1 << 40;

/// Tokens are thousandths, so that a millisecond brings a whole number of them.
const PARTS: u64 = 1000;

/// What an append takes of a rate.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Load {
    pub(super) messages: u64,
    pub(super) bytes: u64,
}

/// Why a load was not taken.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Refusal {
    /// It fits in so many milliseconds.
    Later { milliseconds: u64, what: String },
    /// It is more than can ever be there at once.
    Never(String),
}

/// The buckets of a rate.
#[derive(Debug)]
pub(super) struct Bucket {
    rate: Rate,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    messages: u64,
    bytes: u64,
    /// Up to when the tokens are counted; `None` before the first append.
    at: Option<Timestamp>,
}

/// One of the two units that a rate may limit.
struct Unit<'a> {
    name: &'static str,
    per_second: u64,
    capacity: u64,
    tokens: &'a mut u64,
    wanted: u64,
}

impl Bucket {
    /// Full.
    pub(super) fn of(rate: Rate) -> Self {
        let full = |per_second: Option<u64>| capacity(per_second, rate);
        let (messages, bytes) = (full(rate.messages_per_second), full(rate.bytes_per_second));
        Self { rate, state: Mutex::new(State { messages, bytes, at: None }) }
    }

    pub(super) fn rate(&self) -> Rate {
        self.rate
    }

    /// Takes the whole load, or nothing. A clock that moved back brings nothing.
    pub(super) fn take(&self, load: Load, now: Timestamp) -> Result<(), Refusal> {
        let mut state = self.lock();
        let since = state.at.replace(now).unwrap_or(now);
        let passed = now.as_millis().saturating_sub(since.as_millis());
        let passed = u64::try_from(passed).unwrap_or(0);
        let mut units = self.units(&mut state, load);
        for unit in &mut units {
            let brought = unit.per_second.saturating_mul(passed);
            *unit.tokens = unit.tokens.saturating_add(brought).min(unit.capacity);
        }
        for unit in &units {
            unit.check()?;
        }
        for unit in &mut units {
            *unit.tokens -= unit.wanted;
        }
        Ok(())
    }

    /// Gives back what a failed append had taken.
    pub(super) fn give_back(&self, load: Load) {
        let mut state = self.lock();
        for unit in self.units(&mut state, load) {
            *unit.tokens = unit.tokens.saturating_add(unit.wanted).min(unit.capacity);
        }
    }

    fn units<'a>(&self, state: &'a mut State, load: Load) -> Vec<Unit<'a>> {
        let unit = |name, per_second: Option<u64>, tokens, wanted: u64| {
            per_second.map(|per_second| Unit {
                name,
                per_second,
                capacity: capacity(Some(per_second), self.rate),
                tokens,
                wanted: wanted.saturating_mul(PARTS),
            })
        };
        let rate = self.rate;
        let messages =
            unit("messages", rate.messages_per_second, &mut state.messages, load.messages);
        let bytes = unit("bytes", rate.bytes_per_second, &mut state.bytes, load.bytes);
        [messages, bytes].into_iter().flatten().collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Whole at every step, whoever panicked while holding it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Unit<'_> {
    fn check(&self) -> Result<(), Refusal> {
        let Self { name, per_second, .. } = self;
        if self.wanted > self.capacity {
            let (wanted, most) = (self.wanted / PARTS, self.capacity / PARTS);
            return Err(Refusal::Never(format!("{wanted} {name} at once are more than {most}")));
        }
        let missing = self.wanted.saturating_sub(*self.tokens);
        if missing == 0 {
            return Ok(());
        }
        let milliseconds = missing.div_ceil(*per_second);
        let what = format!("{per_second} {name} a second are used up");
        Err(Refusal::Later { milliseconds, what })
    }
}

fn capacity(per_second: Option<u64>, rate: Rate) -> u64 {
    let units = per_second.unwrap_or(0).saturating_mul(u64::from(rate.burst_seconds));
    units.saturating_mul(PARTS)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn messages(messages: u64) -> Load {
        Load { messages, bytes: 10 * messages }
    }

    #[test]
    fn load_is_taken_of_both_units_or_of_none() {
        let rate = Rate { bytes_per_second: Some(25), ..Rate::messages(10) };
        let bucket = Bucket::of(rate);
        bucket.take(messages(2), at(0)).unwrap();
        let later =
            Refusal::Later { milliseconds: 200, what: "25 bytes a second are used up".to_owned() };
        assert_eq!(bucket.take(messages(1), at(0)), Err(later));
        // Of the ten messages only two are gone.
        bucket.take(Load { messages: 8, bytes: 0 }, at(0)).unwrap();
        assert!(bucket.take(Load { messages: 1, bytes: 0 }, at(99)).is_err());
        bucket.take(Load { messages: 1, bytes: 0 }, at(100)).unwrap();
    }

    #[test]
    fn clock_that_jumps_back_brings_nothing_and_stops_nothing() {
        let bucket = Bucket::of(Rate::messages(10));
        bucket.take(messages(10), at(1_000_000)).unwrap();
        assert!(bucket.take(messages(1), at(0)).is_err());
        bucket.take(messages(1), at(100)).unwrap();
    }

    #[test]
    fn largest_rate_does_not_overflow() {
        let bucket = Bucket::of(Rate::bytes(UNITS_MAX).with_burst_seconds(3600));
        let all = Load { messages: 1, bytes: UNITS_MAX * 3600 };
        bucket.take(all, at(i64::MIN)).unwrap();
        assert!(bucket.take(Load { messages: 1, bytes: 1 }, at(i64::MIN)).is_err());
        bucket.take(all, at(i64::MAX)).unwrap();
    }

    #[test]
    fn what_can_never_fit_is_told_apart() {
        let bucket = Bucket::of(Rate::messages(10).with_burst_seconds(2));
        bucket.take(messages(20), at(0)).unwrap();
        let never = bucket.take(messages(21), at(0));
        assert_eq!(never, Err(Refusal::Never("21 messages at once are more than 20".to_owned())));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

        #[test]
        fn no_span_of_time_has_more_than_its_rate_and_the_burst(
            rate in 1_u64..50,
            burst in 1_u32..4,
            steps in prop::collection::vec((0_i64..400, 1_u64..20, any::<bool>()), 1..80),
        ) {
            let bucket = Bucket::of(Rate::messages(rate).with_burst_seconds(burst));
            let (mut now, mut taken) = (0, Vec::new());
            for (wait, count, fails) in steps {
                now += wait;
                let load = messages(count);
                match bucket.take(load, at(now)) {
                    Ok(()) if fails => bucket.give_back(load),
                    Ok(()) => taken.push((now, count)),
                    Err(Refusal::Never(_)) => prop_assert!(count > rate * u64::from(burst)),
                    Err(Refusal::Later { milliseconds, .. }) => {
                        // It fits exactly when it says so.
                        let then = at(now + i64::try_from(milliseconds).unwrap());
                        let before = at(then.as_millis() - 1);
                        prop_assert!(bucket.take(load, before).is_err());
                        prop_assert!(bucket.take(load, then).is_ok());
                        now = then.as_millis();
                        taken.push((now, count));
                    }
                }
            }
            for (first, (start, _)) in taken.iter().enumerate() {
                let mut sum = 0;
                for (end, count) in &taken[first..] {
                    sum += count;
                    let span = u64::try_from(end - start).unwrap();
                    let most = rate * u64::from(burst) * 1000 + rate * span;
                    prop_assert!(sum * 1000 <= most, "{sum} from {start} to {end}");
                }
            }
        }
    }
}
