//! What runs of a simulation have seen, to count them and to tell them apart.

use std::collections::HashSet;
use std::fmt;
use std::path::Path;

use msglog_fs::io::SimFs;

use super::dice::Dice;

/// What a run has seen.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Seen {
    /// A digest of all answers, to tell two runs apart.
    pub(crate) digest: u64,
    /// The digests of the disks that power cuts have left and that were recovered.
    pub(crate) disks: HashSet<u64>,
    /// How many of them were cut again while they were recovered, or right after it.
    pub(crate) cut_again: u64,
    /// How many were damaged then.
    pub(crate) damaged: u64,
}

impl Seen {
    pub(crate) fn note(&mut self, number: u64) {
        self.digest = Dice(self.digest ^ number).roll(u64::MAX);
    }

    /// Whether no power cut has left this disk before; what differs by the store's own number
    /// alone, or by how often it was opened, is the same.
    pub(crate) fn is_new(&mut self, disk: &SimFs) -> bool {
        let part = |folder| disk.digest(Path::new(folder));
        let digest = part("/store/orders-0") ^ part("/store/documents").rotate_left(32);
        self.disks.insert(digest)
    }
}

/// What all runs have seen.
#[derive(Debug, Default)]
pub(crate) struct Total {
    pub(crate) runs: u64,
    pub(crate) disks: HashSet<u64>,
    cut_again: u64,
    damaged: u64,
}

impl Total {
    pub(crate) fn add(&mut self, seen: Seen) {
        self.runs += 1;
        self.disks.extend(seen.disks);
        self.cut_again += seen.cut_again;
        self.damaged += seen.damaged;
    }
}

impl fmt::Display for Total {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { runs, disks, cut_again, damaged } = self;
        let disks = disks.len();
        write!(f, "{runs} runs: recovered {disks} distinct disks that power cuts left, ")?;
        write!(f, "{cut_again} of them the second cut of a row, {damaged} damaged afterwards")
    }
}
