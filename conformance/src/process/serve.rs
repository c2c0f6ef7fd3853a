//! The child's side: does the job that the order names, and says how far it is.

use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use msglog_core::store::{Access, Capabilities, Expected, MessageStore, PartitionStore};
use msglog_core::{ErrorKind, Log, Message, Msn};

use super::{HERE, Job, ORDER_VARIABLE, Order};
use crate::backend::{Backend, Instance};
use crate::cx::{PARTITION, create, key};
use crate::log_suite::compaction::compact_for_ever;
use crate::log_suite::crash::append_for_ever;
use crate::log_suite::producers::produce_for_ever;
use crate::process::trace::{AUDIT_CHANGES, AUDIT_END, AUDIT_ROUNDS, marker};
use crate::process::waiting::wait;
use crate::sample::{Samples, batch_of};
use crate::{CaseResult, Failure, Suite};

/// Does the job of a child process, if this is one: call it first in `main`.
///
/// `find` answers the backend with a name. Executables that call cases themselves, without
/// [`main!`](crate::main), need this for the cases that start other processes.
pub fn serve_if_asked(find: impl FnOnce(&str) -> Option<Arc<dyn Backend>>) -> Option<ExitCode> {
    let order = std::env::var(ORDER_VARIABLE).ok()?;
    // Nobody can be told when nobody listens; the job says that again.
    let _ = say(HERE);
    Some(match serve(&order, find) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let _ = say(&format!("failed: {failure}"));
            ExitCode::FAILURE
        }
    })
}

