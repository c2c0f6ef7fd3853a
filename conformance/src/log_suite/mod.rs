//! The cases of the log ([`msglog_core::log`]) over the store, in groups: what users see.

pub mod admission;
pub mod appends;
pub mod cache;
pub mod closing;
pub mod compaction;
pub mod constraints;
pub mod consumers;
pub mod crash;
pub mod failures;
pub mod find;
pub mod partitions;
pub mod producers;
pub mod reads;
pub mod retention;
pub mod select;
pub mod sinks;
pub mod tails;
pub mod topics;
pub mod typed;

use msglog_core::store::{Access, ReadLimit};
use msglog_core::{Log, LogBuilder, Message, MsgLog, Msn, Record, Topic};

use crate::cx::during;
use crate::{Case, CaseResult, Cx, ensure, ensure_eq};

/// Every group of the suite, in the order of reports.
pub const GROUPS: &[&[Case]] = &[
    appends::CASES,
    sinks::CASES,
    reads::CASES,
    find::CASES,
    select::CASES,
    cache::CASES,
    tails::CASES,
    partitions::CASES,
    consumers::CASES,
    retention::CASES,
    admission::CASES,
    topics::CASES,
    compaction::CASES,
    producers::CASES,
    typed::CASES,
    constraints::CASES,
    closing::CASES,
    crash::CASES,
    failures::CASES,
];

/// The topic that most cases use.
pub(crate) const TOPIC: &str = "orders";

/// A log over the case's place, opened for writing.
pub(crate) async fn open(cx: &Cx) -> CaseResult<Log> {
    open_with(cx, Log::builder()).await
}

/// As [`open`], with options.
pub(crate) async fn open_with(cx: &Cx, builder: LogBuilder) -> CaseResult<Log> {
    let store = cx.open_once_free().await?;
    builder.open(store).await.map_err(|error| during("open a log", error))
}

/// A log over the case's place, opened for reading.
pub(crate) async fn open_reader(cx: &Cx) -> CaseResult<Log> {
    let store = cx.open_reader().await?;
    let opened = Log::builder().access(Access::Read).open(store).await;
    opened.map_err(|error| during("open a log for reading", error))
}

/// Closes the log and opens its place again.
pub(crate) async fn reopen(cx: &Cx, log: Log) -> CaseResult<Log> {
    log.close().await.map_err(|error| during("close the log", error))?;
    drop(log);
    open(cx).await
}

/// The message that stands at `number` in every case.
pub(crate) fn message(number: u64) -> Message {
    Message::new(format!("message {number}"))
}

/// Appends the messages `numbers`, each acked before the next.
pub(crate) async fn append_each(topic: &Topic, numbers: std::ops::Range<u64>) -> CaseResult {
    for number in numbers {
        topic.append(message(number)).await?.ack().await?;
    }
    Ok(())
}

/// Every record of a partition from `from` on, page by page.
pub(crate) async fn read_all(topic: &Topic, partition: u32, from: Msn) -> CaseResult<Vec<Record>> {
    read_pages(topic, partition, from, ReadLimit::default()).await
}

/// Every record of a partition from `from` on, in pages of at most `limit`.
pub(crate) async fn read_pages(
    topic: &Topic,
    partition: u32,
    from: Msn,
    limit: ReadLimit,
) -> CaseResult<Vec<Record>> {
    let mut all: Vec<Record> = Vec::new();
    let mut next = from;
    loop {
        let page = topic.read(partition, next, limit).await?;
        if page.records.is_empty() {
            return Ok(all);
        }
        for record in &page.records {
            ensure!(record.msn >= next, "read from {next} answered MSN {}", record.msn);
        }
        ensure!(page.next_msn > next, "a page from {next} leads on to {}", page.next_msn);
        next = page.next_msn;
        all.extend(page.records);
    }
}

/// Checks that `records` are the messages from `first` on, each at its own MSN.
pub(crate) fn check_messages(records: &[Record], first: u64, what: &str) -> CaseResult {
    for (number, record) in (first..).zip(records) {
        ensure_eq!(record.msn, Msn::new(number), "{what}: MSN");
        ensure_eq!(record.payload, message(number).payload, "{what}: payload at {number}");
    }
    Ok(())
}
