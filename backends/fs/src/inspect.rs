//! Looks at a whole store without changing it: what is valid, torn or damaged, segment by segment,
//! by the same survey and the same verdicts as recovery.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use msglog_core::store::Access;
use msglog_core::{Error, Msn, Result, TopicPartition};

use crate::io::{FileSystem, RealFs};
use crate::layout::segment_name;
use crate::opening::Opening;
use crate::options::{FsOptions, SEGMENT_BYTES_MAX};
use crate::place;
use crate::recovery::{Judgement, judge};
use crate::segment::OpenFiles;
use crate::survey::{Place, Survey};

/// What a store holds.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Inspection {
    /// In order of their names.
    pub partitions: Vec<PartitionInspection>,
}

/// What a partition holds.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct PartitionInspection {
    /// Its name.
    pub partition: TopicPartition,
    /// The oldest MSN that is not trimmed.
    pub first_msn: Msn,
    /// The MSN that the next record would get.
    pub next_msn: Msn,
    /// The MSNs of acknowledged records that are lost to damage.
    pub lost: Vec<Range<Msn>>,
    /// The MSN from which on what is there was never acknowledged and will be cut when the store
    /// is opened for writing.
    pub torn_at: Option<Msn>,
    /// In order.
    pub segments: Vec<SegmentInspection>,
}

/// What a segment file holds.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct SegmentInspection {
    /// The file.
    pub path: PathBuf,
    /// Its first MSN.
    pub base_msn: Msn,
    /// The MSN behind its last valid batch.
    pub next_msn: Msn,
    /// The bytes up to there.
    pub valid_bytes: u64,
    /// What is to be said of it.
    pub verdict: SegmentVerdict,
}

/// What is to be said of a segment.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum SegmentVerdict {
    /// Every byte up to its end is part of a valid batch.
    Whole,
    /// Acknowledged records that it held, or that should lie in front of it, are lost.
    Damaged,
    /// It ends in bytes that were never acknowledged, or consists of such.
    Torn,
    /// It lies within another one, and is no part of the log.
    Stray,
}

impl SegmentVerdict {
    /// The verdict in one word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Whole => "whole",
            Self::Damaged => "damaged",
            Self::Torn => "torn",
            Self::Stray => "stray",
        }
    }
}

impl Inspection {
    /// Whether no acknowledged record is lost.
    pub fn is_whole(&self) -> bool {
        self.partitions.iter().all(|partition| partition.lost.is_empty())
    }
}

/// Reads every byte of the store in the folder `path`, and changes nothing.
///
/// Beside a writer the end of a partition may look torn: it is being written.
///
/// # Errors
///
/// [`NotFound`](msglog_core::ErrorKind::NotFound) when there is no store;
/// [`Unsupported`](msglog_core::ErrorKind::Unsupported) for a newer format.
pub fn inspect(path: impl AsRef<Path>) -> Result<Inspection> {
    inspect_on(&(Arc::new(RealFs) as Arc<dyn FileSystem>), path)
}

/// The same on another file system, e.g. a simulated one.
///
/// # Errors
///
/// As for [`inspect`].
pub fn inspect_on(fs: &Arc<dyn FileSystem>, path: impl AsRef<Path>) -> Result<Inspection> {
    let root = path.as_ref();
    let manifest = place::find(fs.as_ref(), root)?;
    let failed = |path: &Path, cause| Error::from_io(format!("inspect {}", path.display()), cause);
    let mut options = FsOptions::new(Access::Read);
    (options.full_scan, options.segment_bytes) = (true, SEGMENT_BYTES_MAX);
    let files = Arc::new(OpenFiles::new(Arc::clone(fs), options));
    let mut partitions = Vec::new();
    for entry in fs.list(root).map_err(|cause| failed(root, cause))? {
        let Ok(partition) = entry.name.parse::<TopicPartition>() else { continue };
        if !entry.is_dir {
            continue;
        }
        let dir = root.join(&entry.name);
        let opening = Opening {
            fs: fs.as_ref(),
            dir: &dir,
            options: &options,
            files: &files,
            epoch: manifest.writer_epoch,
            trusts_zeros: false,
        };
        partitions.push(inspect_partition(&opening, partition).map_err(|c| failed(&dir, c))?);
    }
    partitions.sort_unstable_by(|a, b| a.partition.cmp(&b.partition));
    Ok(Inspection { partitions })
}

fn inspect_partition(
    opening: &Opening<'_>,
    partition: TopicPartition,
) -> io::Result<PartitionInspection> {
    let plan = opening.plan()?;
    let survey = opening.survey(&plan)?;
    let judged = judge(&survey, plan.start.floor, false);
    let segments = survey.segments.iter().enumerate().map(|(place, segment)| SegmentInspection {
        path: opening.dir.join(segment_name(segment.base)),
        base_msn: segment.base,
        next_msn: segment.extent.next_msn,
        valid_bytes: segment.extent.end,
        verdict: verdict(place, &survey, &judged),
    });
    let segments = segments.collect();
    Ok(PartitionInspection {
        partition,
        first_msn: plan.first_msn,
        next_msn: judged.next_msn.max(plan.first_msn),
        lost: judged.holes,
        torn_at: judged.cut.map(|(_, msn)| msn),
        segments,
    })
}

fn verdict(segment: usize, survey: &Survey, judged: &Judgement) -> SegmentVerdict {
    if survey.strays.contains(&segment) {
        return SegmentVerdict::Stray;
    }
    if judged.cut.is_some_and(|(at, _)| at < Place { segment: segment + 1, offset: 0 }) {
        return SegmentVerdict::Torn;
    }
    let is_lost = |msn: Msn| judged.holes.iter().any(|hole| hole.contains(&msn));
    let damaged = survey.gaps.iter().any(|gap| {
        let resumes = gap.resumes.is_some_and(|(at, _)| at.segment == segment);
        (gap.at.segment == segment || resumes) && is_lost(gap.expected)
    });
    if damaged { SegmentVerdict::Damaged } else { SegmentVerdict::Whole }
}
