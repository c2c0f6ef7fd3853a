//! The folder of a store: told apart from any other folder before anything is written to it.
//!
//! `msglog.json` says what the folder is, and beside it is the folder of the database.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use msglog_core::store::{Access, StoreUrl};
use msglog_core::{Error, ErrorKind, Result};

use crate::Database;

const MARKER: &str = "msglog.json";
const MARKER_TEMPORARY: &str = "msglog.json.tmp";

/// The marker of this format.
fn marker_text(name: &str) -> String {
    format!("{}\"format\":1}}\n", marker_start(name))
}

/// What the marker of every format of a store starts with.
fn marker_start(name: &str) -> String {
    format!("{{\"store\":\"{name}\",")
}

/// Checks that `root` is such a store, or makes it one when it is empty or missing and `access` is
/// for writing; answers the folder of the database.
///
/// # Errors
///
/// [`Invalid`](ErrorKind::Invalid) when the folder holds something else;
/// [`NotFound`](ErrorKind::NotFound) when there is no store and `access` is for reading;
/// [`Unsupported`](ErrorKind::Unsupported) for a newer format.
pub(crate) fn prepare<D: Database>(root: &Path, access: Access) -> Result<PathBuf> {
    let failed = |cause| Error::from_io(format!("open {}", root.display()), cause);
    if root.exists() && !root.is_dir() {
        return Err(Error::new(ErrorKind::Invalid, format!("{} is no folder", root.display())));
    }
    match (read_marker(root).map_err(failed)?, access) {
        (Some(marker), _) => check_marker(root, &marker, D::NAME)?,
        (None, Access::Read) => return Err(nothing_there(root)),
        (None, Access::Write) => {
            fs::create_dir_all(root).map_err(failed)?;
            check_empty(root)?;
            write_marker(root, D::NAME).map_err(failed)?;
        }
    }
    let database = root.join(D::FOLDER);
    if access == Access::Read && !database.join(D::FILE).exists() {
        return Err(nothing_there(root));
    }
    Ok(database)
}

/// The folder that a URL such as `name:///folder` names.
///
/// # Errors
///
/// [`Invalid`](ErrorKind::Invalid) unless the URL is an absolute path and nothing else.
pub fn folder_of(url: &StoreUrl) -> Result<PathBuf> {
    let whole = url.as_url();
    let invalid = || {
        let name = whole.scheme();
        let why =
            format!("a {name} store is named by an absolute path: `{name}:///var/lib/orders`");
        Error::new(ErrorKind::Invalid, why)
    };
    let is_plain = whole.host_str().is_none_or(str::is_empty)
        && whole.username().is_empty()
        && whole.password().is_none()
        && whole.port().is_none()
        && whole.fragment().is_none()
        && whole.path() != "/";
    if !is_plain {
        return Err(invalid());
    }
    whole.to_file_path().map_err(|()| invalid())
}

fn read_marker(root: &Path) -> io::Result<Option<Vec<u8>>> {
    match fs::read(root.join(MARKER)) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(cause) => Err(cause),
    }
}

fn check_marker(root: &Path, marker: &[u8], name: &str) -> Result<()> {
    if marker == marker_text(name).as_bytes() {
        return Ok(());
    }
    let root = root.display();
    if marker.starts_with(marker_start(name).as_bytes()) {
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

fn write_marker(root: &Path, name: &str) -> io::Result<()> {
    let temporary = root.join(MARKER_TEMPORARY);
    let mut file = File::create(&temporary)?;
    file.write_all(marker_text(name).as_bytes())?;
    file.sync_all()?;
    fs::rename(&temporary, root.join(MARKER))?;
    File::open(root)?.sync_all()
}

#[cold]
fn nothing_there(root: &Path) -> Error {
    Error::new(ErrorKind::NotFound, format!("there is no store at {}", root.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn url_that_is_not_exactly_a_path_is_invalid() {
        let url = |text: &str| StoreUrl::parse(text).unwrap();
        let folder = folder_of(&url("kv:///var/lib/the%20orders")).unwrap();
        assert_eq!(folder, PathBuf::from("/var/lib/the orders"));
        for text in [
            "kv:relative",
            "kv:",
            "kv:///",
            "kv://host/x",
            "kv://user@host/x",
            "kv://user:word@host/x",
            "kv:///x#part",
        ] {
            assert_eq!(folder_of(&url(text)).unwrap_err().kind(), ErrorKind::Invalid, "{text}");
        }
    }

    #[test]
    fn marker_is_as_it_always_was() {
        assert_eq!(marker_text("sled"), "{\"store\":\"sled\",\"format\":1}\n");
    }
}
