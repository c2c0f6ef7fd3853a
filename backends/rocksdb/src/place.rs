//! The folder of a store: told apart from any other folder before anything is written to it.
//!
//! `msglog.json` says what the folder is, `db/` is the database.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use msglog_core::store::Access;
use msglog_core::{Error, ErrorKind, Result};

const MARKER: &str = "msglog.json";
const MARKER_TEMPORARY: &str = "msglog.json.tmp";
const MARKER_TEXT: &str = "{\"store\":\"rocksdb\",\"format\":1}\n";
/// What the marker of every format of this store starts with.
const MARKER_START: &str = "{\"store\":\"rocksdb\",";
const DATABASE: &str = "db";
/// The file that RocksDB writes last when it creates a database.
const DATABASE_FILE: &str = "CURRENT";

/// Checks that `root` is such a store, or makes it one when it is empty or missing and `access` is
/// for writing; answers the folder of the database.
///
/// # Errors
///
/// [`Invalid`](ErrorKind::Invalid) when the folder holds something else;
/// [`NotFound`](ErrorKind::NotFound) when there is no store and `access` is for reading;
/// [`Unsupported`](ErrorKind::Unsupported) for a newer format.
pub(crate) fn prepare(root: &Path, access: Access) -> Result<PathBuf> {
    let failed = |cause| Error::from_io(format!("open {}", root.display()), cause);
    if root.exists() && !root.is_dir() {
        return Err(Error::new(ErrorKind::Invalid, format!("{} is no folder", root.display())));
    }
    match (read_marker(root).map_err(failed)?, access) {
        (Some(marker), _) => check_marker(root, &marker)?,
        (None, Access::Read) => return Err(nothing_there(root)),
        (None, Access::Write) => {
            fs::create_dir_all(root).map_err(failed)?;
            check_empty(root)?;
            write_marker(root).map_err(failed)?;
        }
    }
    let database = root.join(DATABASE);
    if access == Access::Read && !database.join(DATABASE_FILE).exists() {
        return Err(nothing_there(root));
    }
    Ok(database)
}

fn read_marker(root: &Path) -> io::Result<Option<Vec<u8>>> {
    match fs::read(root.join(MARKER)) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(cause) => Err(cause),
    }
}

fn check_marker(root: &Path, marker: &[u8]) -> Result<()> {
    if marker == MARKER_TEXT.as_bytes() {
        return Ok(());
    }
    let root = root.display();
    if marker.starts_with(MARKER_START.as_bytes()) {
        let why = format!("{root} has a format that this version does not know");
        return Err(Error::new(ErrorKind::Unsupported, why));
    }
    Err(Error::new(ErrorKind::Invalid, format!("{root} holds another kind of store")))
}

fn check_empty(root: &Path) -> Result<()> {
    let failed = |cause| Error::from_io(format!("list {}", root.display()), cause);
    for entry in fs::read_dir(root).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        if name != MARKER_TEMPORARY {
            let why = format!("{} is not empty and holds no such store", root.display());
            return Err(Error::new(ErrorKind::Invalid, why));
        }
    }
    Ok(())
}

fn write_marker(root: &Path) -> io::Result<()> {
    let temporary = root.join(MARKER_TEMPORARY);
    let mut file = File::create(&temporary)?;
    file.write_all(MARKER_TEXT.as_bytes())?;
    file.sync_all()?;
    fs::rename(&temporary, root.join(MARKER))?;
    File::open(root)?.sync_all()
}

#[cold]
fn nothing_there(root: &Path) -> Error {
    Error::new(ErrorKind::NotFound, format!("there is no store at {}", root.display()))
}
