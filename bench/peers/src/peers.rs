//! The peers behind one small trait, each used as its documentation says for these workloads.

use std::fs::File;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use commitlog::message::{MessageBuf, MessageSet};
use fjall::{KeyspaceCreateOptions, PersistMode};
use redb::ReadableDatabase;

use crate::{nats, redis, servers};

/// A log under test: blocking calls, shared by all producers.
pub trait Peer: Send + Sync {
    /// Appends records in one call; `sync` when they must survive a power cut on return.
    fn append(&self, records: &[&[u8]], sync: bool);
    /// Visits every record in order, checksums checked as far as the peer checks them.
    fn replay(&self, visit: &mut dyn FnMut(&[u8]));
    /// One record by its number, from 0.
    fn get(&self, number: u64) -> Option<Vec<u8>>;
    /// How many records there are, as far as it tells without reading them.
    fn count(&self) -> u64;
}

/// Every peer of this build.
pub const NAMES: &[&str] = &[
    "commitlog",
    "raft-engine",
    "okaywal",
    "walrus",
    "sled",
    "fjall",
    "redb",
    #[cfg(feature = "rocksdb")]
    "rocksdb",
    "nats",
    "redis",
];

/// Whether a peer can be run here: servers must be installed.
pub fn is_here(name: &str) -> bool {
    match name {
        "nats" => servers::installed(nats::PROGRAM),
        "redis" => servers::installed(redis::PROGRAM),
        _ => true,
    }
}

/// What a reader of the table must know of a peer in a workload.
pub fn note(name: &str, workload: &str) -> &'static str {
    match (name, workload) {
        ("commitlog", "w2" | "w3" | "w4") => "cannot sync; fdatasync from outside",
        ("sled", "w2" | "w3" | "w4") => "its flush does not sync the device",
        ("sled" | "redb", "w1" | "w1b") => "acked from memory",
        ("okaywal", "w1" | "w1b") => "always syncs",
        ("commitlog", "o1" | "o1k") => "verifies nothing at open",
        ("nats", "w2" | "w3" | "w4") if !nats::syncs() => {
            "a server; this version does not sync before it acks"
        }
        ("nats" | "redis", "w1") => "a server; each ack awaited",
        ("nats", "w1b" | "w4") => "a server; 256 records in flight, an ack each",
        ("redis", "w1b" | "w4") => "a server; a transaction a batch",
        ("nats" | "redis", "o1") => "with the start of the server",
        ("nats" | "redis", _) => "a server, whose CPU time is not counted",
        _ => "",
    }
}

/// Whether its figure counts as that of a peer which keeps the same promise.
pub fn keeps_promise(name: &str, workload: &str) -> bool {
    let synced = matches!(workload, "w2" | "w3" | "w4");
    if name == "nats" && synced {
        return nats::syncs();
    }
    !matches!(
        (name, workload),
        ("sled", "w1" | "w1b" | "w2" | "w3" | "w4") | ("redb" | "okaywal", "w1" | "w1b")
    )
}

/// Opens a peer; servers sync each append only if `sync` says so from the start.
pub fn open(name: &str, dir: &Path, sync: bool) -> Box<dyn Peer> {
    std::fs::create_dir_all(dir).expect("the folder");
    match name {
        "commitlog" => Box::new(CommitLog::open(dir)),
        "raft-engine" => Box::new(RaftEngine::open(dir)),
        "okaywal" => Box::new(OkayWal::open(dir)),
        "walrus" => Box::new(Walrus::open(dir)),
        "sled" => Box::new(Sled::open(dir)),
        "fjall" => Box::new(Fjall::open(dir)),
        "redb" => Box::new(Redb::open(dir)),
        #[cfg(feature = "rocksdb")]
        "rocksdb" => Box::new(crate::rocks::Rocks::open(dir)),
        #[cfg(feature = "engines")]
        "object-store" => Box::new(crate::bucket::Bucket::open()),
        "nats" => Box::new(nats::Nats::open(dir, sync)),
        "redis" => Box::new(redis::Redis::open(dir, sync)),
        _ => panic!("no peer {name}"),
    }
}

struct CommitLog {
    log: Mutex<commitlog::CommitLog>,
    /// The segment, for the sync that the crate lacks.
    segment: File,
}

