//! What the simulated disk holds: a live state that programs see, and the durable one beneath.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Component, Path};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The unit that a device writes whole.
const SECTOR_BYTES: usize = 512;

/// A file or folder; clones are the same one.
#[derive(Clone, Debug)]
pub(super) struct Node(Arc<Mutex<Content>>);

#[derive(Debug)]
enum Content {
    File { live: Vec<u8>, durable: Vec<u8>, dirty: BTreeSet<usize> },
    Dir { live: Names, durable: Names, unsynced: Vec<Change> },
}

type Names = BTreeMap<String, Node>;

/// A change of names within one folder that no sync has covered yet.
#[derive(Clone, Debug)]
struct Change {
    removed: Option<String>,
    added: Option<(String, Node)>,
}

impl Change {
    fn apply(&self, names: &mut Names) {
        if let Some(name) = &self.removed {
            names.remove(name);
        }
        if let Some((name, node)) = &self.added {
            names.insert(name.clone(), node.clone());
        }
    }
}

impl Node {
    pub(super) fn file() -> Self {
        let (live, durable, dirty) = (Vec::new(), Vec::new(), BTreeSet::new());
        Self(Arc::new(Mutex::new(Content::File { live, durable, dirty })))
    }

    pub(super) fn dir() -> Self {
        let (live, durable, unsynced) = (Names::new(), Names::new(), Vec::new());
        Self(Arc::new(Mutex::new(Content::Dir { live, durable, unsynced })))
    }

    fn content(&self) -> MutexGuard<'_, Content> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_dir(&self) -> bool {
        matches!(&*self.content(), Content::Dir { .. })
    }

    pub(super) fn len(&self) -> u64 {
        match &*self.content() {
            Content::File { live, .. } => live.len() as u64,
            Content::Dir { .. } => 0,
        }
    }

    pub(super) fn read(&self, buffer: &mut [u8], offset: u64) -> usize {
        let Content::File { live, .. } = &*self.content() else { return 0 };
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        let from = live.get(offset..).unwrap_or_default();
        let count = from.len().min(buffer.len());
        if let (Some(to), Some(from)) = (buffer.get_mut(..count), from.get(..count)) {
            to.copy_from_slice(from);
        }
        count
    }

    pub(super) fn write(&self, bytes: &[u8], offset: u64) {
        let Content::File { live, dirty, .. } = &mut *self.content() else { return };
        if bytes.is_empty() {
            return;
        }
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        let end = offset.saturating_add(bytes.len());
        if live.len() < end {
            live.resize(end, 0);
        }
        if let Some(to) = live.get_mut(offset..end) {
            to.copy_from_slice(bytes);
        }
        dirty.extend(offset / SECTOR_BYTES..=(end - 1) / SECTOR_BYTES);
    }

    pub(super) fn set_len(&self, len: u64) {
        let Content::File { live, dirty, .. } = &mut *self.content() else { return };
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        let (low, high) = (live.len().min(len), live.len().max(len));
        live.resize(len, 0);
        dirty.extend(low / SECTOR_BYTES..=high / SECTOR_BYTES);
    }

    pub(super) fn sync(&self) {
        match &mut *self.content() {
            Content::File { live, durable, dirty } => {
                durable.clone_from(live);
                dirty.clear();
            }
            Content::Dir { live, durable, unsynced } => {
                durable.clone_from(live);
                unsynced.clear();
            }
        }
    }

    fn change(&self, change: Change) -> io::Result<()> {
        let Content::Dir { live, unsynced, .. } = &mut *self.content() else {
            return Err(io::ErrorKind::NotADirectory.into());
        };
        change.apply(live);
        unsynced.push(change);
        Ok(())
    }

    fn child(&self, name: &str) -> Option<Self> {
        match &*self.content() {
            Content::Dir { live, .. } => live.get(name).cloned(),
            Content::File { .. } => None,
        }
    }

    /// Turns the durable state into the live one, with a part of what was not synced.
    fn crash(&self, whim: &mut Whim) {
        let children = match &mut *self.content() {
            Content::File { live, durable, dirty } => {
                crash_file(live, durable, dirty, whim);
                Vec::new()
            }
            Content::Dir { live, durable, unsynced } => {
                for change in unsynced.drain(..) {
                    if whim.keeps() {
                        change.apply(durable);
                    }
                }
                live.clone_from(durable);
                live.values().cloned().collect()
            }
        };
        for child in children {
            child.crash(whim);
        }
    }

    fn used(&self) -> u64 {
        let children: Vec<Self> = match &*self.content() {
            Content::File { live, .. } => return live.len() as u64,
            Content::Dir { live, .. } => live.values().cloned().collect(),
        };
        children.iter().map(Self::used).sum()
    }
}

