//! One promise as a test: its name, what a store must claim for it to apply, and how it is run.

use std::fmt;

use futures::future::BoxFuture;
use msglog_core::store::{Capabilities, Ownership, Survives};

use crate::backend::{Faults, Instance};
use crate::{CaseResult, Cx};

/// The suite levels that have been frozen, oldest first; each required case belongs to one.
///
/// A marker file names the level that its store is held to; newer cases run as provisional.
pub const LEVELS: &[&str] = &["2026.1"];

/// The level of cases that are not frozen yet: provisional for every store.
pub const NEXT_LEVEL: &str = "next";

/// One promise of the contract, as a test.
#[derive(Clone, Copy)]
pub struct Case {
    /// The group it is reported under, e.g. `trim`.
    pub group: &'static str,
    /// The promise, e.g. `trim_survives_reopen`.
    pub name: &'static str,
    /// What must be claimed or offered for the case to apply.
    pub needs: &'static [Need],
    /// The level that froze it: one of [`LEVELS`], or [`NEXT_LEVEL`].
    pub level: &'static str,
    /// Which kinds of tokio runtime it is run on.
    pub runtimes: &'static [Flavour],
    /// How long it may take, in seconds, on each runtime.
    pub seconds_max: u64,
    /// The case itself.
    pub run: fn(Cx) -> BoxFuture<'static, CaseResult>,
}

/// A kind of tokio runtime.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Flavour {
    /// One thread: blocking it blocks everything.
    CurrentThread,
    /// Several worker threads.
    MultiThread,
}

/// Both kinds of runtime.
pub const BOTH: &[Flavour] = &[Flavour::CurrentThread, Flavour::MultiThread];
/// Only the runtime with several threads, for cases whose work is in other processes or takes long.
pub const MULTI: &[Flavour] = &[Flavour::MultiThread];

impl Case {
    /// A case that always applies, runs on both runtimes and may take 20 seconds on each.
    pub const fn new(
        group: &'static str,
        name: &'static str,
        run: fn(Cx) -> BoxFuture<'static, CaseResult>,
    ) -> Self {
        Self { group, name, needs: &[], level: "2026.1", runtimes: BOTH, seconds_max: 20, run }
    }

    /// `group/name`, which filters, markers and reports use.
    pub fn id(&self) -> String {
        format!("{}/{}", self.group, self.name)
    }

    /// Whether a store held to `level` may fail it without turning red.
    pub fn is_provisional_at(&self, level: &str) -> bool {
        let rank = |level: &str| LEVELS.iter().position(|known| *known == level);
        match (rank(self.level), rank(level)) {
            (Some(own), Some(held_to)) => own > held_to,
            _ => true,
        }
    }
}

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.id())
    }
}

/// What a case needs of a store or of its place; where it is missing the case does not apply.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Need {
    /// `append` survives at least this.
    AppendSurvives(Survives),
    /// `sync` survives at least this.
    SyncSurvives(Survives),
    /// `append` does not survive a power cut, so that there is something for `sync` to do.
    AppendWeakerThanPower,
    /// `append` survives less than the end of the process.
    AppendWeakerThanOs,
    /// Nothing survives the store value.
    NothingSurvives,
    /// `exact_trim` is claimed.
    ExactTrim,
    /// `truncate` is claimed.
    Truncate,
    /// `truncate` is not claimed.
    NoTruncate,
    /// `find` is claimed.
    Find,
    /// `find` is not claimed.
    NoFind,
    /// `replace` is claimed.
    Replace,
    /// `replace` is not claimed.
    NoReplace,
    /// `read_part` is claimed.
    ReadPart,
    /// `read_part` is not claimed.
    NoReadPart,
    /// `shared_readers` is claimed.
    SharedReaders,
    /// `shared_readers` is not claimed.
    NoSharedReaders,
    /// `shared_documents` is claimed.
    SharedDocuments,
    /// `shared_documents` is not claimed, but `shared_readers` is.
    NoSharedDocuments,
    /// Ownership is of this kind.
    Owned(Ownership),
    /// The place is a folder.
    Folder,
    /// Another process can reach the place.
    Address,
    /// The place offers a seam for faults.
    Faults,
    /// The seam for faults can cut the power.
    PowerCut,
    /// The limits are small enough to be reached in a test.
    ReachableLimits,
}

