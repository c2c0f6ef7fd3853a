//! What a call changed in its folder, and whether any of it was synced before the call returned.
//!
//! A store is free in how it trims or discards: it may write a note, replace a file, or remove one,
//! and leave the rest for later. So one change that is durable earns the ack: bytes in a file that
//! is synced, under a name that stays, or a name whose folder is synced.

use std::path::{Path, PathBuf};

use super::{Call, Trace};
use crate::{CaseResult, Cx, Failure};

impl Trace {
    /// Checks that between the line `from` and the ack something below the place was changed and
    /// became durable.
    pub fn check_changed(&self, cx: &Cx, from: &str, ack: &str) -> CaseResult {
        let folder = cx.place().folder().unwrap_or_default();
        let folder = folder.canonicalize().unwrap_or(folder);
        self.check_changed_below(&folder, from, ack)
    }

    pub(super) fn check_changed_below(&self, folder: &Path, from: &str, ack: &str) -> CaseResult {
        let (since, said) = (self.ack(from)?, self.ack(ack)?);
        let between =
            |call: &&Call| !call.failed && call.began > since.ended && call.ended < said.began;
        let calls: Vec<&Call> = self.calls.iter().filter(between).collect();
        let changed: Vec<&Call> = calls
            .iter()
            .copied()
            .filter(|call| call.changed().is_some_and(|path| path.starts_with(folder)))
            .collect();
        if changed.is_empty() {
            let why = "inconclusive: no call that changes a file was seen before the ack";
            return Err(Failure::new(format!("{why} `{ack}` (mapped or io_uring?)")));
        }
        let window = Window { trace: self, calls };
        if changed.iter().any(|call| window.is_durable(call)) {
            return Ok(());
        }
        let seen = changed.iter().map(|call| call.in_words()).collect::<Vec<_>>().join(", ");
        Err(Failure::new(format!("nothing was durable before the ack `{ack}`: saw {seen}")))
    }
}

/// The calls between two lines.
struct Window<'a> {
    trace: &'a Trace,
    calls: Vec<&'a Call>,
}

impl Window<'_> {
    fn is_durable(&self, call: &Call) -> bool {
        let Some(path) = call.changed() else { return false };
        if call.removes() {
            // What was made in between and goes again changes nothing.
            let is_passing = self
                .calls
                .iter()
                .any(|made| self.is_new(made) && made.changed().as_ref() == Some(&path));
            return !is_passing && self.folder_is_synced(&path, call);
        }
        let names = self.names(&path);
        let moved = |rename: &&&Call| names.contains(&rename.changed().unwrap_or_default());
        let names_stay = self
            .calls
            .iter()
            .filter(|other| other.renames() || self.is_new(other))
            .filter(moved)
            .all(|other| self.folder_is_synced(&other.changed().unwrap_or_default(), other));
        let is_removed = |name: &PathBuf| {
            let mut later = self.calls.iter().filter(|other| other.began > call.ended);
            later.any(|other| other.removes() && other.changed().as_ref() == Some(name))
        };
        let is_there = names.iter().any(|name| !self.is_renamed(name) && !is_removed(name));
        // Room that is made or given back beside the bytes may wait.
        let counts = |other: &&&Call| {
            (other.is_write() || (other.writes() && std::ptr::eq(**other, call)))
                && names.contains(&other.changed().unwrap_or_default())
        };
        let mut writes = self.calls.iter().filter(counts);
        names_stay && is_there && writes.all(|write| self.file_is_synced(&names, write))
    }

    /// The names that the file at this path had or got.
    fn names(&self, path: &Path) -> Vec<PathBuf> {
        let mut names = vec![path.to_owned()];
        for rename in self.calls.iter().filter(|call| call.renames()) {
            let pair = rename.named();
            if pair.iter().any(|name| names.contains(name)) {
                names.extend(pair);
            }
        }
        names
    }

    /// Whether the file under this name got another one; a link leaves it both.
    fn is_renamed(&self, name: &PathBuf) -> bool {
        let mut renames = self.calls.iter().filter(|call| call.name.starts_with("rename"));
        renames.any(|call| call.named().first() == Some(name))
    }

    /// Whether the call made a file that was not seen before.
    fn is_new(&self, call: &Call) -> bool {
        let Some(path) = call.named().into_iter().next().filter(|_| call.may_make()) else {
            return false;
        };
        let earlier = self.trace.calls.iter().take_while(|other| !std::ptr::eq(*other, call));
        !earlier.into_iter().any(|other| {
            other.path().is_some_and(|there| Path::new(there) == path)
                || (other.is_about_names() && other.named().contains(&path))
        })
    }

    fn folder_is_synced(&self, path: &Path, after: &Call) -> bool {
        let folder = path.parent().unwrap_or(path).to_string_lossy();
        self.calls.iter().any(|call| call.began > after.ended && call.syncs(&folder))
    }

    fn file_is_synced(&self, names: &[PathBuf], write: &Call) -> bool {
        let synced = |call: &&Call| {
            call.began > write.ended && names.iter().any(|name| call.syncs(&name.to_string_lossy()))
        };
        self.trace.syncs_itself(write) || self.calls.iter().any(synced)
    }
}

impl Call {
    fn renames(&self) -> bool {
        self.name.starts_with("rename") || self.name.starts_with("link")
    }

