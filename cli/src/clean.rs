//! `msglog clean`: applies retention once, maybe copying what goes to another store first.

use std::process::ExitCode;

use clap::Args;
use msglog::log::{ArchiveHook, CleanReport, HeldBy};
use msglog::{Access, MsgLog};
use serde::Serialize;

use crate::args::{Output, store_url};
use crate::consumers::quiet;
use crate::describe::{print_json, print_text, table};
use crate::failure::Failure;
use crate::open;

#[derive(Args, Debug)]
pub(crate) struct Clean {
    /// The store, e.g. fs:///var/lib/orders
    #[arg(value_parser = store_url)]
    url: String,
    /// Copy every record to this store before it goes; created when there is none
    #[arg(long, value_name = "URL", value_parser = store_url)]
    archive: Option<String>,
}

/// The answer of `clean`.
#[derive(Serialize)]
struct Report {
    trimmed: Vec<Span>,
    held_back: Vec<Span>,
    expired_consumers: Vec<String>,
    expired_topics: Vec<String>,
    failures: Vec<String>,
}

/// MSNs of a partition, and why they are there still.
#[derive(Serialize)]
struct Span {
    partition: String,
    from: u64,
    to: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    by: Option<String>,
}

pub(crate) async fn run(args: &Clean, output: Output) -> Result<ExitCode, Failure> {
    // Nothing is created where there is no store.
    open::for_reading(&args.url).await?.0.close().await?;
    let mut builder = quiet();
    let archive = match &args.archive {
        None => None,
        Some(url) => Some(msglog::registry().open(url, Access::Write).await?),
    };
    if let Some(archive) = &archive {
        builder = builder.delete_hook(ArchiveHook::to(archive.clone()));
    }
    let log = open::for_writing(&args.url, builder).await?;
    let report = log.clean().await?;
    log.close().await?;
    if let Some(archive) = archive {
        archive.close().await?;
    }
    let report = Report::new(&report);
    match output {
        Output::Json => print_json(&report)?,
        Output::Table => print_text(&report.text())?,
    }
    Ok(if report.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl Report {
    fn new(report: &CleanReport) -> Self {
        let trimmed = report.trimmed.iter().map(|one| Span {
            partition: one.partition.to_string(),
            from: one.msns.start.get(),
            to: one.msns.end.get(),
            by: None,
        });
        let held_back = report.held_back.iter().map(|one| Span {
            partition: one.partition.to_string(),
            from: one.msns.start.get(),
            to: one.msns.end.get(),
            by: Some(reason(&one.by)),
        });
        let failed = report.held_back.iter().filter_map(|one| match &one.by {
            HeldBy::Failure(error) => Some(format!("{}: {error}", one.partition)),
            _ => None,
        });
        let failures = report.failures.iter().map(|(topic, error)| format!("{topic}: {error}"));
        let expired = report.expired_consumers.iter();
        Self {
            trimmed: trimmed.collect(),
            held_back: held_back.collect(),
            expired_consumers: expired.map(|(topic, name)| format!("{name} of {topic}")).collect(),
            expired_topics: report.expired_topics.iter().map(ToString::to_string).collect(),
            failures: failures.chain(failed).collect(),
        }
    }

    fn text(&self) -> String {
        let trimmed = self.trimmed.iter().map(|span| span.row("trimmed"));
        let held = self.held_back.iter().map(|span| span.row("held back"));
        let mut text =
            table(&["WHAT", "PARTITION", "FROM", "TO", "BY"], trimmed.chain(held).collect());
        let lists = [
            ("expired consumer", &self.expired_consumers),
            ("expired topic", &self.expired_topics),
            ("failure", &self.failures),
        ];
        for (what, list) in lists {
            for one in list {
                text.push_str(&format!("{what}: {one}\n"));
            }
        }
        text
    }
}

impl Span {
    fn row(&self, what: &str) -> Vec<String> {
        let (from, to) = (self.from.to_string(), self.to.to_string());
        let by = self.by.clone().unwrap_or_else(|| "-".to_owned());
        vec![what.to_owned(), self.partition.clone(), from, to, by]
    }
}

fn reason(by: &HeldBy) -> String {
    match by {
        HeldBy::Consumer(name) => format!("consumer {name}"),
        HeldBy::NoConsumer => "no consumer has committed".to_owned(),
        HeldBy::Failure(error) => error.to_string(),
        HeldBy::StoreUnit => "the store trims in larger units".to_owned(),
        _ => "another reason".to_owned(),
    }
}