fn serve(order: &str, find: impl FnOnce(&str) -> Option<Arc<dyn Backend>>) -> CaseResult {
    let order: Order = serde_json::from_str(order)
        .map_err(|cause| Failure::new(format!("the order cannot be read: {cause}")))?;
    let backend = find(&order.backend)
        .ok_or_else(|| Failure::new(format!("there is no backend {}", order.backend)))?;
    if let Job::Case { id } = &order.job {
        return run_case(backend, id, order.seed);
    }
    let mut builder = match order.job {
        // Whoever blocks its only thread is seen.
        Job::Wait => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    builder.enable_all().build()?.block_on(work(backend, &order))
}

fn run_case(backend: Arc<dyn Backend>, id: &str, seed: u64) -> CaseResult {
    let case = crate::find_case(id).ok_or_else(|| Failure::new(format!("no case {id}")))?;
    let outcome = Suite::new(backend).with_seed(seed).run(case);
    let text = serde_json::to_string(&outcome)
        .map_err(|cause| Failure::new(format!("the outcome cannot be written: {cause}")))?;
    say(&text)
}

async fn work(backend: Arc<dyn Backend>, order: &Order) -> CaseResult {
    let place = backend.attach(&order.address).await?;
    let samples = Samples::new(order.seed);
    if let Job::OpenForWriting = order.job {
        return open_for_writing(place.as_ref()).await;
    }
    let store = place.open(Access::Write).await?;
    match &order.job {
        Job::Append { sync_every, pause_micros } => {
            let pause = Duration::from_micros(*pause_micros);
            append(&store, samples, *sync_every, pause).await
        }
        Job::AppendAndTrim => append_and_trim(&store, samples).await,
        Job::AppendToLog => append_for_ever(Log::builder().open(store).await?, say).await,
        Job::CompactLog => {
            let log = Log::builder().compaction_interval(Duration::ZERO).open(store).await?;
            compact_for_ever(log, say).await
        }
        Job::ProduceToLog => produce_for_ever(Log::builder().open(store).await?, say).await,
        Job::Save => save(&store).await,
        Job::Audit => audit(&store, order.seed).await,
        Job::Wait => wait(&store, samples).await,
        Job::OpenForWriting | Job::Case { .. } => Ok(()),
    }
}

async fn open_for_writing(place: &dyn Instance) -> CaseResult {
    match place.open(Access::Write).await {
        Ok(_store) => say("opened"),
        Err(error) if error.kind() == ErrorKind::Locked => say("locked"),
        Err(error) => say(&format!("refused: {error}")),
    }
}

async fn append_next(there: &Arc<dyn PartitionStore>, samples: Samples) -> CaseResult {
    let batch = samples.next(there.bounds().next_msn)?;
    let next = batch.next_msn();
    there.append(vec![batch]).await?;
    say(&format!("A {next}"))
}

async fn append(
    store: &Arc<dyn MessageStore>,
    samples: Samples,
    sync_every: u32,
    pause: Duration,
) -> CaseResult {
    let there = create(store, PARTITION).await?;
    loop {
        for _ in 0..sync_every.max(1) {
            append_next(&there, samples).await?;
            std::thread::sleep(pause);
        }
        let durable = there.sync().await?;
        say(&format!("S {durable}"))?;
    }
}

async fn append_and_trim(store: &Arc<dyn MessageStore>, samples: Samples) -> CaseResult {
    let samples = samples.with_large(large_bytes(&store.capabilities()));
    let there = create(store, PARTITION).await?;
    loop {
        for _ in 0..10 {
            append_next(&there, samples).await?;
        }
        say(&format!("S {}", there.sync().await?))?;
        let bounds = there.bounds();
        let middle = bounds.first_msn.plus(bounds.next_msn.distance_from(bounds.first_msn) / 2);
        say(&format!("T {}", there.trim(middle).await?))?;
    }
}

/// How large the large batches of [`Job::AppendAndTrim`] are: more than a page of any store.
pub(crate) fn large_bytes(has: &Capabilities) -> usize {
    has.batch_bytes_max.min(700_000)
}

async fn save(store: &Arc<dyn MessageStore>) -> CaseResult {
    let name = key("commits/counter")?;
    let mut count = match store.load(&name).await? {
        Some(document) => count_in(&document.value)?,
        None => 0,
    };
    loop {
        count += 1;
        store.save(&name, counted(count), Expected::Any).await?;
        say(&format!("D {count}"))?;
    }
}

/// A document whose every byte follows from a count; its length changes from one to the next.
pub(crate) fn counted(count: u64) -> Bytes {
    let times = usize::try_from(count % 40).unwrap_or(0) + 1;
    Bytes::from(format!("{count:016x}").repeat(times))
}

/// The count that a document was made of.
pub(crate) fn count_in(value: &Bytes) -> CaseResult<u64> {
    let text = value.get(..16).and_then(|digits| std::str::from_utf8(digits).ok());
    let count = text.and_then(|digits| u64::from_str_radix(digits, 16).ok());
    let torn = || Failure::new(format!("the document is torn: {} bytes", value.len()));
    let count = count.ok_or_else(torn)?;
    if counted(count) == *value { Ok(count) } else { Err(torn()) }
}

async fn audit(store: &Arc<dyn MessageStore>, seed: u64) -> CaseResult {
    let there = create(store, PARTITION).await?;
    for round in 0..AUDIT_ROUNDS {
        let base = Msn::new(round);
        let payload = marker(seed, "batch", round).repeat(8);
        there.append(vec![batch_of(base, &[Message::new(payload)])?]).await?;
        there.sync().await?;
        say(&format!("S {round}"))?;
        let value = Bytes::from(marker(seed, "document", round).repeat(8));
        store.save(&key("audit")?, value, Expected::Any).await?;
        say(&format!("D {round}"))?;
    }
    for round in 0..AUDIT_CHANGES {
        audit_changes(store, &there, round).await?;
    }
    let payload = marker(seed, "close", 0).repeat(8);
    there.append(vec![batch_of(there.bounds().next_msn, &[Message::new(payload)])?]).await?;
    store.close().await?;
    say(AUDIT_END)
}

/// Trims all there is, and discards a document, with a line before each so that it is told apart.
async fn audit_changes(
    store: &Arc<dyn MessageStore>,
    there: &Arc<dyn PartitionStore>,
    round: u64,
) -> CaseResult {
    let batch = batch_of(there.bounds().next_msn, &[Message::new("to be trimmed")])?;
    there.append(vec![batch]).await?;
    there.sync().await?;
    let name = key("discarded")?;
    store.save(&name, "to be discarded".into(), Expected::Any).await?;
    say(&format!("R {round}"))?;
    there.trim(there.bounds().next_msn).await?;
    say(&format!("T {round}"))?;
    say(&format!("K {round}"))?;
    store.discard(&name, Expected::Any).await?;
    say(&format!("X {round}"))
}

/// One line on standard output, in one write; an error when nobody listens any more.
pub(super) fn say(line: &str) -> CaseResult {
    let mut out = std::io::stdout().lock();
    out.write_all(format!("{line}\n").as_bytes())?;
    out.flush()?;
    Ok(())
}
