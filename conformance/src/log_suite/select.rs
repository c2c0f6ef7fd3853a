//! Reading what is asked for: records by MSN, the newest ones, those that a filter names.

use std::time::Duration;

use futures::StreamExt;
use msglog_core::log::{Filter, Missing, SubscribeOptions};
use msglog_core::store::{ReadLimit, Survives};
use msglog_core::{ErrorKind, Message, Msn, Record, Topic};

use super::{TOPIC, open, read_all, reopen};
use crate::case::{Need, cases};
use crate::cx::check_refused;
use crate::sample::Dice;
use crate::store_suite::cancellation::poll_then_drop;
use crate::{CaseResult, Cx, Failure, ensure, ensure_eq};

const REOPENS: Need = Need::SyncSurvives(Survives::Process);

cases! { "log-select":
    many_records_come_in_the_order_asked;
    missing_records_are_told_apart;
    newest_records_below_an_msn_come_oldest_first;
    reading_backwards_covers_everything_once;
    filter_gives_exactly_what_it_asks_for;
    filter_that_finds_nothing_moves_on;
    options_of_a_subscription_do_not_change_what_it_gives;
    options_out_of_range_are_refused;
    cancelled_reads_change_nothing;
    dropped_subscription_goes_on_from_its_next_msn [REOPENS];
}

const RECORDS: u64 = 150;
/// How long what is there may take to arrive.
const ARRIVAL_MAX: Duration = Duration::from_secs(10);

fn message(number: u64) -> Message {
    let message = Message::new(format!("message {number}"));
    match number % 5 {
        0 => message,
        1 => message.with_key(format!("ann/{}", number % 3)),
        2 => message.with_key(format!("bob/{}", number % 3)).with_header("colour", "red"),
        3 => message.with_header("colour", "blue").with_header("colour", "red"),
        _ => message.with_key("").with_header("size", number.to_string()),
    }
}

/// A topic with records in batches of 1 to 12; the records as a plain read gives them.
async fn filled(cx: &Cx, topic: &Topic) -> CaseResult<Vec<Record>> {
    let mut dice = Dice::new(cx.seed());
    let mut number = 0;
    while number < RECORDS {
        let end = RECORDS.min(number + dice.below(12) + 1);
        topic.append_batch((number..end).map(message)).await?.ack().await?;
        number = end;
    }
    read_all(topic, 0, Msn::ZERO).await
}

/// Unsorted, repeated, and beside MSNs that are not there yet.
pub async fn many_records_come_in_the_order_asked(cx: Cx) -> CaseResult {
    let log = open(&cx).await?;
    let topic = log.topic(TOPIC).await?;
    let records = filled(&cx, &topic).await?;
    let mut dice = Dice::new(!cx.seed());
    for count in [0, 1, 2, 10, 500] {
        let asked: Vec<Msn> = (0..count).map(|_| Msn::new(dice.below(RECORDS + 10))).collect();
        let found = topic.read_many(0, &asked).await?;
        ensure_eq!(found.len(), asked.len(), "answers");
        for (msn, found) in asked.iter().zip(found) {
            let wanted = records.iter().find(|record| record.msn == *msn);
            ensure_eq!(found, wanted.cloned().ok_or(Missing::NotYet), "MSN {msn}");
            ensure_eq!(topic.record(0, *msn).await?, wanted.cloned(), "alone, MSN {msn}");
        }
    }
    let many = vec![Msn::ZERO; 100_001];
    check_refused(topic.read_many(0, &many).await, ErrorKind::TooLarge, "100,001 records")?;
    check_refused(topic.read_many(1, &[]).await, ErrorKind::Invalid, "partition 1 of 1")
}

