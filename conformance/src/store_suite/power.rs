//! The power goes, or the device damages bytes: what was synced stays, and nothing false is served.

use std::path::PathBuf;
use std::sync::Arc;

use msglog_core::store::{Access, Expected, OpenOptions, PartitionStore, Survives};
use msglog_core::{Msn, RecordBatch};

use crate::case::{MULTI, NEXT_LEVEL, Need, cases};
use crate::cx::{PARTITION, during, existing, key, partition, read_all};
use crate::process::trace::{AUDIT_ROUNDS, audited, marker};
use crate::sample::{Dice, check_prefix, check_same, same};
use crate::snapshot::Snapshot;
use crate::{CaseResult, Cx, Failure, ensure};

const POWER: Need = Need::SyncSurvives(Survives::Power);
const ON_DISK: Need = Need::SyncSurvives(Survives::Os);

cases! { "power":
    sync_reaches_the_device
        [POWER, Need::Folder, Need::Address] { runtimes: MULTI, seconds_max: 60 };
    save_reaches_the_device
        [POWER, Need::Folder, Need::Address] { runtimes: MULTI, seconds_max: 60 };
    folder_of_a_new_file_is_synced
        [POWER, Need::Folder, Need::Address]
        { runtimes: MULTI, seconds_max: 60, level: NEXT_LEVEL };
    unsynced_blocks_are_lost_in_any_mix
        [POWER, Need::AppendWeakerThanPower, Need::Folder]
        { runtimes: MULTI, seconds_max: 60 };
    power_cut_keeps_what_was_synced [POWER, Need::PowerCut] { runtimes: MULTI, seconds_max: 60 };
    torn_tail_serves_nothing_false [ON_DISK, Need::Folder] { runtimes: MULTI, seconds_max: 60 };
    flipped_bytes_serve_nothing_false [ON_DISK, Need::Folder] { runtimes: MULTI, seconds_max: 60 };
    flipped_bytes_lose_nothing_silently
        [ON_DISK, Need::Folder] { runtimes: MULTI, seconds_max: 60 };
}

/// Before `sync` returns, the file that holds the batch was synced after it was written.
pub async fn sync_reaches_the_device(cx: Cx) -> CaseResult {
    let trace = audited(&cx).await?;
    for round in 0..AUDIT_ROUNDS {
        trace.check_earned(&marker(cx.seed(), "batch", round), &format!("S {round}"))?;
    }
    Ok(())
}

/// Before `save` returns, the file that holds the document was synced after it was written.
pub async fn save_reaches_the_device(cx: Cx) -> CaseResult {
    let trace = audited(&cx).await?;
    for round in 0..AUDIT_ROUNDS {
        trace.check_earned(&marker(cx.seed(), "document", round), &format!("D {round}"))?;
    }
    Ok(())
}

/// Before an ack, the folder of a file that was made for it was synced, so that its name stays.
pub async fn folder_of_a_new_file_is_synced(cx: Cx) -> CaseResult {
    let trace = audited(&cx).await?;
    for round in 0..AUDIT_ROUNDS {
        trace.check_folder_synced(&marker(cx.seed(), "batch", round), &format!("S {round}"))?;
        trace.check_folder_synced(&marker(cx.seed(), "document", round), &format!("D {round}"))?;
    }
    Ok(())
}

/// Whichever blocks written since the last sync are lost, what was synced is there, and what
/// follows is a prefix of what was appended.
pub async fn unsynced_blocks_are_lost_in_any_mix(cx: Cx) -> CaseResult {
    let Some(folder) = cx.place().folder() else { return Ok(()) };
    let mut dice = Dice::new(cx.seed());
    let opened = cx.open_partition().await?;
    let batches = cx.samples().run(Msn::ZERO, 24)?;
    let (safe, unsure) = batches.split_at(12);
    opened.append_each(safe).await?;
    opened.partition.sync().await?;
    let before = Snapshot::of(&folder)?;
    opened.append_each(unsure).await?;
    let after = Snapshot::of(&folder)?;
    opened.store.close().await?;
    drop(opened);
    for round in 0..60 {
        before.mixed_with(&after, &mut dice).restore(&folder)?;
        let what = format!("after power loss {round}");
        let store = cx.open_once_free().await.map_err(|failure| failure.during(&what))?;
        let there = existing(&store, PARTITION).await.map_err(|failure| failure.during(&what))?;
        let found = read_all(&there, Msn::ZERO).await.map_err(|failure| failure.during(&what))?;
        check_prefix(&found, &batches, &what)?;
        let (kept, synced) = (found.len(), safe.len());
        ensure!(kept >= synced, "{what}: {kept} of {synced} synced batches are there");
        let batch = cx.samples().next(there.bounds().next_msn)?;
        there.append(vec![batch.clone()]).await.map_err(|error| during(&what, error))?;
        store.close().await?;
        drop((there, store));
        let store = cx.open_once_free().await.map_err(|failure| failure.during(&what))?;
        let there = existing(&store, PARTITION).await.map_err(|failure| failure.during(&what))?;
        let again = read_all(&there, Msn::ZERO).await?;
        check_same(&again, &[found, vec![batch]].concat(), &format!("{what}, opened again"))?;
        store.close().await?;
    }
    Ok(())
}

