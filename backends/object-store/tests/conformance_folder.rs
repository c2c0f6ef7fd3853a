//! The conformance suite on a folder in which every object is a file.

use std::time::Duration;

use msglog_conformance::Fixture;
use msglog_core::store::Access;
use msglog_object_store::{BucketOptions, BucketStore};

msglog_conformance::main! {
    name: "object-store-folder",
    open: |at: Fixture, access: Access| async move {
        let mut options = BucketOptions::default();
        options.follow_interval = Duration::ZERO;
        options.flush_interval = Duration::from_millis(20);
        BucketStore::open_folder(at.folder(), options, access).await
    },
}
