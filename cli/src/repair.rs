//! `msglog verify` and `msglog repair`.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use msglog::backends::fs::{FsFactory, FsOptions, FsStore, Inspection, inspect};
use msglog::store::{MessageStore, OpenOptions, StoreUrl};
use serde::Serialize;

use crate::args::{Output, Repair, Verify};
use crate::describe::{print_json, print_text, table};
use crate::failure::{EXIT_CORRUPT, EXIT_TO_REPAIR, Failure};

#[derive(Serialize)]
struct Report {
    whole: bool,
    partitions: Vec<PartitionReport>,
}

#[derive(Serialize)]
struct PartitionReport {
    partition: String,
    first_msn: u64,
    next_msn: u64,
    /// Half-open ranges of acknowledged MSNs that are lost to damage.
    lost: Vec<[u64; 2]>,
    /// From here on nothing was acknowledged; it is cut when the store is opened for writing.
    torn_at: Option<u64>,
    segments: Vec<SegmentReport>,
}

#[derive(Serialize)]
struct SegmentReport {
    file: String,
    first_msn: u64,
    next_msn: u64,
    valid_bytes: u64,
    verdict: &'static str,
}

/// Reads every byte of a store and says what it is worth; changes nothing.
pub(crate) fn verify(args: &Verify, output: Output) -> Result<ExitCode, Failure> {
    let inspection = inspect(folder(&args.url)?)?;
    print(&inspection, output)?;
    Ok(if inspection.is_whole() { ExitCode::SUCCESS } else { ExitCode::from(EXIT_CORRUPT) })
}

/// Says what a repair would do, or with `--apply` makes a backup and does it.
pub(crate) async fn repair(args: &Repair, output: Output) -> Result<ExitCode, Failure> {
    let folder = folder(&args.url)?;
    let inspection = inspect(&folder)?;
    print(&inspection, output)?;
    let torn = inspection.partitions.iter().any(|partition| partition.torn_at.is_some());
    if inspection.is_whole() && !torn {
        eprintln!("msglog: there is nothing to repair");
        return Ok(ExitCode::SUCCESS);
    }
    let Some(backup) = args.backup.as_ref().filter(|_| args.apply) else {
        eprintln!("msglog: nothing was changed; --apply --backup FOLDER repairs");
        return Ok(ExitCode::from(EXIT_TO_REPAIR));
    };
    // The lock keeps writers away while it is copied, and until it is repaired.
    let mut options = FsOptions::default();
    options.full_scan = true;
    let store = FsStore::open(&folder, options).await?;
    copy(&folder, backup)
        .map_err(|cause| Failure::io(format!("back up to {}", backup.display()), cause))?;
    for partition in store.partitions().await? {
        store.open(&partition, OpenOptions::existing()).await?;
    }
    store.close().await?;
    eprintln!("msglog: repaired; what was there before is in {}", backup.display());
    Ok(ExitCode::SUCCESS)
}

fn folder(url: &str) -> Result<PathBuf, Failure> {
    Ok(FsFactory::folder(&StoreUrl::parse(url)?)?)
}

fn print(inspection: &Inspection, output: Output) -> Result<(), Failure> {
    let report = Report::new(inspection);
    match output {
        Output::Json => print_json(&report),
        Output::Table => print_text(&report.text()),
    }
}

/// Copies a folder into one that does not exist yet, and syncs what it has copied.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), &target)?;
            fs::File::open(&target)?.sync_all()?;
        }
    }
    fs::File::open(to)?.sync_all()
}

impl Report {
    fn new(inspection: &Inspection) -> Self {
        let partitions = inspection.partitions.iter().map(|partition| PartitionReport {
            partition: partition.partition.to_string(),
            first_msn: partition.first_msn.get(),
            next_msn: partition.next_msn.get(),
            lost: partition.lost.iter().map(|lost| [lost.start.get(), lost.end.get()]).collect(),
            torn_at: partition.torn_at.map(msglog::Msn::get),
            segments: partition.segments.iter().map(SegmentReport::new).collect(),
        });
        Self { whole: inspection.is_whole(), partitions: partitions.collect() }
    }

    fn text(&self) -> String {
        let mut rows = Vec::new();
        for partition in &self.partitions {
            rows.extend(partition.segments.iter().map(|segment| segment.cells(partition)));
        }
        let mut text = table(&["PARTITION", "SEGMENT", "MSNS", "BYTES", "VERDICT"], rows);
        for partition in &self.partitions {
            let name = &partition.partition;
            for [start, end] in &partition.lost {
                // Writing to a string does not fail.
                let _ = writeln!(text, "{name}: MSNs {start}..{end} are lost to damage");
            }
            if let Some(msn) = partition.torn_at {
                let _ = writeln!(text, "{name}: torn at MSN {msn}, nothing from there was acked");
            }
        }
        text
    }
}

impl SegmentReport {
    fn new(segment: &msglog::backends::fs::SegmentInspection) -> Self {
        let file = segment.path.file_name().unwrap_or_default();
        Self {
            file: file.to_string_lossy().into_owned(),
            first_msn: segment.base_msn.get(),
            next_msn: segment.next_msn.get(),
            valid_bytes: segment.valid_bytes,
            verdict: segment.verdict.as_str(),
        }
    }

    fn cells(&self, partition: &PartitionReport) -> Vec<String> {
        let msns = format!("{}..{}", self.first_msn, self.next_msn);
        let (file, bytes) = (self.file.clone(), self.valid_bytes.to_string());
        vec![partition.partition.clone(), file, msns, bytes, self.verdict.to_owned()]
    }
}
