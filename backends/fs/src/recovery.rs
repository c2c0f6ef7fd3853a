//! Makes a partition whole when it is opened for writing: what is a torn tail is cut and kept aside,
//! what was acknowledged and is damaged becomes a reported hole.

use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use msglog_core::{Error, ErrorKind, Msn, Result};

use crate::loose_end::LooseEnd;
use crate::opening::{Opened, Opening};
use crate::quarantine::Quarantine;
use crate::survey::{Gap, Place, Survey};
use crate::swap;

/// What is known of bad bytes and what lies behind them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Facts {
    /// The next valid batch continues as if the bytes were not there.
    pub(crate) nothing_missing: bool,
    /// The MSN that is missing lies below the checkpoint.
    pub(crate) below_checkpoint: bool,
    /// A valid batch behind bears an epoch of this log.
    pub(crate) proof_behind: bool,
    /// The store was opened to refuse damage.
    pub(crate) strict: bool,
}

/// What bad bytes are.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Verdict {
    /// No record is missing: leave them.
    Harmless,
    /// Never acknowledged: cut there.
    TornTail,
    /// Acknowledged data was damaged: go on at the next valid batch and report it.
    Hole,
    /// The same, and the store was opened to refuse it.
    Refuse,
}

/// The recovery decision, for the bytes at which no valid batch lies.
pub(crate) fn verdict(facts: Facts) -> Verdict {
    match facts {
        Facts { nothing_missing: true, .. } => Verdict::Harmless,
        Facts { below_checkpoint: false, proof_behind: false, .. } => Verdict::TornTail,
        Facts { strict: true, .. } => Verdict::Refuse,
        Facts { strict: false, .. } => Verdict::Hole,
    }
}

/// What recovery found and did when a partition was opened.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct RecoveryReport {
    /// MSNs of acknowledged records that are lost to damage.
    pub holes: Vec<Range<Msn>>,
    /// The MSN at which a torn tail was cut.
    pub cut_at: Option<Msn>,
    /// The files that hold what was cut or found astray.
    pub quarantined: Vec<PathBuf>,
}

/// The verdicts on one survey.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Judgement {
    /// Damage to what was acknowledged.
    pub(crate) holes: Vec<Range<Msn>>,
    /// The first place that was never acknowledged, and its MSN.
    pub(crate) cut: Option<(Place, Msn)>,
    /// The MSN of the next record.
    pub(crate) next_msn: Msn,
    /// Whether to go on in a new segment.
    pub(crate) roll: bool,
    /// Damage that must not be opened.
    pub(crate) refuse: bool,
}

/// Judges every gap of a survey; `floor` is the MSN below which the checkpoint proves all synced.
pub(crate) fn judge(survey: &Survey, floor: Msn, strict: bool) -> Judgement {
    let mut judged = Judgement { next_msn: survey.next_msn, ..Judgement::default() };
    for gap in &survey.gaps {
        let facts = facts(gap, survey, floor, strict);
        match verdict(facts) {
            Verdict::Harmless => {}
            Verdict::TornTail => {
                judged.cut = Some((gap.at, gap.expected));
                judged.next_msn = gap.expected;
                break;
            }
            verdict => {
                judged.refuse |= verdict == Verdict::Refuse;
                judged.roll = true;
                if let Some((_, resumes)) = gap.resumes {
                    judged.holes.push(gap.expected..resumes);
                }
            }
        }
    }
    if judged.next_msn < floor {
        judged.holes.push(judged.next_msn..floor);
        judged.next_msn = floor;
        judged.roll = true;
        judged.refuse |= strict;
    }
    judged
}

/// Whether all that there is to do is to cut the last segment where no valid batch lies behind: as
/// the end of a process leaves it, which nobody need wait for.
fn is_torn_end(survey: &Survey, judged: &Judgement, segments: usize) -> bool {
    let last = survey.gaps.last().is_some_and(|gap| {
        gap.resumes.is_none() && judged.cut.is_some_and(|(place, _)| place == gap.at)
    });
    let at_end = judged.cut.is_some_and(|(place, _)| place.segment + 1 == segments);
    last && at_end && judged.holes.is_empty() && !judged.roll
}