    fn removes(&self) -> bool {
        matches!(self.name.as_str(), "unlink" | "unlinkat" | "rmdir")
    }

    fn writes(&self) -> bool {
        self.is_write() || matches!(self.name.as_str(), "ftruncate" | "fallocate")
    }

    fn may_make(&self) -> bool {
        self.name == "creat"
            || (self.name.starts_with("open") && self.arguments.contains("O_CREAT"))
    }

    fn is_about_names(&self) -> bool {
        self.renames() || self.removes() || self.name.starts_with("open") || self.name == "creat"
    }

    /// The path that the call changed: of its descriptor, or the last that it names.
    fn changed(&self) -> Option<PathBuf> {
        if self.writes() {
            return self.path().map(PathBuf::from);
        }
        if self.renames() || self.removes() || self.may_make() {
            return self.named().pop();
        }
        None
    }

    /// The paths in quotes, each below the folder whose descriptor stands before it.
    fn named(&self) -> Vec<PathBuf> {
        let mut folder = Path::new("");
        let mut found = Vec::new();
        for argument in self.arguments.split(", ") {
            if let Some(text) = argument.strip_prefix('"') {
                let text = text.split('"').next().unwrap_or(text);
                found.push(folder.join(text));
            } else if let Some((_, rest)) = argument.split_once('<') {
                folder = Path::new(rest.split('>').next().unwrap_or(rest));
            }
        }
        found
    }

    fn in_words(&self) -> String {
        let path = self.changed().unwrap_or_default();
        format!("{} of {}", self.name, path.file_name().unwrap_or_default().to_string_lossy())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FROM: &str = r#"7 write(1<pipe:[1]>, "R 0\n", 4) = 4"#;
    const ACK: &str = r#"7 write(1<pipe:[1]>, "T 0\n", 4) = 4"#;
    const WRITE: &str = r#"7 pwrite64(5</d/log>, "x", 1, 0) = 1"#;
    const CUT: &str = "7 ftruncate(5</d/log>, 4096) = 0";
    const MADE: &str = r#"7 openat(AT_FDCWD</>, "/d/new", O_RDWR|O_CREAT, 0600) = 6</d/new>"#;
    const FILLED: &str = r#"7 write(6</d/new>, "x", 1) = 1"#;
    const RENAMED: &str = r#"7 renameat(AT_FDCWD</>, "/d/new", 3</d>, "log") = 0"#;
    const LINKED: &str = r#"7 linkat(AT_FDCWD</>, "/d/new", AT_FDCWD</>, "/d/log", 0) = 0"#;
    const LET_GO: &str = r#"7 unlink("/d/new") = 0"#;
    const UNLINKED: &str = r#"7 unlink("/d/log") = 0"#;
    const FOLDER: &str = "7 fsync(3</d>) = 0";

    fn verdict(lines: &[&str]) -> Result<(), String> {
        let trace = Trace::parse(&[&[FROM], lines, &[ACK]].concat().join("\n"));
        let checked = trace.check_changed_below(Path::new("/d"), "R 0", "T 0");
        checked.map_err(|failure| failure.message().to_owned())
    }

    #[test]
    fn one_durable_change_earns_the_ack() {
        let file = "7 fdatasync(5</d/log>) = 0";
        let new = "7 fsync(6</d/new>) = 0";
        let renamed = "7 fsync(6</d/log>) = 0";
        for lines in [
            &[WRITE, file][..],
            &[WRITE, file, r#"7 unlink("/d/old") = 0"#],
            &[UNLINKED, FOLDER],
            &[WRITE, file, CUT],
            &[CUT, file],
            &[MADE, FILLED, new, RENAMED, FOLDER],
            &[MADE, FILLED, RENAMED, renamed, FOLDER],
            &[MADE, FILLED, new, FOLDER],
            &[MADE, FILLED, LINKED, LET_GO, "7 fsync(6</d/log>) = 0", FOLDER],
        ] {
            assert_eq!(verdict(lines), Ok(()), "{lines:?}");
        }
    }

    #[test]
    fn change_that_is_not_durable_earns_nothing() {
        let new = "7 fsync(6</d/new>) = 0";
        for lines in [
            &[WRITE][..],
            &[UNLINKED],
            &[FOLDER, UNLINKED],
            &[CUT],
            &[WRITE, CUT],
            &[WRITE, "7 fdatasync(6</d/other>) = 0"],
            &[WRITE, "7 fdatasync(5</d/log>) = -1 EIO (Input/output error)"],
            &[WRITE, "7 fdatasync(5</d/log>) = 0", UNLINKED],
            &[MADE, FILLED, RENAMED, FOLDER],
            &[MADE, FILLED, new, RENAMED],
            &[MADE, FILLED, new, FOLDER, RENAMED],
            &[MADE, FILLED, new],
            &[MADE, FILLED, LINKED, LET_GO, FOLDER],
            &[MADE, FILLED, LINKED, LET_GO, new],
            &[MADE, FILLED, new, FOLDER, LET_GO],
        ] {
            let why = verdict(lines).unwrap_err();
            assert!(why.starts_with("nothing was durable"), "{why}: {lines:?}");
        }
        assert!(verdict(&[]).unwrap_err().starts_with("inconclusive"));
    }
}
