//! The conformance suite on a database of sled in a folder.

use msglog_conformance::Fixture;
use msglog_core::store::Access;
use msglog_sled::{SledOptions, SledStore};

msglog_conformance::main! {
    name: "sled",
    open: |at: Fixture, access: Access| async move {
        SledStore::open(at.folder(), SledOptions::new(access)).await
    },
}