fn facts(gap: &Gap, survey: &Survey, floor: Msn, strict: bool) -> Facts {
    Facts {
        nothing_missing: gap.resumes.is_some_and(|(_, msn)| msn == gap.expected),
        below_checkpoint: gap.expected < floor,
        // A batch may lie at the very place at which others were looked for.
        proof_behind: survey.proof.is_some_and(|proof| proof >= gap.at),
        strict,
    }
}

/// How often a cut is followed by another look; one more than should ever be needed.
const PASSES_MAX: usize = 4;

/// Recovers a partition and answers it ready to be written.
pub(crate) fn recover(opening: &Opening<'_>) -> Result<(Opened, RecoveryReport)> {
    let failed =
        |cause| Error::from_io(format!("recover partition {}", opening.dir.display()), cause);
    let mut report = RecoveryReport::default();
    swap::settle(opening.fs, opening.dir, opening.epoch).map_err(failed)?;
    for _ in 0..PASSES_MAX {
        let plan = opening.plan().map_err(failed)?;
        let survey = opening.survey(&plan).map_err(failed)?;
        let judged = judge(&survey, plan.start.floor, opening.options.strict);
        refuse(opening, &plan.holes, &judged)?;
        let is_torn = is_torn_end(&survey, &judged, plan.bases.len());
        if (judged.cut.is_some() && !is_torn) || !survey.strays.is_empty() {
            apply(opening, &plan.bases, &survey, &judged, &mut report).map_err(failed)?;
            continue;
        }
        for hole in &judged.holes {
            let (start, end) = (hole.start.get(), hole.end.get());
            let partition = opening.dir.display();
            tracing::error!(%partition, start, end, "acknowledged records are lost to damage");
        }
        report.holes.clone_from(&judged.holes);
        let (clean, changed) = (plan.clean, report != RecoveryReport::default());
        let mut opened = opening.assemble(plan, survey, &judged);
        opening.add_active(&mut opened, judged.roll).map_err(failed)?;
        if is_torn || !opened.unproven.is_empty() {
            let last = opened.segments.last().map(Arc::clone);
            opened.loose_end = last.map(|segment| LooseEnd { segment, is_torn });
        }
        if is_torn {
            report.cut_at = Some(judged.next_msn);
            let (partition, cut_at) = (opening.dir.display(), judged.next_msn.get());
            tracing::warn!(%partition, cut_at, "a torn tail is cut before anything stands behind it");
        }
        settle(opening, &mut opened, clean, changed).map_err(failed)?;
        return Ok((opened, report));
    }
    let why = format!("partition {} does not come to rest", opening.dir.display());
    Err(Error::new(ErrorKind::Corrupt, why))
}

fn refuse(opening: &Opening<'_>, known: &[Range<Msn>], judged: &Judgement) -> Result<()> {
    if !opening.options.strict || (known.is_empty() && !judged.refuse) {
        return Ok(());
    }
    let holes = [known, &judged.holes].concat();
    let why = format!("partition {} has lost MSNs {holes:?}", opening.dir.display());
    Err(Error::new(ErrorKind::Corrupt, why))
}

/// Cuts and moves aside; each step leaves a state of the same verdict.
fn apply(
    opening: &Opening<'_>,
    bases: &[Msn],
    survey: &Survey,
    judged: &Judgement,
    report: &mut RecoveryReport,
) -> io::Result<()> {
    let mut quarantine = Quarantine::new(opening.fs, opening.dir);
    for stray in survey.strays.iter().rev() {
        if let Some(base) = bases.get(*stray) {
            quarantine.take_segment(*base)?;
        }
    }
    if let Some((place, _)) = judged.cut {
        // The newest first: what is left is at any time the beginning of what was there.
        let behind = bases.iter().enumerate().skip(place.segment + 1).rev();
        for (segment, base) in behind {
            if !survey.strays.contains(&segment) {
                quarantine.take_segment(*base)?;
            }
        }
        if let Some(base) = bases.get(place.segment) {
            quarantine.cut_segment(*base, place.offset)?;
        }
        report.cut_at = Some(judged.next_msn);
    }
    let kept = quarantine.finish()?;
    let (partition, cut_at) = (opening.dir.display(), report.cut_at.map(Msn::get));
    tracing::warn!(%partition, cut_at, ?kept, "torn tail or stray segments are put aside");
    report.quarantined.extend(kept);
    Ok(())
}

