//! What the simulated disk holds: a live state that programs see, and the durable one beneath.

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::sim_file::{Bytes, Choose};

/// A file or folder; clones are the same one.
#[derive(Clone, Debug)]
pub(super) struct Node(Arc<Mutex<Content>>);

#[derive(Clone, Debug)]
enum Content {
    /// Shared with the forks until either is changed.
    File(Arc<Bytes>),
    Dir {
        live: Names,
        durable: Names,
        unsynced: Vec<Change>,
    },
}

type Names = BTreeMap<Arc<str>, Node>;

/// A change of names within one folder that no sync has covered yet.
#[derive(Clone, Debug)]
struct Change {
    removed: Option<Arc<str>>,
    added: Option<(Arc<str>, Node)>,
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
        Self(Arc::new(Mutex::new(Content::File(Arc::default()))))
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
            Content::File(bytes) => bytes.live.len() as u64,
            Content::Dir { .. } => 0,
        }
    }

    fn change_bytes(&self, act: impl FnOnce(&mut Bytes)) {
        if let Content::File(bytes) = &mut *self.content() {
            act(Arc::make_mut(bytes));
        }
    }

    pub(super) fn read(&self, buffer: &mut [u8], offset: u64) -> usize {
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        let Content::File(bytes) = &*self.content() else { return 0 };
        let from = bytes.live.get(offset..).unwrap_or_default();
        let count = from.len().min(buffer.len());
        if let (Some(to), Some(from)) = (buffer.get_mut(..count), from.get(..count)) {
            to.copy_from_slice(from);
        }
        count
    }

    pub(super) fn write(&self, written: &[u8], offset: u64) {
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        if !written.is_empty() {
            self.change_bytes(|bytes| bytes.write(written, offset));
        }
    }

    pub(super) fn set_len(&self, len: u64) {
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        self.change_bytes(|bytes| bytes.set_len(len));
    }

    pub(super) fn sync(&self) {
        match &mut *self.content() {
            Content::File(bytes) => Arc::make_mut(bytes).sync(),
            Content::Dir { live, durable, unsynced } => {
                durable.clone_from(live);
                unsynced.clear();
            }
        }
    }

    pub(super) fn fail_to_sync(&self) {
        self.change_bytes(Bytes::fail_to_sync);
    }

    fn drop_what_is_marked(&self) {
        self.change_bytes(Bytes::drop_what_is_marked);
        self.children().iter().for_each(Self::drop_what_is_marked);
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
            Content::File(_) => None,
        }
    }

    /// Turns the durable state into the live one, with a part of what was not synced.
    fn crash(&self, choose: &mut Choose<'_>) {
        let children = match &mut *self.content() {
            Content::File(bytes) => {
                if !bytes.is_settled() {
                    Arc::make_mut(bytes).crash(choose);
                }
                Vec::new()
            }
            Content::Dir { live, durable, unsynced } => {
                for change in unsynced.drain(..) {
                    if choose(1) > 0 {
                        change.apply(durable);
                    }
                }
                live.clone_from(durable);
                durable.values().cloned().collect()
            }
        };
        for child in children {
            child.crash(choose);
        }
    }

    fn children(&self) -> Vec<Self> {
        match &*self.content() {
            Content::File(_) => Vec::new(),
            Content::Dir { live, .. } => live.values().cloned().collect(),
        }
    }

    fn sync_all(&self) {
        self.sync();
        self.children().iter().for_each(Self::sync_all);
    }

    fn used(&self) -> u64 {
        self.len() + self.children().iter().map(Self::used).sum::<u64>()
    }

    /// Adds names and contents to a digest, so that no two trees add the same.
    fn digest(&self, digest: &mut DefaultHasher) {
        match &*self.content() {
            Content::File(bytes) => bytes.digest().hash(digest),
            Content::Dir { live, .. } => {
                live.len().hash(digest);
                for (name, node) in live {
                    name.hash(digest);
                    node.digest(digest);
                }
            }
        }
    }

    /// A copy of the tree; what has two names has two names in the copy too.
    fn fork(&self, copies: &mut Copies) -> Self {
        if let Some(copy) = copies.get(&Arc::as_ptr(&self.0)) {
            return copy.clone();
        }
        let mut content = self.content().clone();
        if let Content::Dir { live, durable, unsynced } = &mut content {
            let added = unsynced.iter_mut().filter_map(|change| change.added.as_mut());
            let nodes = live.values_mut().chain(durable.values_mut());
            for node in nodes.chain(added.map(|(_, node)| node)) {
                *node = node.fork(copies);
            }
        }
        let copy = Self(Arc::new(Mutex::new(content)));
        copies.insert(Arc::as_ptr(&self.0), copy.clone());
        copy
    }
}

