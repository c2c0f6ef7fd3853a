//! Runs the conformance suite against [`FsStore`].

use msglog_conformance::Fixture;
use msglog_core::store::Access;
use msglog_fs::{FsOptions, FsStore};

msglog_conformance::main! {
    name: "fs",
    open: |at: Fixture, access: Access| async move {
        FsStore::open(at.folder(), FsOptions::new(access)).await
    },
}
