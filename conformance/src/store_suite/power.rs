//! The power goes, or the device damages bytes: what was synced stays, and nothing false is served.

use msglog_core::store::{Expected, Survives};
use msglog_core::{Msn, RecordBatch};

use crate::case::{MULTI, NEXT_LEVEL, Need, cases};
use crate::cx::{PARTITION, during, existing, key, read_all};
use crate::process::trace::{AUDIT_CHANGES, AUDIT_ROUNDS, audited, marker};
use crate::sample::{Dice, check_prefix, check_same};
use crate::snapshot::Snapshot;
pub use crate::store_suite::damage::{
    flipped_bytes_lose_nothing_silently, flipped_bytes_serve_nothing_false,
    torn_tail_serves_nothing_false,
};
use crate::{CaseResult, Cx, ensure};

const POWER: Need = Need::SyncSurvives(Survives::Power);
const ON_DISK: Need = Need::SyncSurvives(Survives::Os);

cases! { "power":
    sync_reaches_the_device
        [POWER, Need::Folder, Need::Address] { runtimes: MULTI, seconds_max: 60 };
    save_reaches_the_device
        [POWER, Need::Folder, Need::Address] { runtimes: MULTI, seconds_max: 60 };
    close_reaches_the_device
        [POWER, Need::Folder, Need::Address] { runtimes: MULTI, seconds_max: 60 };
    trim_reaches_the_device
        [POWER, Need::Folder, Need::Address] { runtimes: MULTI, seconds_max: 60 };
    discard_reaches_the_device
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

/// Before `close` returns, the file that holds what was appended last was synced after that.
pub async fn close_reaches_the_device(cx: Cx) -> CaseResult {
    let trace = audited(&cx).await?;
    trace.check_earned(&marker(cx.seed(), "close", 0), "C 0")
}

/// Before `trim` returns, what it changed was synced: bytes in their file, names in their folder.
pub async fn trim_reaches_the_device(cx: Cx) -> CaseResult {
    let trace = audited(&cx).await?;
    for round in 0..AUDIT_CHANGES {
        trace.check_changed(&cx, &format!("R {round}"), &format!("T {round}"))?;
    }
    Ok(())
}

/// Before `discard` returns, what it changed was synced: bytes in their file, names in their folder.
pub async fn discard_reaches_the_device(cx: Cx) -> CaseResult {
    let trace = audited(&cx).await?;
    for round in 0..AUDIT_CHANGES {
        trace.check_changed(&cx, &format!("K {round}"), &format!("X {round}"))?;
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
