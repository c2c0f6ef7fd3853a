//! Appending batches and reading them back: order, visibility, whole batches, the next one there is.

use bytes::Bytes;
use msglog_core::store::{Bounds, OpenOptions, ReadLimit};
use msglog_core::{ErrorKind, Header, Message, Msn, RecordBatch};

use crate::case::cases;
use crate::cx::{append_each, check_refused, create, partition, read_all, read_pages};
use crate::sample::{batch_of, check_same};
use crate::{CaseResult, Cx, ensure, ensure_eq};

cases! { "append-read":
    fresh_partition_is_empty;
    batches_come_back_in_order_and_unchanged;
    appended_batch_is_visible_at_once;
    several_batches_in_one_call_are_all_there;
    empty_append_changes_nothing;
    batch_that_does_not_continue_is_refused;
    call_with_one_bad_batch_applies_none;
    read_inside_a_batch_answers_the_whole_batch;
    read_from_each_msn_starts_at_its_batch;
    read_at_or_beyond_the_end_is_empty;
    smallest_limit_still_answers_one_batch;
    limit_is_kept_after_the_first_batch;
    pages_cover_everything_once;
    any_bytes_come_back;
    partition_starts_at_the_msn_it_was_created_at;
    start_is_ignored_where_the_partition_exists;
    read_below_the_start_answers_the_first_batch;
    partitions_do_not_mix;
    partition_opened_twice_is_one_sequence;
    bounds_follow_append_and_sync;
    sync_covers_what_was_appended_before;
    thousands_of_small_batches_come_back;
    usage_grows_with_what_is_stored;
    healthy_partition_has_no_holes;
}

/// A fresh partition has equal bounds and answers nothing.
pub async fn fresh_partition_is_empty(cx: Cx) -> CaseResult {
    let opened = cx.open_partition().await?;
    ensure_eq!(opened.partition.bounds(), Bounds::default(), "bounds");
    ensure!(read_all(&opened.partition, Msn::ZERO).await?.is_empty(), "something is there");
    Ok(())
}

/// What was appended comes back in order, every byte but the leader epoch as it was.
pub async fn batches_come_back_in_order_and_unchanged(cx: Cx) -> CaseResult {
    let opened = cx.open_partition().await?;
    let batches = cx.samples().run(Msn::ZERO, 50)?;
    opened.append_each(&batches).await?;
    let found = read_all(&opened.partition, Msn::ZERO).await?;
    check_same(&found, &batches, "read back")?;
    for batch in &found {
        let decoded = RecordBatch::decode(batch.to_bytes());
        ensure!(decoded.is_ok(), "the bytes of batch {} do not decode", batch.base_msn());
    }
    Ok(())
}

/// A batch is readable as soon as its `append` has returned, without `sync`.
pub async fn appended_batch_is_visible_at_once(cx: Cx) -> CaseResult {
    let opened = cx.open_partition().await?;
    for batch in cx.samples().run(Msn::ZERO, 20)? {
        let base = batch.base_msn();
        append_each(&opened.partition, std::slice::from_ref(&batch)).await?;
        ensure_eq!(opened.partition.bounds().next_msn, batch.next_msn(), "next_msn");
        let found = opened.partition.read(base, ReadLimit::default()).await?;
        check_same(&found, &[batch], "read right after append")?;
    }
    Ok(())
}

/// One call with several batches adds them all, in order.
pub async fn several_batches_in_one_call_are_all_there(cx: Cx) -> CaseResult {
    let opened = cx.open_partition().await?;
    let batches = cx.samples().run(Msn::ZERO, 30)?;
    for call in batches.chunks(7) {
        opened.partition.append(call.to_vec()).await?;
    }
    check_same(&read_all(&opened.partition, Msn::ZERO).await?, &batches, "read back")
}

/// A call without batches succeeds and changes nothing.
pub async fn empty_append_changes_nothing(cx: Cx) -> CaseResult {
    let opened = cx.open_partition().await?;
    opened.append_each(&cx.samples().run(Msn::ZERO, 2)?).await?;
    let before = opened.partition.bounds();
    opened.partition.append(Vec::new()).await?;
    ensure_eq!(opened.partition.bounds().next_msn, before.next_msn, "next_msn");
    Ok(())
}

