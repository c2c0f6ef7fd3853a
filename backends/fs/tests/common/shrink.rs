//! Runs a seed; where it fails, finds fewer steps with which it fails as well.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// The numbers of steps, as they are printed.
pub(crate) fn parse(steps: &str) -> BTreeSet<u64> {
    let numbers = steps.split(',').filter(|number| !number.is_empty());
    numbers.map(|number| number.trim().parse().unwrap()).collect()
}

/// Runs a seed with all of its steps. When it fails: again with ever fewer of them, as long as it
/// fails; prints how to repeat the shortest run, and fails as that one does.
pub(crate) fn run<T>(seed: u64, steps_max: u64, run: impl Fn(Option<&BTreeSet<u64>>) -> T) -> T {
    let attempt = |steps: Option<&BTreeSet<u64>>| catch_unwind(AssertUnwindSafe(|| run(steps)));
    let mut failure = match attempt(None) {
        Ok(value) => return value,
        Err(failure) => failure,
    };
    let mut steps: BTreeSet<u64> = (1..=steps_max).collect();
    let mut piece = steps.len().div_ceil(2);
    loop {
        let before = steps.len();
        for start in (0..before).step_by(piece).rev() {
            let all: Vec<_> = steps.iter().copied().collect();
            let mut fewer = steps.clone();
            for step in all.iter().skip(start).take(piece) {
                fewer.remove(step);
            }
            if fewer.len() == steps.len() {
                continue;
            }
            if let Err(cause) = attempt(Some(&fewer)) {
                (steps, failure) = (fewer, cause);
            }
        }
        if piece == 1 && steps.len() == before {
            break;
        }
        piece = piece.div_ceil(2);
    }
    let numbers: Vec<_> = steps.iter().map(u64::to_string).collect();
    eprintln!(
        "failed; {} of its steps suffice: again with MSGLOG_SEED={seed} MSGLOG_STEPS={}",
        steps.len(),
        numbers.join(",")
    );
    resume_unwind(failure)
}