/// What was trimmed is said to be, also when all of it was.
pub async fn missing_records_are_told_apart(cx: Cx) -> CaseResult {
    let log = open(&cx).await?;
    let topic = log.topic(TOPIC).await?;
    let records = filled(&cx, &topic).await?;
    for before in [70, 1_000] {
        let first = topic.trim(0, Msn::new(before)).await?;
        let asked: Vec<Msn> = (0..RECORDS + 3).map(Msn::new).collect();
        for (msn, found) in asked.iter().zip(topic.read_many(0, &asked).await?) {
            let wanted = match records.iter().find(|record| record.msn == *msn) {
                _ if *msn < first => Err(Missing::Trimmed),
                Some(record) => Ok(record.clone()),
                None => Err(Missing::NotYet),
            };
            ensure_eq!(found, wanted, "MSN {msn} after a trim up to {first}");
        }
    }
    Ok(())
}

fn below(records: &[Record], before: u64, count: usize) -> &[Record] {
    let end = records.partition_point(|record| record.msn < Msn::new(before));
    let all = records.get(..end).unwrap_or_default();
    all.get(all.len().saturating_sub(count)..).unwrap_or_default()
}

/// Whatever the MSN and the count, also beyond both ends.
pub async fn newest_records_below_an_msn_come_oldest_first(cx: Cx) -> CaseResult {
    let log = open(&cx).await?;
    let topic = log.topic(TOPIC).await?;
    let limit = ReadLimit::default();
    ensure_eq!(topic.read_before(0, Msn::MAX, 5, limit).await?, vec![], "of an empty partition");
    let records = filled(&cx, &topic).await?;
    for before in [0, 1, 2, 17, 80, RECORDS - 1, RECORDS, RECORDS + 5, u64::MAX] {
        for count in [0, 1, 3, 40, 1_000] {
            let found = topic.read_before(0, Msn::new(before), count, limit).await?;
            ensure_eq!(found, below(&records, before, count), "{count} below {before}");
        }
    }
    let first = topic.trim(0, Msn::new(60)).await?;
    let left = below(&records, u64::MAX, usize::try_from(RECORDS - first.get()).unwrap_or(0));
    for before in [0, 60, 61, 100, u64::MAX] {
        let found = topic.read_before(0, Msn::new(before), 1_000, limit).await?;
        ensure_eq!(found, below(left, before, 1_000), "below {before}, trimmed up to {first}");
    }
    Ok(())
}

/// However little a read may answer, going on below its first record gives every record once.
pub async fn reading_backwards_covers_everything_once(cx: Cx) -> CaseResult {
    let log = open(&cx).await?;
    let topic = log.topic(TOPIC).await?;
    let records = filled(&cx, &topic).await?;
    for (count, bytes) in [(1, 1_000), (7, 1_000), (1_000, 0), (1_000, 50), (1_000, 1 << 20)] {
        let (mut all, mut before) = (Vec::new(), Msn::MAX);
        loop {
            let mut page = topic.read_before(0, before, count, ReadLimit::bytes(bytes)).await?;
            let Some(first) = page.first() else { break };
            ensure!(first.msn < before, "below {before} comes MSN {}", first.msn);
            ensure!(page.len() <= count, "{} records of at most {count}", page.len());
            ensure!(bytes > 0 || page.len() == 1, "{} records of 0 bytes", page.len());
            before = first.msn;
            page.append(&mut all);
            all = page;
        }
        ensure_eq!(all, records, "backwards by {count} records of {bytes} bytes");
    }
    Ok(())
}

/// What a filter asks for, in words of the test.
type Asks = fn(&Record) -> bool;

fn filters() -> Vec<(Filter, Asks)> {
    fn key(record: &Record) -> &[u8] {
        record.key.as_deref().unwrap_or(b"none")
    }
    fn red(record: &Record) -> bool {
        let mut headers = record.headers.iter();
        headers.any(|h| h.name == "colour" && h.value.as_deref() == Some(b"red"))
    }
    let sized = || Filter::has_header("size");
    vec![
        (Filter::Everything, |_| true),
        (Filter::key("ann/1"), |record| key(record) == b"ann/1"),
        (Filter::key(""), |record| key(record).is_empty()),
        (Filter::key_prefix("bob/"), |record| key(record).starts_with(b"bob/")),
        (Filter::key_prefix(""), |record| record.key.is_some()),
        (Filter::header("colour", "red"), red),
        (sized(), |record| record.headers.iter().any(|header| header.name == "size")),
        (Filter::all([Filter::key_prefix("bob/2"), Filter::header("colour", "red")]), |record| {
            key(record).starts_with(b"bob/2") && red(record)
        }),
        (Filter::any([Filter::key("ann/0"), sized()]), |record| {
            key(record) == b"ann/0" || record.headers.iter().any(|header| header.name == "size")
        }),
        (Filter::not(Filter::header("colour", "red")), |record| !red(record)),
        (Filter::any([]), |_| false),
        (Filter::all([]), |_| true),
    ]
}