/// A base MSN below or above the next one is a `Conflict`, and nothing is changed.
pub async fn batch_that_does_not_continue_is_refused(cx: Cx) -> CaseResult {
    let opened = cx.open_partition().await?;
    let batches = cx.samples().run(Msn::ZERO, 3)?;
    opened.append_each(&batches).await?;
    let next = opened.partition.bounds().next_msn;
    let wrong = [Msn::ZERO, Msn::new(next.get() - 1), next.plus(1), next.plus(1_000)];
    for base in wrong {
        let batch = cx.samples().batch(base, 2)?;
        let answer = opened.partition.append(vec![batch]).await;
        check_refused(answer, ErrorKind::Conflict, &format!("append at {base} instead of {next}"))?;
    }
    ensure_eq!(opened.partition.bounds().next_msn, next, "next_msn after refused appends");
    check_same(&read_all(&opened.partition, Msn::ZERO).await?, &batches, "after refused appends")?;
    opened.append_each(&cx.samples().run(next, 1)?).await
}

/// When one batch of a call does not continue, no batch of the call is applied.
pub async fn call_with_one_bad_batch_applies_none(cx: Cx) -> CaseResult {
    let opened = cx.open_partition().await?;
    let good = cx.samples().batch(Msn::ZERO, 2)?;
    for base in [0, 1, 3, 9] {
        let call = vec![good.clone(), cx.samples().batch(Msn::new(base), 1)?];
        let answer = opened.partition.append(call).await;
        check_refused(answer, ErrorKind::Conflict, &format!("append 0..2 and then {base}"))?;
        ensure_eq!(opened.partition.bounds().next_msn, Msn::ZERO, "next_msn");
        ensure!(read_all(&opened.partition, Msn::ZERO).await?.is_empty(), "a part was applied");
    }
    opened.append_each(&[good]).await
}

/// A read from the middle of a batch answers that whole batch first.
pub async fn read_inside_a_batch_answers_the_whole_batch(cx: Cx) -> CaseResult {
    let opened = cx.open_partition().await?;
    let batches = [cx.samples().batch(Msn::ZERO, 5)?, cx.samples().batch(Msn::new(5), 5)?];
    opened.append_each(&batches).await?;
    for from in 1..5 {
        let found = read_all(&opened.partition, Msn::new(from)).await?;
        check_same(&found, &batches, &format!("read from {from} inside 0..5"))?;
    }
    Ok(())
}

/// Whatever MSN a read starts from, its first batch is the one that holds it.
pub async fn read_from_each_msn_starts_at_its_batch(cx: Cx) -> CaseResult {
    let opened = cx.open_partition().await?;
    let batches = cx.samples().run(Msn::ZERO, 25)?;
    opened.append_each(&batches).await?;
    for (index, batch) in batches.iter().enumerate() {
        for from in batch.base_msn().get()..batch.next_msn().get() {
            let found = opened.partition.read(Msn::new(from), ReadLimit::bytes(1)).await?;
            let wanted = batches.get(index..=index).unwrap_or_default();
            check_same(&found, wanted, &format!("one batch from {from}"))?;
        }
    }
    Ok(())
}

/// A read at the end or beyond it answers nothing.
pub async fn read_at_or_beyond_the_end_is_empty(cx: Cx) -> CaseResult {
    let opened = cx.open_partition().await?;
    opened.append_each(&cx.samples().run(Msn::ZERO, 3)?).await?;
    let next = opened.partition.bounds().next_msn;
    for from in [next, next.plus(1), next.plus(1_000_000), Msn::MAX] {
        let found = opened.partition.read(from, ReadLimit::default()).await?;
        ensure!(found.is_empty(), "read from {from}, the end being {next}, answered something");
    }
    Ok(())
}

/// However small the limit, a read answers the first batch there is.
pub async fn smallest_limit_still_answers_one_batch(cx: Cx) -> CaseResult {
    let opened = cx.open_partition().await?;
    let batches = cx.samples().run(Msn::ZERO, 3)?;
    opened.append_each(&batches).await?;
    let first = batches.get(..1).unwrap_or_default();
    for bytes in [0, 1] {
        let found = opened.partition.read(Msn::ZERO, ReadLimit::bytes(bytes)).await?;
        check_same(&found, first, &format!("read of {bytes} bytes"))?;
    }
    Ok(())
}

/// Beyond the first batch a read never answers more bytes than its limit.
pub async fn limit_is_kept_after_the_first_batch(cx: Cx) -> CaseResult {
    let opened = cx.open_partition().await?;
    let batches = cx.samples().run(Msn::ZERO, 30)?;
    opened.append_each(&batches).await?;
    let two: usize = batches.iter().take(2).map(RecordBatch::encoded_len).sum();
    for limit in [two - 1, two, two + 1, 1_000, 3_000] {
        let found = opened.partition.read(Msn::ZERO, ReadLimit::bytes(limit)).await?;
        let bytes: usize = found.iter().map(RecordBatch::encoded_len).sum();
        ensure!(
            found.len() <= 1 || bytes <= limit,
            "a read limited to {limit} bytes answered {bytes} in {} batches",
            found.len()
        );
    }
    Ok(())
}

