//! The names under the root of a store, and under the folder of a partition.

use std::path::{Path, PathBuf};

use msglog_core::{Msn, TopicPartition};

/// The description of the store.
pub(crate) const MANIFEST: &str = "msglog.json";
/// What the manifest is written as before it is renamed.
pub(crate) const MANIFEST_TEMPORARY: &str = "msglog.json.tmp";
/// The file that the one writing process holds locked.
pub(crate) const LOCK: &str = "LOCK";
/// The folder of the documents.
pub(crate) const DOCUMENTS: &str = "documents";
/// A segment that is prepared ahead and has no MSN yet.
pub(crate) const PREPARED: &str = "prepared.log.tmp";
/// How far a partition is known synced.
pub(crate) const CHECKPOINT: &str = "checkpoint";
/// What the checkpoint is written as before it is renamed.
pub(crate) const CHECKPOINT_TEMPORARY: &str = "checkpoint.tmp";
/// The checkpoint of a partition whose segments are being replaced, until that is done.
pub(crate) const SWAP: &str = "swap";
/// What the swap is written as before it is renamed.
pub(crate) const SWAP_TEMPORARY: &str = "swap.tmp";
/// Where recovery keeps what it cuts.
pub(crate) const QUARANTINE: &str = "quarantine";
/// In front of the name of a partition's folder while it is being created.
pub(crate) const CREATING: &str = ".creating-";
/// In front of the name of a partition's folder while it is being removed.
pub(crate) const REMOVED: &str = ".removed-";

/// Digits of the MSN in the name of a segment.
const NAME_DIGITS: usize = 20;

/// The folder of a partition.
pub(crate) fn partition_dir(root: &Path, partition: &TopicPartition) -> PathBuf {
    root.join(partition.to_string())
}

/// The name of the segment whose first MSN is `base`.
pub(crate) fn segment_name(base: Msn) -> String {
    format!("{:020}.log", base.get())
}

/// The first MSN of the segment of this name; `None` when it names no segment.
pub(crate) fn segment_base(name: &str) -> Option<Msn> {
    let digits = name.strip_suffix(".log")?;
    if digits.len() != NAME_DIGITS || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok()
}

/// The file beside the segment `log` that will replace it.
pub(crate) fn cleaned_path(log: &Path) -> PathBuf {
    log.with_extension("cleaned")
}

/// The first MSN of the segment that the file of this name will replace or become.
pub(crate) fn cleaned_base(name: &str) -> Option<Msn> {
    segment_base(&format!("{}.log", name.strip_suffix(".cleaned")?))
}

/// The file beside the segment `log` that maps MSNs to offsets.
pub(crate) fn index_path(log: &Path) -> PathBuf {
    log.with_extension("index")
}

/// The file beside the segment `log` that maps timestamps to MSNs.
pub(crate) fn timeindex_path(log: &Path) -> PathBuf {
    log.with_extension("timeindex")
}

/// What a derived file is written as before it is renamed.
pub(crate) fn temporary_path(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(".tmp");
    path.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segment_name_is_read_back_and_other_names_are_none() {
        let name = segment_name(Msn::new(42));
        assert_eq!(name, "00000000000000000042.log");
        assert_eq!(segment_base(&name), Some(Msn::new(42)));
        for name in [
            "42.log",
            "00000000000000000042.index",
            "+0000000000000000042.log",
            "99999999999999999999.log",
            PREPARED,
        ] {
            assert_eq!(segment_base(name), None, "{name}");
        }
    }
}
