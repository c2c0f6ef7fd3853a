//! The device damages bytes: nothing false is served, and nothing is lost in silence.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use msglog_core::store::{
    Access, DocumentKey, Expected, MessageStore, OpenOptions, PartitionStore, ReadLimit,
};
use msglog_core::{Error, ErrorKind, Msn, RecordBatch};

use crate::cx::{PARTITION, key, partition};
use crate::failure::in_words;
use crate::sample::{Dice, same};
use crate::snapshot::Snapshot;
use crate::{CaseResult, Cx, Failure, ensure};

/// A closed place: what was stored there, and what its files hold.
struct Filled {
    batches: Vec<RecordBatch>,
    documents: Vec<(DocumentKey, Bytes)>,
    files: Snapshot,
}

/// What a damaged place answers; refusing it is no loss in silence.
#[derive(Default)]
struct Answered {
    /// Where the batches end that it serves.
    end: Option<Msn>,
    /// The documents that it says it never had.
    missing: Vec<DocumentKey>,
}

/// How many documents a place is filled with.
const DOCUMENTS: usize = 4;

/// Documents come first, so that damage to them cannot be a torn write.
async fn filled(cx: &Cx) -> CaseResult<Filled> {
    let Some(folder) = cx.place().folder() else { return Err(Failure::new("no folder")) };
    let opened = cx.open_partition().await?;
    let (mut documents, mut dice) = (Vec::new(), Dice::new(cx.seed()));
    for number in 0..DOCUMENTS {
        let value: String = (0..12).map(|_| format!("{:016x}", dice.below(u64::MAX))).collect();
        let (name, value) = (key(&format!("damaged/{number}"))?, Bytes::from(value));
        opened.store.save(&name, value.clone(), Expected::Absent).await?;
        documents.push((name, value));
    }
    let batches = cx.samples().run(Msn::ZERO, 20)?;
    for batch in &batches {
        opened.append_each(std::slice::from_ref(batch)).await?;
        opened.partition.sync().await?;
    }
    drop(opened);
    cx.open_once_free().await?.close().await?;
    Ok(Filled { batches, documents, files: Snapshot::of(&folder)? })
}

/// Damage is refused as such: as `Corrupt`, or as a format that is not known.
fn check_refusal(error: &Error, what: &str) -> CaseResult {
    let words = in_words(error);
    let says_so = matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Unsupported);
    ensure!(says_so, "{what}: damage is answered with `{words}`, expected corrupt");
    Ok(())
}

/// Opens a damaged place: it may be refused, but what it serves must be what was stored.
async fn check_damaged(cx: &Cx, there: &Filled, what: &str) -> CaseResult<Answered> {
    let store = match cx.place().open(Access::Write).await {
        Ok(store) => store,
        // A damaged marker looks like that of something else.
        Err(error) if error.kind() == ErrorKind::Invalid => return Ok(Answered::default()),
        Err(error) => return check_refusal(&error, what).map(|()| Answered::default()),
    };
    let end = match store.open(&partition(PARTITION)?, OpenOptions::existing()).await {
        Ok(partition) => check_served(&partition, &there.batches, what).await?,
        Err(error) if error.kind() == ErrorKind::NotFound => Some(Msn::ZERO),
        Err(error) => check_refusal(&error, what).map(|()| None)?,
    };
    let missing = check_documents(&store, there, what).await?;
    // Closing what is damaged may fail; the next case of damage shows whether the place is free.
    let _ = store.close().await;
    Ok(Answered { end, missing })
}

/// Loads each document, which may be refused, but is not served otherwise; answers what is gone.
async fn check_documents(
    store: &Arc<dyn MessageStore>,
    there: &Filled,
    what: &str,
) -> CaseResult<Vec<DocumentKey>> {
    let mut missing = Vec::new();
    for (name, value) in &there.documents {
        match store.load(name).await {
            Ok(Some(found)) => {
                let same = found.value == *value;
                ensure!(same, "{what}: document {name} is served with other bytes");
            }
            Ok(None) => missing.push(name.clone()),
            Err(error) => check_refusal(&error, &format!("{what}: document {name}"))?,
        }
    }
    Ok(missing)
}

