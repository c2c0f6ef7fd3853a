//! Where objects are: the names of everything that a place holds.
//!
//! ```text
//! <root>/FORMAT                             magic, version, and that the probe was passed
//! <root>/log/{seq:020}                      commit objects, created only if absent
//! <root>/ckpt/{seq:020}                     the catalogue as of a seq
//! <root>/seg/{topic}-{partition}/{base:020}-{nonce:032x}
//!                                           merged segments, visible only through a commit object
//! <root>/probe/{nonce:032x}                 what the probe wrote, removed again
//! ```

use msglog_core::{Error, ErrorKind, Msn, Result, TopicPartition};
use object_store::path::{Path, PathPart};

/// The names below one root.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    root: Path,
}

impl Layout {
    /// Names below `root`, a path with `/` between its parts; empty for the whole bucket.
    pub(crate) fn new(root: &str) -> Result<Self> {
        let root = Path::parse(root).map_err(|cause| {
            Error::new(ErrorKind::Invalid, format!("`{root}` is no object path")).with_source(cause)
        })?;
        Ok(Self { root })
    }

    pub(crate) fn format(&self) -> Path {
        self.below("FORMAT")
    }

    pub(crate) fn log(&self) -> Path {
        self.below("log")
    }

    pub(crate) fn commit(&self, seq: u64) -> Path {
        child(&self.log(), format!("{seq:020}"))
    }

    pub(crate) fn checkpoints(&self) -> Path {
        self.below("ckpt")
    }

    pub(crate) fn checkpoint(&self, seq: u64) -> Path {
        child(&self.checkpoints(), format!("{seq:020}"))
    }

    pub(crate) fn segments(&self) -> Path {
        self.below("seg")
    }

    pub(crate) fn segment(&self, partition: &TopicPartition, base: Msn, nonce: u128) -> Path {
        let folder = child(&self.segments(), partition.to_string());
        child(&folder, format!("{:020}-{nonce:032x}", base.get()))
    }

    pub(crate) fn probe(&self, nonce: u128) -> Path {
        child(&self.below("probe"), format!("{nonce:032x}"))
    }

    fn below(&self, name: &'static str) -> Path {
        child(&self.root, name.to_owned())
    }
}

fn child(parent: &Path, name: String) -> Path {
    parent.clone().join(PathPart::from(name))
}

/// The seq in the name of a commit object or a checkpoint; `None` for a name that is neither.
pub(crate) fn seq_of(path: &Path) -> Option<u64> {
    let name = path.filename()?;
    let digits = name.len() == 20 && name.bytes().all(|byte| byte.is_ascii_digit());
    if digits { name.parse().ok() } else { None }
}