/// Cut again and again, the power takes nothing that was synced, saved or trimmed.
pub async fn power_cut_keeps_what_was_synced(cx: Cx) -> CaseResult {
    let Some(faults) = cx.place().faults() else { return Ok(()) };
    let mut dice = Dice::new(cx.seed());
    let (mut opened, name) = (cx.open_partition().await?, key("commits/a")?);
    for round in 0..30_u64 {
        let what = format!("after power cut {round}");
        let next = opened.partition.bounds().next_msn;
        opened.append_each(&cx.samples().run(next, 1 + dice.index(4))?).await?;
        let durable = opened.partition.sync().await?;
        opened.store.save(&name, round.to_string().into(), Expected::Any).await?;
        let first = opened.partition.trim(Msn::new(durable.get() / 3)).await?;
        let next = opened.partition.bounds().next_msn;
        opened.append_each(&cx.samples().run(next, dice.index(5))?).await?;
        faults.cut_power(dice.below(u64::MAX)).await;
        opened = cx.reopen_dropped(opened).await.map_err(|failure| failure.during(&what))?;
        let bounds = opened.partition.bounds();
        ensure!(bounds.first_msn >= first, "{what}: trimmed to {first}, {bounds:?} is there");
        ensure!(bounds.next_msn >= durable, "{what}: {durable} was synced, {bounds:?} is there");
        let found = read_all(&opened.partition, Msn::ZERO).await?;
        check_same(&found, &cx.samples().run(bounds.first_msn, found.len())?, &what)?;
        let end = found.last().map_or(bounds.first_msn, RecordBatch::next_msn);
        ensure!(end == bounds.next_msn, "{what}: batches end at {end}, {bounds:?}");
        let saved = opened.store.load(&name).await?.map(|document| document.value);
        let kept = saved == Some(round.to_string().into());
        ensure!(kept, "{what}: document {saved:?}, saved was {round}");
    }
    Ok(())
}

/// A place with some batches, closed, and what its files hold.
async fn filled(cx: &Cx) -> CaseResult<(Vec<RecordBatch>, Snapshot)> {
    let Some(folder) = cx.place().folder() else { return Err(Failure::new("no folder")) };
    let opened = cx.open_partition().await?;
    let batches = cx.samples().run(Msn::ZERO, 20)?;
    for batch in &batches {
        opened.append_each(std::slice::from_ref(batch)).await?;
        opened.partition.sync().await?;
    }
    drop(opened);
    cx.open_once_free().await?.close().await?;
    Ok((batches, Snapshot::of(&folder)?))
}

/// Opens a damaged place: it may be refused, but what it serves must be what was appended.
///
/// Answers where what is served ends, if it came to that.
async fn check_damaged(cx: &Cx, batches: &[RecordBatch], what: &str) -> CaseResult<Option<Msn>> {
    let Ok(store) = cx.place().open(Access::Write).await else { return Ok(None) };
    let mut end = None;
    if let Ok(there) = store.open(&partition(PARTITION)?, OpenOptions::existing()).await {
        end = check_served(&there, batches, what).await?;
    }
    // Closing what is damaged may fail; the next case of damage shows whether the place is free.
    let _ = store.close().await;
    Ok(end)
}

/// Reads all there is; answers where it ends, or `None` when a read said that it is damaged.
async fn check_served(
    there: &Arc<dyn PartitionStore>,
    batches: &[RecordBatch],
    what: &str,
) -> CaseResult<Option<Msn>> {
    let mut next = there.bounds().first_msn;
    loop {
        let Ok(page) = there.read(next, msglog_core::store::ReadLimit::bytes(1)).await else {
            return Ok(None);
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
    let (batches, whole) = filled(&cx).await?;
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
                check_damaged(&cx, &batches, &format!("{name} {what} {back} bytes from its end"))
                    .await?;
            }
        }
    }
    Ok(())
}

/// Where bytes are flipped: in what no checksum of the batches covers, and anywhere.
fn places_to_flip(
    batches: &[RecordBatch],
    whole: &Snapshot,
    dice: &mut Dice,
) -> Vec<(PathBuf, u64)> {
    let mut places = Vec::new();
    for batch in batches {
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
    mut check: impl FnMut(&[RecordBatch], Option<Msn>, &str) -> CaseResult,
) -> CaseResult {
    let (batches, whole) = filled(cx).await?;
    let Some(folder) = cx.place().folder() else { return Ok(()) };
    let mut dice = Dice::new(cx.seed());
    for (file, at) in places_to_flip(&batches, &whole, &mut dice) {
        let end = whole.end_of_data(&file);
        whole.flipped(&file, at).restore(&folder)?;
        let what = format!("{} flipped at {at} of {end}", file.display());
        let served = check_damaged(cx, &batches, &what).await?;
        check(&batches, served, &what)?;
    }
    Ok(())
}

/// With any byte flipped, what is served is what was appended, and a gap in it is named.
pub async fn flipped_bytes_serve_nothing_false(cx: Cx) -> CaseResult {
    with_flipped_bytes(&cx, |_, _, _| Ok(())).await
}

/// With any byte flipped, synced batches are there, named as a hole, or refused as damaged.
///
/// Damage to the last two batches cannot be told from a torn write, and may cut them off.
pub async fn flipped_bytes_lose_nothing_silently(cx: Cx) -> CaseResult {
    with_flipped_bytes(&cx, |batches, served, what| {
        let sure = batches.iter().rev().nth(2).map_or(Msn::ZERO, RecordBatch::next_msn);
        let end = served.unwrap_or(Msn::MAX);
        ensure!(end >= sure, "{what}: all from MSN {end} on is lost in silence");
        Ok(())
    })
    .await
}