impl CommitLog {
    fn open(dir: &Path) -> Self {
        let mut options = commitlog::LogOptions::new(dir);
        options.segment_max_bytes(2 << 30).message_max_bytes(16 << 20);
        options.index_max_items(20_000_000);
        let log = commitlog::CommitLog::new(options).expect("open");
        let segment = File::open(dir.join("00000000000000000000.log")).expect("the segment");
        Self { log: Mutex::new(log), segment }
    }
}

impl Peer for CommitLog {
    fn append(&self, records: &[&[u8]], sync: bool) {
        let mut log = self.log.lock().expect("lock");
        match records {
            [one] => drop(log.append_msg(one).expect("append")),
            all => {
                let mut buffer: MessageBuf = all.iter().copied().collect();
                log.append(&mut buffer).expect("append");
            }
        }
        if sync {
            self.segment.sync_data().expect("sync");
        }
    }

    fn replay(&self, visit: &mut dyn FnMut(&[u8])) {
        let log = self.log.lock().expect("lock");
        let mut from = 0;
        loop {
            let page = log.read(from, commitlog::ReadLimit::max_bytes(1 << 20)).expect("read");
            let Some(last) = page.iter().last().map(|message| message.offset()) else { return };
            page.iter().for_each(|message| visit(message.payload()));
            from = last + 1;
        }
    }

    fn get(&self, number: u64) -> Option<Vec<u8>> {
        let log = self.log.lock().expect("lock");
        let page = log.read(number, commitlog::ReadLimit::max_bytes(1 << 17)).ok()?;
        page.iter().next().map(|message| message.payload().to_vec())
    }

    fn count(&self) -> u64 {
        self.log.lock().expect("lock").next_offset()
    }
}

type Entry = raft_proto::eraftpb::Entry;

#[derive(Clone)]
struct Entries;

impl raft_engine::MessageExt for Entries {
    type Entry = Entry;

    fn index(entry: &Entry) -> u64 {
        entry.index
    }
}

struct RaftEngine {
    engine: raft_engine::Engine,
    next: AtomicU64,
}

/// The most bytes that raft-engine takes in one entry batch is far above this.
const REGION: u64 = 1;

impl RaftEngine {
    fn open(dir: &Path) -> Self {
        let config = raft_engine::Config {
            dir: dir.to_string_lossy().into_owned(),
            batch_compression_threshold: raft_engine::ReadableSize(0),
            ..Default::default()
        };
        let engine = raft_engine::Engine::open(config).expect("open");
        let next = engine.last_index(REGION).unwrap_or(0) + 1;
        Self { engine, next: AtomicU64::new(next) }
    }
}

impl Peer for RaftEngine {
    fn append(&self, records: &[&[u8]], sync: bool) {
        // A region's entries must be in order, so each thread writes a region of its own.
        thread_local! { static PLACE: std::cell::Cell<(u64, u64)> = const { std::cell::Cell::new((0, 0)) }; }
        let (mut region, mut next) = PLACE.get();
        if region == 0 {
            static REGIONS: AtomicU64 = AtomicU64::new(REGION);
            region = REGIONS.fetch_add(1, Ordering::Relaxed);
            next = if region == REGION { self.next.load(Ordering::Relaxed) } else { 1 };
        }
        let entries: Vec<Entry> = records
            .iter()
            .map(|record| {
                let mut entry = Entry::default();
                entry.index = next;
                entry.data = record.to_vec().into();
                next += 1;
                entry
            })
            .collect();
        PLACE.set((region, next));
        let mut batch = raft_engine::LogBatch::with_capacity(1);
        batch.add_entries::<Entries>(region, &entries).expect("add");
        self.engine.write(&mut batch, sync).expect("write");
    }

    fn replay(&self, visit: &mut dyn FnMut(&[u8])) {
        let end = self.engine.last_index(REGION).unwrap_or(0) + 1;
        let mut from = self.engine.first_index(REGION).unwrap_or(1);
        let mut entries = Vec::new();
        while from < end {
            entries.clear();
            let count = self.engine.fetch_entries_to::<Entries>(
                REGION,
                from,
                end.min(from + 1000),
                Some(1 << 20),
                &mut entries,
            );
            from += count.expect("read") as u64;
            entries.iter().for_each(|entry| visit(&entry.data));
        }
    }

    fn get(&self, number: u64) -> Option<Vec<u8>> {
        let entry = self.engine.get_entry::<Entries>(REGION, number + 1).expect("read")?;
        Some(entry.data.to_vec())
    }

    fn count(&self) -> u64 {
        self.engine.last_index(REGION).unwrap_or(0)
    }
}

