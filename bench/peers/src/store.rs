//! The store below msglog in this run: files, unless the contender's name says another one.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use msglog_core::store::{Access, MessageStore, StoreRegistry};

static CHOSEN: OnceLock<String> = OnceLock::new();

/// Chooses the store of this process: `fs`, `sled`, `rocksdb` or `memory+object`.
pub fn choose(scheme: &str) {
    CHOSEN.set(scheme.to_owned()).expect("one store a process");
}

/// Opens the chosen store in a folder.
pub async fn open(dir: &Path) -> Arc<dyn MessageStore> {
    let mut registry = StoreRegistry::new();
    registry.register(msglog_fs::FsFactory);
    #[cfg(feature = "engines")]
    registry.register(msglog_sled::SledFactory);
    #[cfg(feature = "engines")]
    msglog_object_store::register(&mut registry);
    #[cfg(feature = "rocksdb")]
    registry.register(msglog_rocksdb::RocksDbFactory);
    let url = match CHOSEN.get().map_or("fs", String::as_str) {
        "memory+object" => "memory+object:bench".to_owned(),
        scheme => format!("{scheme}://{}", dir.display()),
    };
    registry.open(&url, Access::Write).await.expect("open the store")
}
