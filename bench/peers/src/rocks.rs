//! RocksDB by hand: a record a key, its log synced where it counts, no compression.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use rocksdb::{DB, DBCompressionType, IteratorMode, Options, WriteBatch, WriteOptions};

use crate::peers::{Peer, last};

pub struct Rocks {
    db: DB,
    next: AtomicU64,
}

impl Rocks {
    pub fn open(dir: &Path) -> Self {
        let mut options = Options::default();
        options.create_if_missing(true);
        options.set_compression_type(DBCompressionType::None);
        let db = DB::open(&options, dir).expect("open");
        let newest = db.iterator(IteratorMode::End).next().map(|pair| pair.expect("read").0);
        let next = AtomicU64::new(last(newest));
        Self { db, next }
    }
}

impl Peer for Rocks {
    fn append(&self, records: &[&[u8]], sync: bool) {
        let first = self.next.fetch_add(records.len() as u64, Ordering::Relaxed);
        let mut batch = WriteBatch::default();
        for (number, record) in (first..).zip(records) {
            batch.put(number.to_be_bytes(), record);
        }
        let mut options = WriteOptions::default();
        options.set_sync(sync);
        self.db.write_opt(batch, &options).expect("write");
    }

    fn replay(&self, visit: &mut dyn FnMut(&[u8])) {
        let mut iterator = self.db.raw_iterator();
        iterator.seek_to_first();
        while let Some(value) = iterator.value() {
            visit(value);
            iterator.next();
        }
        iterator.status().expect("read");
    }

    fn get(&self, number: u64) -> Option<Vec<u8>> {
        self.db.get(number.to_be_bytes()).expect("read")
    }

    fn count(&self) -> u64 {
        self.next.load(Ordering::Relaxed)
    }
}