#[derive(Debug, Default)]
struct Recovered {
    records: std::sync::Arc<Mutex<Vec<u8>>>,
    count: std::sync::Arc<AtomicU64>,
}

impl okaywal::LogManager for Recovered {
    fn recover(&mut self, entry: &mut okaywal::Entry<'_>) -> std::io::Result<()> {
        let mut chunks = 0;
        while let okaywal::ReadChunkResult::Chunk(mut chunk) = entry.read_chunk()? {
            let bytes = chunk.read_all()?;
            assert!(chunk.check_crc()?, "a chunk is damaged");
            *self.records.lock().expect("lock") = bytes;
            chunks += 1;
        }
        self.count.fetch_add(chunks, Ordering::Relaxed);
        Ok(())
    }

    fn checkpoint_to(
        &mut self,
        _last: okaywal::EntryId,
        _entries: &mut okaywal::SegmentReader,
        _wal: &okaywal::WriteAheadLog,
    ) -> std::io::Result<()> {
        Ok(())
    }
}

struct OkayWal {
    wal: okaywal::WriteAheadLog,
    count: std::sync::Arc<AtomicU64>,
}

impl OkayWal {
    fn open(dir: &Path) -> Self {
        let recovered = Recovered::default();
        let count = recovered.count.clone();
        let config = okaywal::Configuration::default_for(dir)
            .preallocate_bytes(1 << 30)
            .checkpoint_after_bytes(u64::MAX / 2);
        Self { wal: config.open(recovered).expect("open"), count }
    }
}

impl Peer for OkayWal {
    fn append(&self, records: &[&[u8]], _sync: bool) {
        let mut entry = self.wal.begin_entry().expect("begin");
        for record in records {
            entry.write_chunk(record).expect("write");
        }
        entry.commit().expect("commit");
    }

    fn replay(&self, _visit: &mut dyn FnMut(&[u8])) {
        panic!("okaywal reads records only while it recovers");
    }

    fn get(&self, _number: u64) -> Option<Vec<u8>> {
        None
    }

    fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }
}

struct Walrus {
    wal: walrus_rust::Walrus,
    synced: walrus_rust::Walrus,
}

impl Walrus {
    fn open(dir: &Path) -> Self {
        // SAFETY: no other thread runs yet.
        unsafe {
            std::env::set_var("WALRUS_DATA_DIR", dir);
            std::env::set_var("WALRUS_QUIET", "1");
        }
        let open = |key: &str, schedule| {
            let consistency = walrus_rust::ReadConsistency::AtLeastOnce { persist_every: u32::MAX };
            let made = walrus_rust::Walrus::with_consistency_and_schedule_for_key(
                key,
                consistency,
                schedule,
            );
            made.expect("open")
        };
        Self {
            wal: open("os", walrus_rust::FsyncSchedule::NoFsync),
            synced: open("sync", walrus_rust::FsyncSchedule::SyncEach),
        }
    }
}

impl Peer for Walrus {
    fn append(&self, records: &[&[u8]], sync: bool) {
        let wal = if sync { &self.synced } else { &self.wal };
        match records {
            [one] => wal.append_for_topic("bench", one).expect("append"),
            all => wal.batch_append_for_topic("bench", all).expect("append"),
        }
    }

    fn replay(&self, visit: &mut dyn FnMut(&[u8])) {
        loop {
            let page = self.wal.batch_read_for_topic("bench", 1 << 20, true).expect("read");
            if page.is_empty() {
                return;
            }
            page.iter().for_each(|entry| visit(&entry.data));
        }
    }

    fn get(&self, _number: u64) -> Option<Vec<u8>> {
        None
    }

    fn count(&self) -> u64 {
        0
    }
}

struct Sled {
    db: sled::Db,
    next: AtomicU64,
}

impl Sled {
    fn open(dir: &Path) -> Self {
        let db = sled::open(dir).expect("open");
        let next = AtomicU64::new(last(db.last().expect("last").map(|(key, _)| key)));
        Self { db, next }
    }
}

/// The number after the one in this key.
pub fn last(key: Option<impl AsRef<[u8]>>) -> u64 {
    let bytes = key.and_then(|key| <[u8; 8]>::try_from(key.as_ref()).ok());
    bytes.map_or(0, |bytes| u64::from_be_bytes(bytes) + 1)
}

