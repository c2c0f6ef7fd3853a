//! `msglog consume`: records out of the log, up to the present end or on and on.

mod printer;
mod span;

use std::process::ExitCode;

use futures::StreamExt;
use futures::stream::select_all;
use indicatif::ProgressBar;
use msglog::{Msn, ReadLimit, Record, Topic};
use tokio::sync::mpsc;

use self::printer::Printer;
use self::span::Span;
use crate::args::{Consume, Output};
use crate::failure::Failure;
use crate::format::{Formatter, RecordFormat};
use crate::open;
use crate::progress::{self, Unit};
use crate::signals::Signals;

/// How many pages are read ahead of printing.
const PAGES_AHEAD: usize = 2;
/// The most records that are printed before a follower hands them on.
const FOLLOW_RECORDS_MAX: usize = 1024;

/// Prints the records asked for.
pub(crate) async fn run(args: Consume, output: Output) -> Result<ExitCode, Failure> {
    let format = check(&args, output)?;
    let (log, _) = open::for_reading(&args.url).await?;
    let topic = log.topic(args.topic.as_str()).await?;
    let spans = span::spans(&args, &topic).await?;
    let key_separator = args.key_separator.clone();
    let formatter = Formatter { topic: args.topic.clone(), format, key_separator };
    let mut printer = Printer::new(formatter, args.count);
    let printed = if args.follow {
        follow(&topic, spans, &mut printer).await
    } else {
        print_spans(&topic, &spans, &mut printer).await
    };
    // What was printed before an error is handed on before the error is told.
    let flushed = printer.flush();
    printed.and(flushed)?;
    Ok(ExitCode::SUCCESS)
}

/// Refuses options that do not go together; answers how records are printed.
fn check(args: &Consume, output: Output) -> Result<RecordFormat, Failure> {
    let format = match (&args.format, output) {
        (None, Output::Table) => RecordFormat::Raw,
        (None, Output::Json) | (Some(RecordFormat::Json), _) => RecordFormat::Json,
        (Some(format), Output::Table) => format.clone(),
        (Some(_), Output::Json) => {
            return Err(Failure::Usage("--format and -o json contradict each other".to_owned()));
        }
    };
    if args.key_separator.is_some() && format != RecordFormat::Raw {
        return Err(Failure::Usage("--key-separator is for the raw format".to_owned()));
    }
    Ok(format)
}

/// Prints what is there, partition by partition.
async fn print_spans(topic: &Topic, spans: &[Span], printer: &mut Printer) -> Result<(), Failure> {
    let bar = bar_of(spans);
    let mut reached = Vec::new();
    for span in spans {
        let mut pages = read_ahead(topic.clone(), *span);
        let mut end = span.to.unwrap_or(Msn::MAX);
        while let Some(page) = pages.recv().await {
            let records = page?;
            bar.inc(records.len() as u64);
            for record in &records {
                if printer.is_done() {
                    end = record.msn;
                    break;
                }
                printer.print(span.partition, record)?;
            }
            if printer.is_done() {
                break;
            }
        }
        reached.push((*span, end));
        if printer.is_done() {
            break;
        }
    }
    bar.finish_and_clear();
    printer.flush()?;
    check_holes(topic, &reached).await
}

fn bar_of(spans: &[Span]) -> ProgressBar {
    let length = |span: &Span| span.to.map_or(0, |to| to.distance_from(span.from));
    progress::bar(Some(spans.iter().map(length).sum()), Unit::Records, true)
}

/// Reads a span page by page on a task of its own, a little ahead.
fn read_ahead(topic: Topic, span: Span) -> mpsc::Receiver<msglog::Result<Vec<Record>>> {
    let (sender, receiver) = mpsc::channel(PAGES_AHEAD);
    tokio::spawn(async move {
        let end = span.to.unwrap_or(Msn::MAX);
        let mut from = span.from;
        while from < end {
            let read = topic.read(span.partition, from, ReadLimit::default()).await;
            let page = read.map(|page| {
                from = page.next_msn;
                let mut records = page.records;
                records.truncate(records.partition_point(|record| record.msn < end));
                records
            });
            // An empty page is the end, and nobody takes pages when enough is printed.
            let is_last = page.as_ref().map_or(true, Vec::is_empty);
            if sender.send(page).await.is_err() || is_last {
                return;
            }
        }
    });
    receiver
}

/// Tells which of the MSNs asked for are lost to damage.
async fn check_holes(topic: &Topic, reached: &[(Span, Msn)]) -> Result<(), Failure> {
    let description = topic.describe().await?;
    let mut lost = Vec::new();
    for (span, end) in reached {
        let partitions = description.partitions.iter();
        let described = partitions.filter(|described| described.partition == span.partition);
        for hole in described.flat_map(|described| &described.holes) {
            let (from, to) = (hole.start.max(span.from), hole.end.min(*end));
            if from < to {
                lost.push(format!("{from}..{to} of partition {}", span.partition));
            }
        }
    }
    if lost.is_empty() {
        return Ok(());
    }
    let lost = lost.join(", ");
    Err(Failure::Corrupt(format!("MSNs {lost} are lost to damage; all others were printed")))
}

/// Prints what is there and what arrives, until a signal, the count, or every span's end.
async fn follow(topic: &Topic, spans: Vec<Span>, printer: &mut Printer) -> Result<(), Failure> {
    let mut signals = Signals::listen()?;
    let mut open = spans;
    open.retain(|span| span.to.is_none_or(|to| span.from < to));
    let mut streams = Vec::new();
    for span in &open {
        let partition = span.partition;
        let subscription = topic.subscribe(partition, span.from)?;
        streams.push(subscription.map(move |record| (partition, record)));
    }
    let mut chunks = select_all(streams).ready_chunks(FOLLOW_RECORDS_MAX);
    progress::say("waiting for new records; Ctrl-C ends it");
    while !open.is_empty() && !printer.is_done() {
        let chunk = tokio::select! {
            biased;
            _ = signals.stopped() => return Ok(()),
            chunk = chunks.next() => chunk,
        };
        let Some(chunk) = chunk else { return Ok(()) };
        for (partition, record) in chunk {
            let record = record?;
            let wanted = open.iter().any(|span| {
                span.partition == partition && span.to.is_none_or(|to| record.msn < to)
            });
            if wanted && !printer.is_done() {
                printer.print(partition, &record)?;
            }
            let next = record.msn.plus(1);
            open.retain(|span| span.partition != partition || span.to.is_none_or(|to| next < to));
        }
        printer.flush()?;
    }
    Ok(())
}
