//! The verdicts of an earlier run, to notice what was lost since.

use std::collections::BTreeMap;

use super::Records;
use crate::verdict::Verdict;

/// The verdict of each case of each backend, as kept in one JSON file.
pub type Baseline = BTreeMap<String, BTreeMap<String, Verdict>>;

/// What of a baseline's passes is no longer one: as `backend: case was a pass, is ...`.
pub fn lost(baseline: &Baseline, records: &Records) -> Vec<String> {
    let mut lost = Vec::new();
    for (backend, verdicts) in baseline {
        for (case, _) in verdicts.iter().filter(|(_, verdict)| **verdict == Verdict::Pass) {
            let now = records.get(backend).and_then(|records| records.get(case));
            match now.map(|record| record.verdict) {
                Some(Verdict::Pass) => {}
                Some(other) => lost.push(format!("{backend}: {case} was a pass, is {other:?}")),
                None => lost.push(format!("{backend}: {case} was a pass, was not run")),
            }
        }
    }
    lost
}