impl Peer for Sled {
    fn append(&self, records: &[&[u8]], sync: bool) {
        let first = self.next.fetch_add(records.len() as u64, Ordering::Relaxed);
        let mut batch = sled::Batch::default();
        for (number, record) in (first..).zip(records) {
            batch.insert(&number.to_be_bytes(), *record);
        }
        self.db.apply_batch(batch).expect("append");
        if sync {
            self.db.flush().expect("flush");
        }
    }

    fn replay(&self, visit: &mut dyn FnMut(&[u8])) {
        self.db.iter().values().for_each(|value| visit(&value.expect("read")));
    }

    fn get(&self, number: u64) -> Option<Vec<u8>> {
        self.db.get(number.to_be_bytes()).expect("read").map(|value| value.to_vec())
    }

    fn count(&self) -> u64 {
        self.next.load(Ordering::Relaxed)
    }
}

struct Fjall {
    db: fjall::Database,
    keyspace: fjall::Keyspace,
    next: AtomicU64,
}

impl Fjall {
    fn open(dir: &Path) -> Self {
        let db = fjall::Database::builder(dir).open().expect("open");
        let options = || {
            KeyspaceCreateOptions::default()
                .data_block_compression_policy(fjall::config::CompressionPolicy::disabled())
        };
        let keyspace = db.keyspace("bench", options).expect("open");
        let key = keyspace.last_key_value().map(|pair| pair.key().expect("read"));
        let next = AtomicU64::new(last(key));
        Self { db, keyspace, next }
    }
}

impl Peer for Fjall {
    fn append(&self, records: &[&[u8]], sync: bool) {
        let first = self.next.fetch_add(records.len() as u64, Ordering::Relaxed);
        match records {
            [one] => self.keyspace.insert(first.to_be_bytes(), *one).expect("append"),
            all => {
                let mode = Some(PersistMode::Buffer);
                let mut batch = self.db.batch().durability(mode);
                for (number, record) in (first..).zip(all) {
                    batch.insert(&self.keyspace, number.to_be_bytes(), *record);
                }
                batch.commit().expect("append");
            }
        }
        if sync {
            self.db.persist(PersistMode::SyncData).expect("persist");
        }
    }

    fn replay(&self, visit: &mut dyn FnMut(&[u8])) {
        self.keyspace.iter().for_each(|pair| visit(&pair.value().expect("read")));
    }

    fn get(&self, number: u64) -> Option<Vec<u8>> {
        self.keyspace.get(number.to_be_bytes()).expect("read").map(|value| value.to_vec())
    }

    fn count(&self) -> u64 {
        self.next.load(Ordering::Relaxed)
    }
}

const TABLE: redb::TableDefinition<'static, u64, &'static [u8]> =
    redb::TableDefinition::new("bench");

struct Redb {
    db: redb::Database,
    next: AtomicU64,
}

impl Redb {
    fn open(dir: &Path) -> Self {
        let db = redb::Database::create(dir.join("redb")).expect("open");
        let write = db.begin_write().expect("begin");
        let next = {
            let table = write.open_table(TABLE).expect("table");
            redb::ReadableTable::last(&table).expect("last").map_or(0, |(key, _)| key.value() + 1)
        };
        write.commit().expect("commit");
        Self { db, next: AtomicU64::new(next) }
    }
}

impl Peer for Redb {
    fn append(&self, records: &[&[u8]], sync: bool) {
        let first = self.next.fetch_add(records.len() as u64, Ordering::Relaxed);
        let mut write = self.db.begin_write().expect("begin");
        let durability = if sync { redb::Durability::Immediate } else { redb::Durability::None };
        write.set_durability(durability).expect("durability");
        {
            let mut table = write.open_table(TABLE).expect("table");
            for (number, record) in (first..).zip(records) {
                table.insert(number, *record).expect("append");
            }
        }
        write.commit().expect("commit");
    }

    fn replay(&self, visit: &mut dyn FnMut(&[u8])) {
        let table = self.db.begin_read().expect("begin").open_table(TABLE).expect("table");
        for pair in table.range(0..).expect("range") {
            visit(pair.expect("read").1.value());
        }
    }

    fn get(&self, number: u64) -> Option<Vec<u8>> {
        let table = self.db.begin_read().expect("begin").open_table(TABLE).expect("table");
        table.get(number).expect("read").map(|value| value.value().to_vec())
    }

    fn count(&self) -> u64 {
        self.next.load(Ordering::Relaxed)
    }
}
