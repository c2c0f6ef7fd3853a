//! msglog beside its peers and the limits of the machine: see `bench/README.md`.

#[cfg(feature = "engines")]
mod bucket;
mod contenders;
#[cfg(feature = "engines")]
mod engines;
#[cfg(feature = "peers")]
mod generic;
mod limits;
mod measure;
mod msglog;
#[cfg(feature = "peers")]
mod nats;
#[cfg(feature = "peers")]
mod peers;
mod plan;
mod records;
#[cfg(feature = "peers")]
mod redis;
mod report;
#[cfg(feature = "rocksdb")]
mod rocks;
mod scale;
#[cfg(feature = "peers")]
mod servers;
mod store;

use std::path::{Path, PathBuf};
use std::time::Duration;

/// `run`: one run in this process, its outcome as JSON. `all`: the plan. `report`: from its lines.
fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args.as_slice() {
        ["run", contender, workload, size, dir, seconds] => {
            let size = size.parse().expect("a size");
            let limit = Duration::from_secs_f64(seconds.parse().expect("seconds"));
            let others = measure::Others::look();
            let outcome = contenders::run(contender, workload, size, Path::new(dir), limit);
            let outcome = outcome.with("others", others.share_since());
            println!("{}", serde_json::to_string(&outcome).expect("JSON"));
        }
        ["all", options @ ..] => plan::Plan::parse(options).execute(),
        #[cfg(feature = "engines")]
        ["engines", options @ ..] => engines::run(&plan::Plan::parse(options)),
        ["scale", dir, seconds, only @ ..] => scale::run(only, Path::new(dir), seconds),
        ["scale-point", curve, count, dir, seconds] => {
            let count = count.parse().expect("a count");
            let limit = Duration::from_secs_f64(seconds.parse().expect("seconds"));
            let outcome = scale::point(curve, count, Path::new(dir), limit);
            println!("{}", serde_json::to_string(&outcome).expect("JSON"));
        }
        ["report", lines] => report::write(&PathBuf::from(lines)),
        _ => {
            eprintln!(
                "usage: all [--rt] [--runs N] [--seconds S] [--only w1,r1] [--peers okaywal] [--out DIR] [--dir DIR]\n       \
                 engines, with the options of `all`\n       \
                 scale DIR SECONDS [log-gib[=1,4] | topics | producers | tailers ...]\n       \
                 report RESULTS.jsonl\n       \
                 run CONTENDER WORKLOAD SIZE DIR SECONDS"
            );
            std::process::exit(2);
        }
    }
}