/// In pages of any size and in a subscription.
pub async fn filter_gives_exactly_what_it_asks_for(cx: Cx) -> CaseResult {
    let log = open(&cx).await?;
    let topic = log.topic(TOPIC).await?;
    let records = filled(&cx, &topic).await?;
    for (filter, asks) in filters() {
        let from = Msn::new(13);
        let wanted: Vec<Record> =
            records.iter().filter(|record| record.msn >= from && asks(record)).cloned().collect();
        for bytes in [0, 300, 1 << 20] {
            let (mut found, mut next) = (Vec::new(), from);
            loop {
                let limit = ReadLimit::bytes(bytes);
                let page = topic.read_filtered(0, next, limit, &filter).await?;
                found.extend(page.records);
                if page.next_msn <= next {
                    break;
                }
                next = page.next_msn;
            }
            ensure_eq!(next, Msn::new(RECORDS), "the end of {filter:?}");
            ensure_eq!(found, wanted, "pages of {bytes} bytes of {filter:?}");
        }
        let options = SubscribeOptions::default().with_filter(filter.clone());
        let mut subscription = topic.subscribe_with(0, from, options)?;
        for record in &wanted {
            let next = tokio::time::timeout(ARRIVAL_MAX, subscription.next()).await;
            let next = next.map_err(|_| Failure::new(format!("{filter:?} is stuck")))?;
            ensure_eq!(next.transpose()?.as_ref(), Some(record), "subscription of {filter:?}");
        }
    }
    Ok(())
}

/// A subscription whose filter matches nothing tells by its next MSN that it is not stuck.
pub async fn filter_that_finds_nothing_moves_on(cx: Cx) -> CaseResult {
    let log = open(&cx).await?;
    let topic = log.topic(TOPIC).await?;
    filled(&cx, &topic).await?;
    let options = SubscribeOptions::default().with_filter(Filter::key("nobody"));
    let mut subscription = topic.subscribe_with(0, Msn::ZERO, options.with_page_bytes(100))?;
    let give_up = tokio::time::Instant::now() + ARRIVAL_MAX;
    while subscription.next_msn() < Msn::new(RECORDS) {
        ensure!(tokio::time::Instant::now() < give_up, "stuck at {}", subscription.next_msn());
        let none = tokio::time::timeout(Duration::from_millis(10), subscription.next()).await;
        ensure!(none.is_err(), "a filter that matches nothing gave {none:?}");
    }
    let wanted = Message::new("here").with_key("nobody");
    topic.append(wanted).await?.ack().await?;
    let found = tokio::time::timeout(ARRIVAL_MAX, subscription.next()).await;
    let Ok(Some(Ok(record))) = found else {
        return Err(Failure::new(format!("the record that matches does not come: {found:?}")));
    };
    ensure_eq!(record.msn, Msn::new(RECORDS), "the first that matches");
    Ok(())
}

/// Small pages or large ones, read ahead or not.
pub async fn options_of_a_subscription_do_not_change_what_it_gives(cx: Cx) -> CaseResult {
    let log = open(&cx).await?;
    let topic = log.topic(TOPIC).await?;
    let records = filled(&cx, &topic).await?;
    for page_bytes in [1, 200, 64 << 20] {
        for pages_ahead in [0, 1, 3, 64] {
            let options = SubscribeOptions::default()
                .with_page_bytes(page_bytes)
                .with_pages_ahead(pages_ahead);
            let subscription = topic.subscribe_with(0, Msn::ZERO, options)?;
            let take = usize::try_from(RECORDS).unwrap_or(0);
            let found =
                tokio::time::timeout(ARRIVAL_MAX, subscription.take(take).collect::<Vec<_>>());
            let found = found.await.map_err(|_| Failure::new("the records never came"))?;
            let found: Vec<Record> = found.into_iter().collect::<Result<_, _>>()?;
            ensure_eq!(found, records, "pages of {page_bytes} bytes, {pages_ahead} ahead");
        }
    }
    Ok(())
}

