//! The conformance suite on a database of RocksDB in a folder.

use msglog_conformance::Fixture;
use msglog_core::store::Access;
use msglog_rocksdb::{RocksDbOptions, RocksDbStore};

msglog_conformance::main! {
    name: "rocksdb",
    open: |at: Fixture, access: Access| async move {
        RocksDbStore::open(at.folder(), RocksDbOptions::new(access)).await
    },
}