type Copies = HashMap<*const Mutex<Content>, Node>;

/// The decisions of one crash: a seeded sequence, between losing all and keeping all.
struct Whim {
    state: u64,
    keep_of_256: u64,
    /// Whether what is kept need not be the newest version.
    mixes: bool,
}

impl Whim {
    fn new(seed: u64) -> Self {
        let state = seed ^ 0x9E37_79B9_7F4A_7C15;
        let mut whim = Self { state, keep_of_256: 128, mixes: false };
        whim.keep_of_256 = match whim.next() % 4 {
            0 => 0,
            1 => 256,
            2 => 128,
            _ => whim.next() % 257,
        };
        whim.mixes = whim.next().is_multiple_of(2);
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

    fn choose(&mut self, newest: usize) -> usize {
        if self.next() % 256 >= self.keep_of_256 {
            return 0;
        }
        if self.mixes { 1 + usize::try_from(self.next()).unwrap_or(0) % newest } else { newest }
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
    /// What an absolute path names; one without `..`.
    pub(super) fn find(&self, path: &Path) -> Option<Node> {
        let mut node = self.root.clone();
        for part in path.to_str()?.split('/').filter(|part| !part.is_empty() && *part != ".") {
            node = node.child(part)?;
        }
        Some(node)
    }

    fn parent(&self, path: &Path) -> io::Result<(Node, Arc<str>)> {
        let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        let parent = path.parent().and_then(|parent| self.find(parent));
        let parent = parent.ok_or(io::ErrorKind::NotFound)?;
        Ok((parent, name.to_string_lossy().into()))
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
            Content::File(_) => Err(io::ErrorKind::NotADirectory.into()),
            Content::Dir { live, .. } => {
                Ok(live.iter().map(|(name, node)| (name.as_ref().into(), node.is_dir())).collect())
            }
        }
    }

    pub(super) fn sync(&self) {
        self.root.sync_all();
    }

    pub(super) fn drop_what_is_marked(&self) {
        self.root.drop_what_is_marked();
    }

    pub(super) fn used(&self) -> u64 {
        self.root.used()
    }

    pub(super) fn crash(&self, seed: u64) {
        let mut whim = Whim::new(seed);
        self.crash_choosing(&mut |newest| whim.choose(newest));
    }

    pub(super) fn crash_choosing(&self, choose: &mut Choose<'_>) {
        self.root.crash(choose);
    }

    pub(super) fn fork(&self) -> Self {
        Self { root: self.root.fork(&mut Copies::new()) }
    }

    /// The same, where a write to `node` has been done in the copy alone.
    pub(super) fn fork_written(&self, node: &Node, bytes: &[u8], offset: u64) -> Self {
        let mut copies = Copies::new();
        let fork = Self { root: self.root.fork(&mut copies) };
        // What has no name any more is in no copy.
        if let Some(copy) = copies.get(&Arc::as_ptr(&node.0)) {
            copy.write(bytes, offset);
        }
        fork
    }

    /// A digest of what programs see below `path`.
    pub(super) fn digest(&self, path: &Path) -> u64 {
        let mut digest = DefaultHasher::new();
        if let Some(node) = self.find(path) {
            node.digest(&mut digest);
        }
        digest.finish()
    }
}
