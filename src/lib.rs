#![doc = include_str!("../README.md")]

pub use msglog_core::batch::{Compression, CompressionPolicy, TimestampKind};
pub use msglog_core::log::{
    ByteRange, Constraints, Decoded, Filter, HeaderValue, MergedSubscription, Missing,
    PartitionRecord, Partitioner, Rate, Rule, SubscribeOptions, TypedPage, TypedRecord,
    TypedSubscription,
};
pub use msglog_core::store::{
    Access, MessageStore, ReadLimit, StoreFactory, StoreRegistry, StoreUrl,
};
pub use msglog_core::{
    Ack, AppendOptions, Appended, AsMessage, Clock, Compacted, Compaction, Consumer, ConsumerName,
    Durability, Effect, Error, ErrorKind, Header, Log, LogBuilder, Message, MessageRef, MsgLog,
    Msn, Page, Producer, Record, Result, Subscription, SystemClock, Timestamp, Topic, TopicConfig,
    TopicName, TopicPartition, TypedTopic, UtcOffset,
};
pub use msglog_core::{batch, codec, log, store};

/// The stores that this build has, one module a feature.
pub mod backends {
    #[cfg(feature = "fs")]
    pub use msglog_fs as fs;
    #[cfg(feature = "memory")]
    pub use msglog_memory as memory;
    #[cfg(feature = "object-store")]
    pub use msglog_object_store as object_store;
    #[cfg(feature = "rocksdb")]
    pub use msglog_rocksdb as rocksdb;
    #[cfg(feature = "sled")]
    pub use msglog_sled as sled;
}

/// Opens the log whose store `url` names, for writing, with defaults; creates the store if need be.
///
/// `fs:///var/lib/orders` is a folder, `memory:` lives and dies with the log. Must be called within
/// a tokio runtime; [`blocking::open`] needs none.
///
/// # Errors
///
/// [`Invalid`](ErrorKind::Invalid) for a URL that names no store or has an unknown key;
/// [`Unsupported`](ErrorKind::Unsupported) for an unknown scheme, naming the cargo feature that
/// brings it where there is one; [`Locked`](ErrorKind::Locked) when another writer does not let the
/// place go within [`LogBuilder::lock_wait`].
pub async fn open(url: &str) -> Result<Log> {
    open_with(url, Log::builder()).await
}

/// As [`open`], with options of one's own; `Log::builder().access(Access::Read)` opens for reading.
///
/// # Errors
///
/// As [`open`], and as [`LogBuilder::open`].
pub async fn open_with(url: &str, builder: LogBuilder) -> Result<Log> {
    builder.open_url(&registry(), url).await
}

/// The URL schemes of this build; register your own and open with [`LogBuilder::open_url`].
pub fn registry() -> StoreRegistry {
    let mut registry = StoreRegistry::new();
    #[cfg(feature = "fs")]
    registry.register(msglog_fs::FsFactory);
    #[cfg(not(feature = "fs"))]
    registry.register_missing("fs", "fs");
    #[cfg(feature = "memory")]
    registry.register(msglog_memory::MemoryFactory);
    #[cfg(not(feature = "memory"))]
    registry.register_missing("memory", "memory");
    register_object_store(&mut registry);
    #[cfg(feature = "rocksdb")]
    registry.register(msglog_rocksdb::RocksDbFactory);
    #[cfg(not(feature = "rocksdb"))]
    registry.register_missing("rocksdb", "rocksdb");
    #[cfg(feature = "sled")]
    registry.register(msglog_sled::SledFactory);
    #[cfg(not(feature = "sled"))]
    registry.register_missing("sled", "sled");
    registry
}

/// Object storage, whose crate names the features of the clouds that it was built without.
fn register_object_store(registry: &mut StoreRegistry) {
    #[cfg(feature = "object-store")]
    msglog_object_store::register(registry);
    #[cfg(not(feature = "object-store"))]
    for (scheme, feature) in [
        ("file+object", "object-store"),
        ("memory+object", "object-store"),
        ("s3", "aws"),
        ("gs", "gcp"),
        ("az", "azure"),
    ] {
        registry.register_missing(scheme, feature);
    }
}

/// The same log for programs without async code.
pub mod blocking {
    pub use msglog_core::blocking::{
        Appended, BatchSubscription, Consumer, Log, MergedSubscription, Subscription, Topic,
    };

    use crate::{LogBuilder, Result};

    /// Opens the log whose store `url` names, for writing, with defaults.
    ///
    /// # Errors
    ///
    /// As [`open`](crate::open).
    pub fn open(url: &str) -> Result<Log> {
        Log::start(crate::open(url))
    }

    /// As [`open`], with options of one's own.
    ///
    /// # Errors
    ///
    /// As [`open_with`](crate::open_with).
    pub fn open_with(url: &str, builder: LogBuilder) -> Result<Log> {
        Log::start(crate::open_with(url, builder))
    }
}
