//! Object storage in memory by hand: the records of a call are one object, one PUT is the ack.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions};
use tokio::runtime::Runtime;

use crate::peers::Peer;

pub struct Bucket {
    store: Arc<dyn ObjectStore>,
    runtime: Runtime,
    next: AtomicU64,
    /// Records are all of one size, so that objects need no directory.
    size: AtomicU64,
}

impl Bucket {
    pub fn open() -> Self {
        let store = Arc::new(InMemory::new());
        let (next, size) = (AtomicU64::new(0), AtomicU64::new(1));
        Self { store, runtime: crate::msglog::runtime(), next, size }
    }

    fn path(number: u64) -> Path {
        Path::from(format!("log/{number:020}"))
    }
}

impl Peer for Bucket {
    fn append(&self, records: &[&[u8]], _sync: bool) {
        let size = records.first().map_or(1, |record| record.len() as u64);
        self.size.store(size, Ordering::Relaxed);
        let path = Self::path(self.next.fetch_add(1, Ordering::Relaxed));
        let options = PutOptions { mode: PutMode::Create, ..Default::default() };
        let put = self.store.put_opts(&path, records.concat().into(), options);
        self.runtime.block_on(put).expect("put");
    }

    fn replay(&self, visit: &mut dyn FnMut(&[u8])) {
        let size = self.size.load(Ordering::Relaxed) as usize;
        for number in 0..self.next.load(Ordering::Relaxed) {
            let get = async { self.store.get(&Self::path(number)).await?.bytes().await };
            let object = self.runtime.block_on(get).expect("get");
            object.chunks(size).for_each(&mut *visit);
        }
    }

    fn get(&self, _number: u64) -> Option<Vec<u8>> {
        None
    }

    fn count(&self) -> u64 {
        0
    }
}
