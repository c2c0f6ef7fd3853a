//! Records of cases, one JSON file each, and what is made of them: matrix, JUnit, badge, baseline.

mod baseline;
mod junit;
mod matrix;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use self::baseline::{Baseline, lost};
pub use self::junit::junit;
pub use self::matrix::{badge, matrix, verdict_of};
use crate::case::Case;
use crate::suite::{Outcome, Status};
use crate::verdict::{Judgement, Verdict};

/// The variable that names the folder of the records.
pub const RECORDS_VARIABLE: &str = "MSGLOG_CONFORMANCE_RECORDS";

/// What one case came to on one backend, as it stands in a file of its own.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Record {
    /// The version of this form.
    pub format: u32,
    /// The version of the suite.
    pub suite: String,
    /// The suite level that the store is held to.
    pub level: String,
    /// The backend.
    pub backend: String,
    /// The group of the case.
    pub group: String,
    /// The name of the case in its group.
    pub case: String,
    /// What it says about the store.
    pub verdict: Verdict,
    /// How the run ended.
    pub status: Status,
    /// What was found, or why it does not apply; for an expected failure the reason.
    pub why: String,
    /// Where in the suite it was found.
    pub place: String,
    /// How long it took, in milliseconds.
    pub millis: u64,
    /// The number that all chance of the run followed from.
    pub seed: u64,
    /// The operating system and processor.
    pub system: String,
    /// What the store claims that `append` and `sync` survive, e.g. `Os, Power`.
    pub claims: String,
}

impl Record {
    /// The record of a judged outcome.
    pub fn new(
        backend: &str,
        case: &Case,
        outcome: &Outcome,
        judged: &Judgement,
        level: &str,
    ) -> Self {
        Self {
            format: 1,
            suite: env!("CARGO_PKG_VERSION").into(),
            level: level.into(),
            backend: backend.into(),
            group: case.group.into(),
            case: case.name.into(),
            verdict: judged.verdict,
            status: outcome.status,
            why: judged.why.clone(),
            place: outcome.place.clone(),
            millis: outcome.millis,
            seed: outcome.seed,
            system: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
            claims: String::new(),
        }
    }

    /// `group/case`.
    pub fn id(&self) -> String {
        format!("{}/{}", self.group, self.case)
    }

    /// The backend's name as that of a folder.
    pub fn backend_folder(&self) -> String {
        let safe = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' };
        self.backend.chars().map(safe).collect::<String>().trim_start_matches('.').to_owned()
    }

    /// Writes `<folder>/<group>/<case>.json`, replacing that of an earlier run at once.
    ///
    /// # Errors
    ///
    /// What the file system answers.
    pub fn save(&self, folder: &Path) -> io::Result<()> {
        let folder = folder.join(&self.group);
        fs::create_dir_all(&folder)?;
        let new = folder.join(format!(".{}.{}", self.case, std::process::id()));
        fs::write(&new, serde_json::to_vec_pretty(self)?)?;
        fs::rename(new, folder.join(format!("{}.json", self.case)))
    }
}

/// The folder of the records: `msglog-conformance` in cargo's target folder.
pub fn records_folder() -> PathBuf {
    if let Some(folder) = std::env::var_os(RECORDS_VARIABLE) {
        return folder.into();
    }
    let executable = std::env::current_exe().unwrap_or_default();
    target_folder(&executable).unwrap_or(Path::new("target")).join("msglog-conformance")
}

/// Cargo's target folder: above `<profile>/deps/<test>` and `<profile>/<binary>`, also with a
/// target triple. Its tag is only there where cargo made the folder; its cache always is.
fn target_folder(executable: &Path) -> Option<&Path> {
    let is_target = |folder: &&Path| {
        [".rustc_info.json", "CACHEDIR.TAG"].iter().any(|name| folder.join(name).exists())
    };
    executable.ancestors().find(is_target)
}

/// The records of every backend, by name and then by `group/case`.
pub type Records = BTreeMap<String, BTreeMap<String, Record>>;

/// Reads the records below a folder that [`records_folder`] named.
///
/// # Errors
///
/// What the file system answers, and a file that is no record.
pub fn read_records(folder: &Path) -> io::Result<Records> {
    let mut records = Records::new();
    for backend in children(folder)? {
        for group in children(&backend)? {
            for path in children(&group)? {
                if path.extension().is_none_or(|extension| extension != "json") {
                    continue;
                }
                let record: Record = serde_json::from_slice(&fs::read(&path)?)
                    .map_err(|why| io::Error::other(format!("{}: {why}", path.display())))?;
                // What an older suite has left behind says nothing about this one.
                if crate::find_case(&record.id()).is_none() {
                    continue;
                }
                records.entry(record.backend.clone()).or_default().insert(record.id(), record);
            }
        }
    }
    Ok(records)
}

fn children(folder: &Path) -> io::Result<Vec<PathBuf>> {
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder)? {
        paths.push(entry?.path());
    }
    paths.sort();
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn target_folder_is_known_by_tag_or_cache() -> io::Result<()> {
        for mark in [".rustc_info.json", "CACHEDIR.TAG"] {
            let root = tempfile::tempdir()?;
            let target = root.path().join("target");
            fs::create_dir_all(target.join("debug/deps"))?;
            let test = target.join("debug/deps/a-test");
            assert_eq!(target_folder(&test), None);
            fs::write(target.join(mark), "")?;
            assert_eq!(target_folder(&test), Some(target.as_path()));
        }
        Ok(())
    }
}