/// Remembers what was decided, and makes what survived durable first. Without a decision that is
/// left to the first sync, and the end to the first append, unless there is nothing else to sync.
fn settle(
    opening: &Opening<'_>,
    opened: &mut Opened,
    clean: bool,
    changed: bool,
) -> io::Result<()> {
    let syncs = changed || (!clean && opened.loose_end.is_none());
    if changed {
        for found in &opened.unproven {
            let file = opening.files.file(&found.segment)?;
            found.write_again(file.as_ref(), &opened.holes, opening.options)?;
            file.sync_data()?;
        }
    }
    if let (true, Some(last)) = (syncs, opened.segments.last()) {
        // It may have been cut, and that not synced.
        opening.files.file(last)?.sync_all()?;
    }
    if syncs || !opened.leftovers.is_empty() {
        // Also what says that they are trimmed.
        opening.fs.sync_dir(opening.dir)?;
    }
    if changed {
        opened.set_synced();
        opened.checkpoint(opening.epoch).store(opening.fs, opening.dir)?;
    }
    opening.remove_leftovers(&opened.leftovers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recovery_table() {
        let table = [
            // nothing missing, below checkpoint, proof behind, strict
            ([true, false, false, false], Verdict::Harmless),
            ([true, true, true, true], Verdict::Harmless),
            ([false, false, false, false], Verdict::TornTail),
            ([false, false, false, true], Verdict::TornTail),
            ([false, false, true, false], Verdict::Hole),
            ([false, true, false, false], Verdict::Hole),
            ([false, true, true, false], Verdict::Hole),
            ([false, false, true, true], Verdict::Refuse),
            ([false, true, false, true], Verdict::Refuse),
            ([false, true, true, true], Verdict::Refuse),
        ];
        for ([nothing_missing, below_checkpoint, proof_behind, strict], expected) in table {
            let facts = Facts { nothing_missing, below_checkpoint, proof_behind, strict };
            assert_eq!(verdict(facts), expected, "{facts:?}");
        }
    }
    /// A survey that looked for MSN 5 at the beginning and found MSN 9 there, or nothing.
    fn gap(found: bool, proof: Option<Place>) -> Survey {
        let at = Place { segment: 0, offset: 0 };
        let (expected, next) = (Msn::new(5), Msn::new(9));
        let mut survey = Survey::default();
        (survey.next_msn, survey.proof) = (expected, proof);
        survey.gaps.push(Gap { at, expected, resumes: found.then_some((at, next)) });
        if found {
            survey.next_msn = next.plus(1);
        }
        survey
    }

    #[test]
    fn checkpoint_proves_what_lies_below_it_and_nothing_at_it() {
        let judged = |floor| judge(&gap(false, None), Msn::new(floor), true);
        assert_eq!((judged(5).cut.is_some(), judged(5).refuse), (true, false));
        assert_eq!((judged(6).cut.is_some(), judged(6).refuse), (false, true));
        assert_eq!(judged(6).holes, [Msn::new(5)..Msn::new(6)]);
    }

    #[test]
    fn batch_at_the_very_place_of_a_gap_proves_that_it_is_a_hole() {
        let at = |offset| Some(Place { segment: 0, offset });
        for proof in [at(0), at(100)] {
            let judged = judge(&gap(true, proof), Msn::ZERO, false);
            assert_eq!((judged.cut, judged.next_msn), (None, Msn::new(10)));
            assert_eq!(judged.holes, [Msn::new(5)..Msn::new(9)]);
        }
        assert!(judge(&gap(true, None), Msn::ZERO, false).cut.is_some(), "no proof");
    }
}
