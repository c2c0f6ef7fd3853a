//! Each other store of msglog beside its bare engine, used by hand for the same records.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use crate::measure::quantile;
use crate::plan::{Line, Plan, SIZES};

/// Stores of msglog, each with the peer that is its engine.
const PAIRS: &[(&str, &str)] = &[
    ("msglog+sled", "sled"),
    ("msglog+memory+object", "object-store"),
    #[cfg(feature = "rocksdb")]
    ("msglog+rocksdb", "rocksdb"),
];

/// Workloads, what they are, and the figure: more is better in each.
const WORKLOADS: &[(&str, &str, &str)] = &[
    ("w2", "one producer, each append synced", "msgs_s"),
    ("w3", "64 producers, each append synced", "msgs_s"),
    ("w4", "a batch a sync", "mb_s"),
    ("er", "replay", "mb_s"),
];

/// Runs every pair, interleaved, and prints the ratios as a table.
pub fn run(plan: &Plan) {
    plan.make_folders();
    let contenders: Vec<String> =
        PAIRS.iter().flat_map(|(ours, bare)| [*ours, *bare]).map(str::to_owned).collect();
    for (workload, _, _) in WORKLOADS.iter().filter(|(workload, _, _)| plan.wants(workload)) {
        for size in SIZES {
            plan.fresh(workload, *size, &contenders);
        }
    }
    println!("{}", table(&plan.lines()));
}

type Medians = BTreeMap<(String, usize, String), Vec<f64>>;

fn table(lines: &Path) -> String {
    let text = std::fs::read_to_string(lines).expect("the results");
    let mut found = Medians::new();
    for line in text.lines() {
        let line: Line = serde_json::from_str(line).expect("a line of results");
        let figure = WORKLOADS.iter().find(|(workload, _, _)| *workload == line.workload);
        let outcome = line.outcome.as_ref().and_then(|outcome| {
            let (_, _, figure) = figure?;
            outcome.figures.get(*figure).copied()
        });
        let place = (line.workload, line.size, line.contender);
        found.entry(place).or_default().extend(outcome);
    }
    let median = |workload: &str, size: usize, contender: &str| {
        let mut values = found.get(&(workload.into(), size, contender.into()))?.clone();
        values.sort_unstable_by(f64::total_cmp);
        (!values.is_empty()).then(|| quantile(&values, 0.5))
    };
    let mut out = String::from("| workload | size |");
    PAIRS.iter().for_each(|(_, bare)| {
        let _ = write!(out, " {bare}: msglog / by hand = x |");
    });
    out.push_str("\n|---|---|");
    PAIRS.iter().for_each(|_| out.push_str("---|"));
    for (workload, what, figure) in WORKLOADS {
        for size in SIZES {
            let _ = write!(out, "\n| {what}, {figure} | {size} |");
            for (ours, bare) in PAIRS {
                let cell = match (median(workload, *size, ours), median(workload, *size, bare)) {
                    (Some(ours), Some(bare)) => {
                        format!("{ours:.0} / {bare:.0} = {:.2}", ours / bare)
                    }
                    _ => "-".to_owned(),
                };
                let _ = write!(out, " {cell} |");
            }
        }
    }
    out
}