/// The largest batch or document that a case builds.
pub const REACHABLE_BYTES: usize = 64 << 20;

impl Need {
    /// Whether a store and its place have it.
    pub fn is_met(self, has: &Capabilities, place: &dyn Instance) -> bool {
        match self {
            Self::AppendSurvives(least) => has.append_survives >= least,
            Self::SyncSurvives(least) => has.sync_survives >= least,
            Self::AppendWeakerThanPower => has.append_survives < Survives::Power,
            Self::AppendWeakerThanOs => has.append_survives < Survives::Os,
            Self::NothingSurvives => has.sync_survives == Survives::None,
            Self::ExactTrim => has.exact_trim,
            Self::Truncate => has.truncate,
            Self::NoTruncate => !has.truncate,
            Self::Find => has.find,
            Self::NoFind => !has.find,
            Self::Replace => has.replace,
            Self::NoReplace => !has.replace,
            Self::ReadPart => has.read_part,
            Self::NoReadPart => !has.read_part,
            Self::SharedReaders => has.shared_readers,
            Self::NoSharedReaders => !has.shared_readers,
            Self::SharedDocuments => has.shared_documents,
            Self::NoSharedDocuments => has.shared_readers && !has.shared_documents,
            Self::Owned(kind) => has.ownership == kind,
            Self::Folder => place.folder().is_some(),
            Self::Address => place.address().is_some(),
            Self::Faults => place.faults().is_some(),
            Self::PowerCut => place.faults().is_some_and(Faults::can_cut_power),
            Self::ReachableLimits => {
                has.batch_bytes_max.max(has.document_bytes_max) <= REACHABLE_BYTES
            }
        }
    }

    /// What is missing, in words.
    pub fn missing(self) -> String {
        match self {
            Self::AppendSurvives(least) => format!("append does not claim to survive {least:?}"),
            Self::SyncSurvives(least) => format!("sync does not claim to survive {least:?}"),
            Self::AppendWeakerThanPower => "append alone claims to survive a power cut".into(),
            Self::AppendWeakerThanOs => "append claims to survive the process".into(),
            Self::NothingSurvives => "something survives the store value".into(),
            Self::ExactTrim => "exact_trim is not claimed".into(),
            Self::Truncate => "truncate is not claimed".into(),
            Self::NoTruncate => "truncate is claimed".into(),
            Self::Find => "find is not claimed".into(),
            Self::NoFind => "find is claimed".into(),
            Self::Replace => "replace is not claimed".into(),
            Self::NoReplace => "replace is claimed".into(),
            Self::ReadPart => "read_part is not claimed".into(),
            Self::NoReadPart => "read_part is claimed".into(),
            Self::SharedReaders => "shared_readers is not claimed".into(),
            Self::NoSharedReaders => "shared_readers is claimed".into(),
            Self::SharedDocuments => "shared_documents is not claimed".into(),
            Self::NoSharedDocuments => "readers may save documents, or there are none".into(),
            Self::Owned(kind) => format!("ownership is not {kind:?}"),
            Self::Folder => "the place is no folder".into(),
            Self::Address => "the place has no address for another process".into(),
            Self::Faults => "the place has no seam for faults: give `faults` to `main!`".into(),
            Self::PowerCut => "the place has no seam that cuts the power".into(),
            Self::ReachableLimits => "the limits are too large to be reached in a test".into(),
        }
    }
}

/// Lists the cases of a group: name, `[needs]`, and `{ field: value }` where it differs.
macro_rules! cases {
    ($group:literal: $($name:ident $([$($need:expr),+])? $({$($field:ident: $value:expr),+})?;)+) => {
        /// The cases of this group.
        pub const CASES: &[$crate::Case] = &[$($crate::Case {
            needs: &[$($($need),+)?],
            $($($field: $value,)+)?
            ..$crate::Case::new($group, stringify!($name), |cx| Box::pin($name(cx)))
        }),+];
    };
}
pub(crate) use cases;