/// Reads all there is; answers where it ends, or `None` when a read said that it is damaged.
async fn check_served(
    there: &Arc<dyn PartitionStore>,
    batches: &[RecordBatch],
    what: &str,
) -> CaseResult<Option<Msn>> {
    let mut next = there.bounds().first_msn;
    loop {
        let page = match there.read(next, ReadLimit::bytes(1)).await {
            Ok(page) => page,
            Err(error) => return check_refusal(&error, what).map(|()| None),
        };
        let Some(batch) = page.first() else {
            // What is lost at the end may be named too.
            let holes = there.holes();
            let named = holes.iter().filter(|hole| hole.start <= next).map(|hole| hole.end).max();
            return Ok(Some(named.unwrap_or(next).max(next)));
        };
        let base = batch.base_msn();
        let original = batches.iter().find(|original| original.base_msn() == base);
        let Some(original) = original else {
            return Err(Failure::new(format!("{what}: a batch at {base} that nobody appended")));
        };
        ensure!(same(batch, original), "{what}: batch {base} is served with other bytes");
        // Damage may be found only by the read that passes over it.
        let holes = there.holes();
        for missing in next.get()..base.get() {
            let missing = Msn::new(missing);
            let named = holes.iter().any(|hole| hole.contains(&missing));
            ensure!(named, "{what}: MSN {missing} is missing, and no hole names it");
        }
        next = batch.next_msn();
    }
}

/// Cut or overwritten at its end, no file makes the store serve what was not appended.
pub async fn torn_tail_serves_nothing_false(cx: Cx) -> CaseResult {
    let there = filled(&cx).await?;
    let whole = &there.files;
    let Some(folder) = cx.place().folder() else { return Ok(()) };
    for file in whole.files() {
        let end = whole.end_of_data(&file);
        for back in [1, 2, 9, 61, 130, 400, 900, 2_000] {
            let Some(at) = end.checked_sub(back) else { continue };
            let name = file.display();
            for (what, damaged) in [
                ("cut", whole.cut(&file, at)),
                ("flipped", whole.flipped(&file, at)),
                ("zeroed", whole.zeroed(&file, at)),
            ] {
                damaged.restore(&folder)?;
                check_damaged(&cx, &there, &format!("{name} {what} {back} bytes from its end"))
                    .await?;
            }
        }
    }
    Ok(())
}

/// Where bytes are flipped: in what no checksum of the batches covers, and anywhere.
fn places_to_flip(there: &Filled, dice: &mut Dice) -> Vec<(PathBuf, u64)> {
    let (mut places, whole) = (Vec::new(), &there.files);
    for (_, value) in &there.documents {
        if let Some((file, at)) = whole.position(value) {
            places.extend((0..6).map(|_| (file.clone(), at + dice.below(value.len() as u64))));
        }
    }
    for batch in &there.batches {
        // The prefix lies before the rest: 8 bytes of base MSN, 4 of length, 4 of leader epoch.
        if let Some((file, rest)) = whole.position(batch.rest()) {
            places.push((file.clone(), rest.saturating_sub(16 - dice.below(8))));
            places.push((file, rest.saturating_sub(8 - dice.below(4))));
        }
    }
    let files = whole.files();
    for _ in 0..120 {
        if let Some(file) = files.get(dice.index(files.len())) {
            places.push((file.clone(), dice.below(whole.end_of_data(file))));
        }
    }
    places.retain(|(file, at)| *at < whole.end_of_data(file));
    places
}

/// Flips one byte after the other, and opens the place with each.
async fn with_flipped_bytes(
    cx: &Cx,
    mut check: impl FnMut(&Filled, Answered, &str) -> CaseResult,
) -> CaseResult {
    let there = filled(cx).await?;
    let whole = &there.files;
    let Some(folder) = cx.place().folder() else { return Ok(()) };
    let mut dice = Dice::new(cx.seed());
    for (file, at) in places_to_flip(&there, &mut dice) {
        let end = whole.end_of_data(&file);
        whole.flipped(&file, at).restore(&folder)?;
        let what = format!("{} flipped at {at} of {end}", file.display());
        let answered = check_damaged(cx, &there, &what).await?;
        check(&there, answered, &what)?;
    }
    Ok(())
}

/// With any byte flipped, what is served is what was stored, and a gap in it is named.
pub async fn flipped_bytes_serve_nothing_false(cx: Cx) -> CaseResult {
    with_flipped_bytes(&cx, |_, _, _| Ok(())).await
}

/// With any byte flipped, synced batches are there, named as a hole, or refused as damaged, and
/// documents are there or refused.
///
/// Damage to the last two batches cannot be told from a torn write, and may cut them off.
pub async fn flipped_bytes_lose_nothing_silently(cx: Cx) -> CaseResult {
    with_flipped_bytes(&cx, |there, answered, what| {
        let gone = &answered.missing;
        ensure!(gone.is_empty(), "{what}: documents are lost in silence: {gone:?}");
        let sure = there.batches.iter().rev().nth(2).map_or(Msn::ZERO, RecordBatch::next_msn);
        let end = answered.end.unwrap_or(Msn::MAX);
        ensure!(end >= sure, "{what}: all from MSN {end} on is lost in silence");
        Ok(())
    })
    .await
}
