//! All that this store's author wrote for conformance.

use msglog_conformance::Fixture;
use msglog_core::store::Access;
use msglog_redb::RedbStore;

msglog_conformance::main! {
    name: "redb",
    open: |at: Fixture, access: Access| async move {
        RedbStore::open(at.folder().join("store.redb"), access).await
    },
}