fn crash_file(
    live: &mut Vec<u8>,
    durable: &mut Vec<u8>,
    dirty: &mut BTreeSet<usize>,
    whim: &mut Whim,
) {
    if dirty.is_empty() {
        return;
    }
    let len = if whim.keeps() { live.len() } else { durable.len() };
    durable.resize(len, 0);
    for sector in std::mem::take(dirty) {
        if !whim.keeps() {
            continue;
        }
        let start = sector * SECTOR_BYTES;
        let end = (start + SECTOR_BYTES).min(len).min(live.len());
        if let (Some(to), Some(from)) = (durable.get_mut(start..end), live.get(start..end)) {
            to.copy_from_slice(from);
        }
    }
    live.clone_from(durable);
}

/// The decisions of one crash: a seeded sequence, between losing all and keeping all.
struct Whim {
    state: u64,
    keep_of_256: u64,
}

impl Whim {
    fn new(seed: u64) -> Self {
        let mut whim = Self { state: seed ^ 0x9E37_79B9_7F4A_7C15, keep_of_256: 128 };
        whim.keep_of_256 = match whim.next() % 4 {
            0 => 0,
            1 => 256,
            2 => 128,
            _ => whim.next() % 257,
        };
        whim
    }

    /// The next number of splitmix64.
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn keeps(&mut self) -> bool {
        self.next() % 256 < self.keep_of_256
    }
}

/// The tree of files and folders.
#[derive(Debug)]
pub(super) struct Disk {
    root: Node,
}

impl Default for Disk {
    fn default() -> Self {
        Self { root: Node::dir() }
    }
}

impl Disk {
    pub(super) fn find(&self, path: &Path) -> Option<Node> {
        let mut node = self.root.clone();
        for part in path.components() {
            if let Component::Normal(name) = part {
                node = node.child(&name.to_string_lossy())?;
            }
        }
        Some(node)
    }

    fn parent(&self, path: &Path) -> io::Result<(Node, String)> {
        let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        let parent = path.parent().and_then(|parent| self.find(parent));
        let parent = parent.ok_or(io::ErrorKind::NotFound)?;
        Ok((parent, name.to_string_lossy().into_owned()))
    }

    pub(super) fn link(&self, path: &Path, node: &Node) -> io::Result<()> {
        let (parent, name) = self.parent(path)?;
        parent.change(Change { removed: None, added: Some((name, node.clone())) })
    }

    pub(super) fn unlink(&self, path: &Path) -> io::Result<()> {
        let (parent, name) = self.parent(path)?;
        parent.change(Change { removed: Some(name), added: None })
    }

    /// Within one folder a rename is one change; between two, as on a disk without a journal
    /// across folders, the new name comes first.
    pub(super) fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let node = self.find(from).ok_or(io::ErrorKind::NotFound)?;
        let (source, old) = self.parent(from)?;
        let (target, new) = self.parent(to)?;
        let added = Some((new, node));
        if Arc::ptr_eq(&source.0, &target.0) {
            return source.change(Change { removed: Some(old), added });
        }
        target.change(Change { removed: None, added })?;
        source.change(Change { removed: Some(old), added: None })
    }

    pub(super) fn list(&self, path: &Path) -> io::Result<Vec<(String, bool)>> {
        let node = self.find(path).ok_or(io::ErrorKind::NotFound)?;
        match &*node.content() {
            Content::File { .. } => Err(io::ErrorKind::NotADirectory.into()),
            Content::Dir { live, .. } => {
                Ok(live.iter().map(|(name, node)| (name.clone(), node.is_dir())).collect())
            }
        }
    }

    pub(super) fn used(&self) -> u64 {
        self.root.used()
    }

    pub(super) fn crash(&self, seed: u64) {
        self.root.crash(&mut Whim::new(seed));
    }
}