/// Reading page by page, each from where the last one ended, sees every batch exactly once.
pub async fn pages_cover_everything_once(cx: Cx) -> CaseResult {
    let opened = cx.open_partition().await?;
    let batches = cx.samples().run(Msn::ZERO, 60)?;
    opened.append_each(&batches).await?;
    for bytes in [1, 700, 2_000, 1 << 20] {
        let found = read_pages(&opened.partition, Msn::ZERO, ReadLimit::bytes(bytes)).await?;
        check_same(&found, &batches, &format!("pages of {bytes} bytes"))?;
    }
    Ok(())
}

/// Null, empty, binary and large keys, payloads and headers come back as they were.
pub async fn any_bytes_come_back(cx: Cx) -> CaseResult {
    let opened = cx.open_partition().await?;
    let every_byte: Vec<u8> = (0..=255).collect();
    let mut odd = Message::new(every_byte.clone()).with_key(Bytes::new());
    odd.headers = vec![
        Header { name: String::new(), value: None },
        Header::new("twice", "1"),
        Header::new("twice", every_byte),
    ];
    let large = (cx.capabilities().batch_bytes_max / 4).min(1 << 20);
    let messages = [
        Message::default(),
        Message::new(""),
        Message::tombstone("gone"),
        odd,
        Message::new(vec![0_u8; large]),
        Message::new(vec![0xff_u8; large / 2]),
    ];
    let mut batches = Vec::new();
    for (msn, message) in (0_u64..).zip(&messages) {
        batches.push(batch_of(Msn::new(msn), std::slice::from_ref(message))?);
    }
    batches.push(batch_of(Msn::new(messages.len() as u64), &messages)?);
    opened.append_each(&batches).await?;
    check_same(&read_all(&opened.partition, Msn::ZERO).await?, &batches, "read back")
}

/// A partition created at an MSN gives its first record that MSN.
pub async fn partition_starts_at_the_msn_it_was_created_at(cx: Cx) -> CaseResult {
    let store = cx.open().await?;
    for (name, start) in [("a-0", 1), ("b-0", 1_000), ("c-0", 1 << 40)] {
        let options = OpenOptions::or_create_at(Msn::new(start));
        let there = store.open(&partition(name)?, options).await?;
        let start = Msn::new(start);
        let empty = Bounds { first_msn: start, next_msn: start, durable_msn: start };
        ensure_eq!(there.bounds(), empty, "bounds of a partition created at {start}");
        let batches = cx.samples().run(start, 3)?;
        append_each(&there, &batches).await?;
        check_same(&read_all(&there, start).await?, &batches, "read back")?;
    }
    Ok(())
}

/// Opening an existing partition ignores where it would have been created.
pub async fn start_is_ignored_where_the_partition_exists(cx: Cx) -> CaseResult {
    let opened = cx.open_partition().await?;
    let batches = cx.samples().run(Msn::ZERO, 3)?;
    opened.append_each(&batches).await?;
    let options = OpenOptions::or_create_at(Msn::new(500));
    let again = opened.store.open(&partition(crate::cx::PARTITION)?, options).await?;
    ensure_eq!(again.bounds().first_msn, Msn::ZERO, "first_msn");
    check_same(&read_all(&again, Msn::ZERO).await?, &batches, "read back")
}

/// A read from below the first MSN answers from the first batch on.
pub async fn read_below_the_start_answers_the_first_batch(cx: Cx) -> CaseResult {
    let store = cx.open().await?;
    let options = OpenOptions::or_create_at(Msn::new(100));
    let there = store.open(&partition("late-0")?, options).await?;
    let batches = cx.samples().run(Msn::new(100), 3)?;
    append_each(&there, &batches).await?;
    for from in [0, 1, 99] {
        check_same(&read_all(&there, Msn::new(from)).await?, &batches, &format!("from {from}"))?;
    }
    Ok(())
}

