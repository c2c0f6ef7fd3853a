//! `msglog bench`: one table of workloads, run against any store in a fresh place of its own.

mod appending;
mod consuming;
mod documents;
mod lifecycle;
mod meter;
mod payloads;
mod place;
mod reading;
mod refusals;
mod report;
mod setup;
mod workloads;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use msglog::ErrorKind;

use self::place::Place;
use self::report::Line;
use self::setup::Setup;
use self::workloads::{Measurement, WORKLOADS};
use crate::args::{Output, store_url};
use crate::describe::{print_json, print_text};
use crate::failure::Failure;
use crate::progress;
use crate::signals::Signals;

/// The longest that one measurement may last.
const SECONDS_MAX: f64 = 3600.0;
/// The largest payload: several of them fit every store's largest batch.
const PAYLOAD_BYTES_MAX: u64 = 4 << 20;

#[derive(Args, Debug)]
pub(crate) struct Bench {
    /// An empty place, e.g. fs:///tmp/bench; made when there is none, and empty again afterwards
    #[arg(value_parser = store_url, required_unless_present = "list")]
    url: Option<String>,
    /// Say which measurements there are, and run none
    #[arg(long)]
    list: bool,
    /// Only measurements whose name, e.g. append/sync/1024, contains one of these texts
    #[arg(long, value_name = "TEXT", value_delimiter = ',')]
    filter: Vec<String>,
    /// How long each measurement lasts
    #[arg(long, default_value = "1", value_parser = seconds)]
    seconds: Duration,
    /// Bytes of a payload
    #[arg(long, value_name = "BYTES", value_delimiter = ',', default_value = "100,1024,65536")]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=PAYLOAD_BYTES_MAX))]
    sizes: Vec<u64>,
    /// How many producers append at a time in `producers`
    #[arg(long, value_name = "N", default_value_t = 64)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=100_000))]
    producers: u32,
    /// Payload bytes of the logs that are read and trimmed
    #[arg(long, value_name = "BYTES", default_value_t = 64 << 20)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=1 << 40))]
    log_bytes: u64,
    /// The same as -o json: one value a line, as soon as it is known
    #[arg(long)]
    json: bool,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| format!("`{text}` is no number of seconds"))?;
    if !(0.001..=SECONDS_MAX).contains(&seconds) {
        return Err(format!("a measurement lasts 0.001 to {SECONDS_MAX} seconds"));
    }
    Ok(Duration::from_secs_f64(seconds))
}

pub(crate) async fn run(args: &Bench, output: Output) -> Result<ExitCode, Failure> {
    let output = if args.json { Output::Json } else { output };
    let chosen = chosen(args)?;
    let Some(url) = args.url.as_ref().filter(|_| !args.list) else {
        return list(&chosen, output);
    };
    let mut signals = Signals::listen()?;
    let place = Arc::new(Place::fresh(url).await?);
    let measured = tokio::select! {
        measured = Box::pin(measure(args, &place, &chosen, output)) => measured.map(|()| None),
        stop = signals.stopped() => Ok(Some(stop)),
    };
    // Also after an error or a signal: the place is left as it was found.
    let left = place.leave().await;
    let stop = measured?;
    left?;
    Ok(stop.map_or(ExitCode::SUCCESS, |stop| ExitCode::from(stop.exit_code())))
}

fn chosen(args: &Bench) -> Result<Vec<Measurement>, Failure> {
    let wanted = |name: &str| {
        args.filter.is_empty() || args.filter.iter().any(|text| name.contains(text.as_str()))
    };
    let all = WORKLOADS.iter().flat_map(|workload| workload.measurements(&args.sizes));
    let chosen: Vec<_> = all.filter(|measurement| wanted(&measurement.name())).collect();
    if chosen.is_empty() {
        let filter = args.filter.join(",");
        return Err(Failure::Usage(format!(
            "no measurement has `{filter}` in its name: see --list"
        )));
    }
    Ok(chosen)
}

fn list(chosen: &[Measurement], output: Output) -> Result<ExitCode, Failure> {
    match output {
        Output::Json => chosen.iter().try_for_each(|one| print_json(&report::Listed::new(one)))?,
        Output::Table => print_text(&report::listing(chosen))?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn measure(
    args: &Bench,
    place: &Arc<Place>,
    chosen: &[Measurement],
    output: Output,
) -> Result<(), Failure> {
    let mut lines = Vec::new();
    let largest = chosen.iter().map(|measurement| measurement.payload_bytes).max();
    let pool = payloads::pool(largest.unwrap_or_default());
    for (number, measurement) in chosen.iter().enumerate() {
        let name = measurement.name();
        progress::say(&format!("{}/{} {name}", number + 1, chosen.len()));
        let setup = Setup {
            place: place.clone(),
            pool: pool.clone(),
            level: measurement.level.unwrap_or_default(),
            payload_bytes: measurement.payload_bytes,
            limit: args.seconds,
            producers: args.producers,
            log_bytes: args.log_bytes,
        };
        let line = match (measurement.workload.run)(setup).await {
            Ok(outcome) => Line::measured(place.scheme(), measurement, &outcome),
            // What a store cannot do is said, not hidden.
            Err(Failure::Log(error)) if error.kind() == ErrorKind::Unsupported => {
                Line::skipped(place.scheme(), measurement, error.context())
            }
            Err(Failure::Log(error)) => return Err(Failure::Log(error.within(name))),
            Err(failure) => return Err(failure),
        };
        place.clear().await?;
        match output {
            Output::Json => print_json(&line)?,
            Output::Table => lines.push(line),
        }
    }
    match output {
        Output::Json => Ok(()),
        Output::Table => print_text(&report::table_of(&lines)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_those_that_a_measurement_may_last() {
        assert_eq!(seconds("0.25"), Ok(Duration::from_millis(250)));
        for text in ["0", "-1", "nan", "inf", "3601", "a", ""] {
            assert!(seconds(text).is_err(), "{text}");
        }
    }
}
