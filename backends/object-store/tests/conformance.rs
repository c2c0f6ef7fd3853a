//! The conformance suite on objects in this process.

use std::sync::Arc;
use std::time::Duration;

use msglog_conformance::Fixture;
use msglog_core::store::{Access, Survives};
use msglog_object_store::{BucketOptions, BucketStore};
use object_store::memory::InMemory;

msglog_conformance::main! {
    name: "object-store-memory",
    open: |at: Fixture, access: Access| async move {
        let storage: Arc<InMemory> = at.shared(InMemory::new);
        let mut options = BucketOptions::default();
        options.survives = Survives::Process;
        options.follow_interval = Duration::ZERO;
        options.flush_interval = Duration::from_millis(20);
        BucketStore::open(storage, options, access).await
    },
}
