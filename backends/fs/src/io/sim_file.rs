//! What a file of the simulated disk holds: what programs see, what is durable, and every version in
//! between that the device may have written.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hasher};
use std::sync::OnceLock;

/// The unit that a device writes whole.
const SECTOR_BYTES: usize = 512;

/// Every content that a sector has had since its last sync.
type Versions = BTreeMap<usize, Vec<Box<[u8]>>>;

/// The content of a file.
#[derive(Clone, Debug, Default)]
pub(super) struct Bytes {
    pub(super) live: Vec<u8>,
    durable: Vec<u8>,
    /// Of the sectors that the next sync writes: the device may write each of them at any time.
    dirty: Versions,
    /// Of the sectors whose sync has failed: no later sync writes them, yet programs see them.
    forgotten: Versions,
    /// Every length since the last sync.
    lens: Vec<usize>,
    /// Of what programs see, once it was asked for; empty after a change.
    digest: OnceLock<u64>,
}

impl Bytes {
    /// A digest of what programs see.
    pub(super) fn digest(&self) -> u64 {
        *self.digest.get_or_init(|| {
            let mut digest = DefaultHasher::new();
            digest.write(&self.live);
            digest.finish()
        })
    }

    /// Takes note of what the sectors from `low` to `high` hold now.
    fn note(&mut self, low: usize, high: usize) {
        self.digest.take();
        for sector in low..=high {
            let start = sector * SECTOR_BYTES;
            let end = (start + SECTOR_BYTES).min(self.live.len());
            let now = self.live.get(start..end).unwrap_or_default();
            let versions = self.dirty.entry(sector).or_default();
            if versions.last().is_none_or(|last| **last != *now) {
                versions.push(now.into());
            }
        }
        let len = self.live.len();
        if self.lens.last().unwrap_or(&self.durable.len()) != &len {
            self.lens.push(len);
        }
    }

    pub(super) fn write(&mut self, bytes: &[u8], offset: usize) {
        let end = offset.saturating_add(bytes.len());
        let from = offset.min(self.live.len());
        if self.live.len() < end {
            self.live.resize(end, 0);
        }
        if let Some(to) = self.live.get_mut(offset..end) {
            to.copy_from_slice(bytes);
        }
        self.note(from / SECTOR_BYTES, (end - 1) / SECTOR_BYTES);
    }

    pub(super) fn set_len(&mut self, len: usize) {
        let (low, high) = (self.live.len().min(len), self.live.len().max(len));
        self.live.resize(len, 0);
        self.note(low / SECTOR_BYTES, high / SECTOR_BYTES);
    }

    pub(super) fn sync(&mut self) {
        if self.forgotten.is_empty() {
            self.durable.clone_from(&self.live);
        } else {
            self.durable.resize(self.live.len(), 0);
            for (sector, versions) in &self.dirty {
                self.forgotten.remove(sector);
                put(&mut self.durable, *sector, versions.last().map_or(&[], Box::as_ref));
            }
        }
        self.dirty.clear();
        self.lens.clear();
    }

    /// What a failed sync leaves: everything is marked as written, and nothing need be.
    pub(super) fn fail_to_sync(&mut self) {
        for (sector, mut versions) in std::mem::take(&mut self.dirty) {
            self.forgotten.entry(sector).or_default().append(&mut versions);
        }
    }

    /// Drops what is marked as written, so that the device's content shows.
    pub(super) fn drop_what_is_marked(&mut self) {
        self.digest.take();
        for (sector, _) in std::mem::take(&mut self.forgotten) {
            if !self.dirty.contains_key(&sector) {
                let start = sector * SECTOR_BYTES;
                let end = (start + SECTOR_BYTES).min(self.durable.len());
                put(&mut self.live, sector, self.durable.get(start..end).unwrap_or_default());
            }
        }
    }

    /// Whether a crash would find nothing to choose: what programs see is what is durable.
    pub(super) fn is_settled(&self) -> bool {
        self.dirty.is_empty() && self.forgotten.is_empty() && self.lens.is_empty()
    }

    pub(super) fn crash(&mut self, choose: &mut Choose<'_>) {
        self.digest.take();
        let lens = std::mem::take(&mut self.lens);
        let len = pick(&lens, choose).copied().unwrap_or(self.durable.len());
        let mut versions = std::mem::take(&mut self.forgotten);
        for (sector, mut later) in std::mem::take(&mut self.dirty) {
            versions.entry(sector).or_default().append(&mut later);
        }
        let old_len = self.durable.len();
        self.durable.resize(len.max(old_len), 0);
        for (sector, versions) in versions {
            if sector * SECTOR_BYTES < len
                && let Some(version) = pick(&versions, choose)
            {
                put(&mut self.durable, sector, version);
            }
        }
        self.durable.truncate(len);
        self.live.clone_from(&self.durable);
    }
}

/// Overwrites one sector by a version of it, as far as the file reaches; zeros follow the version.
fn put(file: &mut [u8], sector: usize, version: &[u8]) {
    let start = sector * SECTOR_BYTES;
    let end = (start + SECTOR_BYTES).min(file.len());
    let Some(to) = file.get_mut(start..end) else { return };
    for (place, byte) in to.iter_mut().enumerate() {
        *byte = version.get(place).copied().unwrap_or(0);
    }
}

/// Chooses what survives: 0 for what was synced, up to the given number for the newest.
pub(super) type Choose<'a> = dyn FnMut(usize) -> usize + 'a;

fn pick<'v, T>(versions: &'v [T], choose: &mut Choose<'_>) -> Option<&'v T> {
    if versions.is_empty() {
        return None;
    }
    choose(versions.len()).checked_sub(1).and_then(|place| versions.get(place))
}