/// Limits of pages have limits.
pub async fn options_out_of_range_are_refused(cx: Cx) -> CaseResult {
    let log = open(&cx).await?;
    let topic = log.topic(TOPIC).await?;
    let options = SubscribeOptions::default;
    for bad in [
        options().with_page_bytes(0),
        options().with_page_bytes((64 << 20) + 1),
        options().with_pages_ahead(65),
        options().with_spin(std::time::Duration::from_secs(2)),
    ] {
        let refused = topic.subscribe_with(0, Msn::ZERO, bad.clone());
        check_refused(refused, ErrorKind::Invalid, &format!("{bad:?}"))?;
    }
    Ok(())
}

/// Dropped at any poll, whichever way it reads; a later one answers everything.
pub async fn cancelled_reads_change_nothing(cx: Cx) -> CaseResult {
    let log = open(&cx).await?;
    let topic = log.topic(TOPIC).await?;
    let records = filled(&cx, &topic).await?;
    let (limit, filter) = (ReadLimit::default(), Filter::key_prefix("bob/"));
    let msns: Vec<Msn> = records.iter().map(|record| record.msn).step_by(7).collect();
    for polls in 0..6 {
        for from in [0, 3, RECORDS / 2, RECORDS - 1].map(Msn::new) {
            poll_then_drop(topic.read(0, from, limit), polls).await.transpose()?;
            poll_then_drop(topic.record(0, from), polls).await.transpose()?;
            poll_then_drop(topic.read_many(0, &msns), polls).await.transpose()?;
            poll_then_drop(topic.read_before(0, from, 9, limit), polls).await.transpose()?;
            poll_then_drop(topic.read_filtered(0, from, limit, &filter), polls)
                .await
                .transpose()?;
            let time = msglog_core::Timestamp::from_millis(1);
            poll_then_drop(topic.find(0, time), polls).await.transpose()?;
        }
        let found = read_all(&topic, 0, Msn::ZERO).await?;
        ensure!(found == records, "after {polls} polls {} records are read", found.len());
    }
    topic.append("next").await?.ack().await?;
    Ok(())
}

/// Dropped with pages read ahead, in the middle of waiting, and the log reopened: from its next MSN
/// on another one gives what the filter asks for, every record once.
pub async fn dropped_subscription_goes_on_from_its_next_msn(cx: Cx) -> CaseResult {
    let mut log = open(&cx).await?;
    let records = filled(&cx, &log.topic(TOPIC).await?).await?;
    for (filter, asks) in filters().into_iter().take(6) {
        let wanted: Vec<Record> = records.iter().filter(|record| asks(record)).cloned().collect();
        let (mut found, mut from, mut round) = (Vec::new(), Msn::ZERO, 0);
        while found.len() < wanted.len() {
            let options = SubscribeOptions::default().with_filter(filter.clone());
            let options = options.with_page_bytes(200).with_pages_ahead(round % 4);
            let topic = log.topic(TOPIC).await?;
            let mut subscription = topic.subscribe_with(0, from, options)?;
            for _ in 0..(wanted.len() - found.len()).min(25) {
                let next = tokio::time::timeout(ARRIVAL_MAX, subscription.next()).await;
                let next = next.map_err(|_| Failure::new(format!("{filter:?} is stuck")))?;
                found.extend(next.transpose()?);
            }
            let more = poll_then_drop(subscription.next(), round % 3).await;
            found.extend(more.flatten().transpose()?);
            from = subscription.next_msn();
            drop((subscription, topic));
            if round % 3 == 0 {
                log = reopen(&cx, log).await?;
            }
            round += 1;
        }
        ensure!(found == wanted, "{filter:?}: {} of {} records", found.len(), wanted.len());
    }
    Ok(())
}
