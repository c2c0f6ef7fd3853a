//! `msglog migrate`: everything of one store into another one, MSN by MSN, interrupted at will.
//!
//! Batches go over as they are, in order, so that what the destination holds at any moment is a
//! beginning of the source and the next run goes on behind it. Documents follow the batches.

mod agree;
mod compare;
mod copy;
mod documents;
mod gap;
mod plan;
mod reader;
mod report;

use std::process::ExitCode;
use std::sync::Arc;

use indicatif::ProgressBar;
use msglog::store::MessageStore;
use msglog::{Access, ErrorKind, StoreUrl};

use self::plan::Plan;
use self::report::{PartitionReport, Report};
use crate::args::{Migrate, Output};
use crate::failure::Failure;
use crate::progress::{self, Tally, Unit};

/// Copies what is missing, and compares both sides when asked to.
pub(crate) async fn run(args: Migrate, output: Output) -> Result<ExitCode, Failure> {
    let tally = Tally::start();
    let source = open(&args.source, Access::Read, "source").await?;
    let plan = Plan::survey(&*source, &args.topics, args.holes).await?;
    look_before_writing(&*source, &plan, &args).await?;
    let destination = open(&args.destination, Access::Write, "destination").await?;
    let migrated = migrate(&plan, &*destination, args.verify).await;
    // Also after an error: what was copied until then stays.
    let closed = destination.close().await;
    let (partitions, documents) = migrated?;
    closed?;
    source.close().await?;
    let report = Report { partitions, documents, verified: args.verify };
    report.print(output, &tally)?;
    Ok(ExitCode::SUCCESS)
}

/// Finds what is against it without changing the destination: opened for writing, a shared store
/// would take the place away from its present writer.
async fn look_before_writing(
    source: &dyn MessageStore,
    plan: &Plan,
    args: &Migrate,
) -> Result<(), Failure> {
    let there = match open(&args.destination, Access::Read, "destination").await {
        Err(Failure::Log(error)) if error.kind() == ErrorKind::NotFound => return Ok(()),
        there => there?,
    };
    if there.info() == source.info() {
        return Err(Failure::Usage("source and destination are the same place".to_owned()));
    }
    let agreed = agree::check(plan, &*there, args.verify).await;
    there.close().await?;
    agreed
}

async fn migrate(
    plan: &Plan,
    destination: &dyn MessageStore,
    verify: bool,
) -> Result<(Vec<PartitionReport>, usize), Failure> {
    documents::check_sizes(&plan.documents, destination.capabilities().document_bytes_max)?;
    // Once more, now that nobody else writes there.
    agree::check(plan, destination, false).await?;
    let mut reports = Vec::new();
    let bar = progress::bar(Some(plan.msn_count()), Unit::Records, false);
    for part in &plan.partitions {
        reports.push(copy::copy(part, destination, plan.holes, &bar).await?);
    }
    bar.finish_and_clear();
    let documents = documents::save(&plan.documents, destination).await?;
    if verify {
        let bar = progress::bar(Some(plan.msn_count()), Unit::Records, false);
        verify_all(plan, destination, &mut reports, &bar).await?;
        bar.finish_and_clear();
    }
    for (part, report) in plan.partitions.iter().zip(&mut reports) {
        let end = part.store.refresh().await?.next_msn;
        report.arrived = end.get().saturating_sub(part.range.end.get());
    }
    Ok((reports, documents))
}

async fn verify_all(
    plan: &Plan,
    destination: &dyn MessageStore,
    reports: &mut [PartitionReport],
    bar: &ProgressBar,
) -> Result<(), Failure> {
    for (part, report) in plan.partitions.iter().zip(reports) {
        let there = agree::existing(destination, &part.name).await?;
        let range = part.range.clone();
        report.verified = Some(compare::compare(part, there, range, plan.holes, bar).await?);
    }
    documents::verify(&plan.documents, destination).await
}

/// Opens one side; the error says which.
async fn open(url: &str, access: Access, side: &str) -> Result<Arc<dyn MessageStore>, Failure> {
    let opened = msglog::registry().open(url, access).await;
    opened.map_err(|error| {
        // Without the query, which may hold secrets.
        let shown = StoreUrl::parse(url).map(|url| url.to_string()).unwrap_or_default();
        let error = match (error.kind(), access) {
            (ErrorKind::Locked, Access::Read) => {
                error.within("this store opens once at a time, for reading too; close it elsewhere")
            }
            _ => error,
        };
        Failure::Log(error.within(format_args!("{side} {shown}")))
    })
}