/// Each partition, also of the same topic, has a sequence of its own.
pub async fn partitions_do_not_mix(cx: Cx) -> CaseResult {
    let store = cx.open().await?;
    let names = ["orders-0", "orders-1", "orders-10", "order-0", "orders-1-0"];
    let mut expected = Vec::new();
    for (seed, name) in (1_u64..).zip(names) {
        let batches = crate::sample::Samples::new(cx.seed() ^ seed).run(Msn::ZERO, 5)?;
        expected.push((create(&store, name).await?, batches));
    }
    for round in 0..5 {
        for (there, batches) in &expected {
            append_each(there, batches.get(round..=round).unwrap_or_default()).await?;
        }
    }
    for ((there, batches), name) in expected.iter().zip(names) {
        check_same(&read_all(there, Msn::ZERO).await?, batches, name)?;
    }
    Ok(())
}

/// Two handles of one partition see and continue the same sequence.
pub async fn partition_opened_twice_is_one_sequence(cx: Cx) -> CaseResult {
    let opened = cx.open_partition().await?;
    let again = create(&opened.store, crate::cx::PARTITION).await?;
    let batches = cx.samples().run(Msn::ZERO, 6)?;
    for (index, batch) in batches.iter().enumerate() {
        let there = if index % 2 == 0 { &opened.partition } else { &again };
        append_each(there, std::slice::from_ref(batch)).await?;
    }
    for there in [&opened.partition, &again] {
        check_same(&read_all(there, Msn::ZERO).await?, &batches, "either handle")?;
        let end = batches.last().map(RecordBatch::next_msn);
        ensure_eq!(Some(there.bounds().next_msn), end, "next_msn");
    }
    Ok(())
}

/// At any time `first_msn <= durable_msn <= next_msn`, and each is what calls have made it.
pub async fn bounds_follow_append_and_sync(cx: Cx) -> CaseResult {
    let opened = cx.open_partition().await?;
    for batch in cx.samples().run(Msn::ZERO, 10)? {
        append_each(&opened.partition, std::slice::from_ref(&batch)).await?;
        let bounds = opened.partition.bounds();
        let in_order =
            bounds.first_msn <= bounds.durable_msn && bounds.durable_msn <= bounds.next_msn;
        ensure!(in_order, "bounds are out of order: {bounds:?}");
        ensure_eq!(bounds.first_msn, Msn::ZERO, "first_msn");
        ensure_eq!(bounds.next_msn, batch.next_msn(), "next_msn");
        if batch.base_msn().get().is_multiple_of(2) {
            let durable = opened.partition.sync().await?;
            let after = opened.partition.bounds().durable_msn;
            ensure!(after >= durable, "sync answered {durable}, but durable_msn is {after}");
        }
    }
    Ok(())
}

/// `sync` answers at least the next MSN of the moment it was called, and never more than there is.
pub async fn sync_covers_what_was_appended_before(cx: Cx) -> CaseResult {
    let opened = cx.open_partition().await?;
    for batch in cx.samples().run(Msn::ZERO, 5)? {
        append_each(&opened.partition, std::slice::from_ref(&batch)).await?;
        for _ in 0..2 {
            let durable = opened.partition.sync().await?;
            ensure_eq!(durable, batch.next_msn(), "what sync answered");
        }
    }
    Ok(())
}

/// Batches of one record each come back by the thousand.
pub async fn thousands_of_small_batches_come_back(cx: Cx) -> CaseResult {
    let opened = cx.open_partition().await?;
    let mut batches = Vec::new();
    for msn in 0..3_000 {
        batches.push(batch_of(Msn::new(msn), &[Message::new(vec![b'm'; 3])])?);
    }
    for call in batches.chunks(100) {
        opened.partition.append(call.to_vec()).await?;
    }
    opened.partition.sync().await?;
    check_same(&read_all(&opened.partition, Msn::ZERO).await?, &batches, "read back")
}

/// `usage` counts at least part of what is stored: it grows as batches are added.
pub async fn usage_grows_with_what_is_stored(cx: Cx) -> CaseResult {
    let opened = cx.open_partition().await?;
    let empty = opened.partition.usage().await?;
    let batches = cx.samples().run(Msn::ZERO, 40)?;
    opened.append_each(&batches).await?;
    opened.partition.sync().await?;
    let full = opened.partition.usage().await?;
    ensure!(full.bytes > empty.bytes, "bytes stayed at {} after 40 batches", full.bytes);
    Ok(())
}

/// A partition that nothing was damaged in names no holes.
pub async fn healthy_partition_has_no_holes(cx: Cx) -> CaseResult {
    let opened = cx.open_partition().await?;
    opened.append_each(&cx.samples().run(Msn::ZERO, 5)?).await?;
    ensure_eq!(opened.partition.holes(), Vec::new(), "holes");
    opened.partition.trim(Msn::new(2)).await?;
    ensure_eq!(opened.partition.holes(), Vec::new(), "holes after trim");
    Ok(())
}
