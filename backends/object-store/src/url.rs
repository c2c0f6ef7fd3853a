//! Opening by URL: `file+object:///folder`, `memory+object:name`, `s3://`, `gs://` and `az://`.

use std::collections::HashMap;
use std::path::Path;
use std::str::FromStr;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use msglog_core::store::{Access, MessageStore, StoreFactory, StoreRegistry, StoreUrl, Survives};
use msglog_core::{Error, ErrorKind, Result};
use object_store::ObjectStore;
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;

#[cfg(any(feature = "aws", feature = "azure", feature = "gcp"))]
mod cloud;

#[cfg(feature = "azure")]
pub use self::cloud::AzureFactory;
#[cfg(feature = "gcp")]
pub use self::cloud::GcsFactory;
#[cfg(feature = "aws")]
pub use self::cloud::S3Factory;
use crate::{BucketOptions, BucketStore};

/// Query keys that every scheme takes.
const KEYS: [&str; 17] = [
    "cache_bytes",
    "checkpoint_commits",
    "commits_per_second_max",
    "flush_bytes",
    "flush_interval_ms",
    "follow_interval_ms",
    "give_up_after_ms",
    "grace_ms",
    "linger_ms",
    "maintenance_interval_ms",
    "merge_bytes",
    "pipeline_depth",
    "request_timeout_ms",
    "segment_bytes",
    "stall_limit_ms",
    "tail_bytes",
    "unsynced_bytes_max",
];

/// Registers the schemes of this build, and for the others the cargo feature that brings them.
pub fn register(registry: &mut StoreRegistry) {
    registry.register(FolderFactory);
    registry.register(MemoryFactory);
    #[cfg(feature = "aws")]
    registry.register(S3Factory);
    #[cfg(not(feature = "aws"))]
    registry.register_missing("s3", "aws");
    #[cfg(feature = "gcp")]
    registry.register(GcsFactory);
    #[cfg(not(feature = "gcp"))]
    registry.register_missing("gs", "gcp");
    #[cfg(feature = "azure")]
    registry.register(AzureFactory);
    #[cfg(not(feature = "azure"))]
    registry.register_missing("az", "azure");
}

/// Opens `file+object:///absolute/folder`: every object a file, each synced before it is named.
#[derive(Clone, Copy, Debug, Default)]
pub struct FolderFactory;

#[async_trait]
impl StoreFactory for FolderFactory {
    fn scheme(&self) -> &'static str {
        "file+object"
    }

    async fn open(&self, url: &StoreUrl, access: Access) -> Result<Arc<dyn MessageStore>> {
        let mut options = tuning(url, &[])?;
        let whole = url.as_url();
        let folder = decoded(whole.path())?;
        if !folder.starts_with('/') || whole.host_str().is_some_and(|host| !host.is_empty()) {
            let why = "a folder is named by its absolute path: `file+object:///var/lib/orders`";
            return Err(Error::new(ErrorKind::Invalid, why));
        }
        if url.value("follow_interval_ms").is_none() {
            options.follow_interval = Duration::ZERO;
        }
        Ok(Arc::new(BucketStore::open_folder(folder, options, access).await?))
    }
}

/// The files below a folder as objects, each synced before it is named.
pub(crate) fn local(folder: &Path, access: Access) -> Result<Arc<dyn ObjectStore>> {
    let shown = folder.display();
    let failed = |cause| Error::from_io(format!("open folder {shown}"), cause);
    if access == Access::Write {
        std::fs::create_dir_all(folder).map_err(failed)?;
    } else if !folder.is_dir() {
        let why = format!("there is no folder {shown}");
        return Err(Error::new(ErrorKind::NotFound, why));
    }
    let storage = LocalFileSystem::new_with_prefix(folder).map_err(|cause| {
        Error::new(ErrorKind::Invalid, format!("{shown} is no folder for objects"))
            .with_source(cause)
    })?;
    Ok(Arc::new(storage.with_fsync(true)))
}

/// Opens `memory+object:name`: objects in this process, shared by all who name them alike;
/// `memory+object:` alone is a place of its own each time.
#[derive(Clone, Copy, Debug, Default)]
pub struct MemoryFactory;

#[async_trait]
impl StoreFactory for MemoryFactory {
    fn scheme(&self) -> &'static str {
        "memory+object"
    }

    async fn open(&self, url: &StoreUrl, access: Access) -> Result<Arc<dyn MessageStore>> {
        let mut options = tuning(url, &[])?;
        let whole = url.as_url();
        if whole.has_authority() {
            let why = "memory has a name and no host: `memory+object:orders`";
            return Err(Error::new(ErrorKind::Invalid, why));
        }
        let name = decoded(whole.path())?;
        options.scheme = "memory+object";
        options.location = "this process".to_owned();
        if url.value("follow_interval_ms").is_none() {
            options.follow_interval = Duration::ZERO;
        }
        let storage = if name.is_empty() {
            Arc::new(InMemory::new())
        } else {
            options.survives = Survives::Process;
            options.location = format!("{name} in this process");
            shared_memory(name)
        };
        Ok(Arc::new(BucketStore::open(storage, options, access).await?))
    }
}

/// The memory of this name, which lives as long as the process.
fn shared_memory(name: String) -> Arc<InMemory> {
    static PLACES: OnceLock<Mutex<HashMap<String, Arc<InMemory>>>> = OnceLock::new();
    let places = PLACES.get_or_init(Mutex::default);
    places.lock().unwrap_or_else(PoisonError::into_inner).entry(name).or_default().clone()
}

/// Options from the query; keys that are neither common nor the scheme's own are refused.
pub(crate) fn tuning(url: &StoreUrl, own: &[&str]) -> Result<BucketOptions> {
    if url.as_url().fragment().is_some() {
        return Err(Error::new(ErrorKind::Invalid, "a store URL has no fragment"));
    }
    let mut known = [own, &KEYS].concat();
    known.sort_unstable();
    url.check_keys(&known)?;
    let mut options = BucketOptions::default();
    set(url, "cache_bytes", &mut options.cache_bytes)?;
    set(url, "checkpoint_commits", &mut options.checkpoint_commits)?;
    options.commits_per_second_max = url.parsed("commits_per_second_max")?;
    set(url, "flush_bytes", &mut options.flush_bytes)?;
    set(url, "merge_bytes", &mut options.merge_bytes)?;
    set(url, "pipeline_depth", &mut options.pipeline_depth)?;
    set(url, "segment_bytes", &mut options.segment_bytes)?;
    set(url, "tail_bytes", &mut options.tail_bytes)?;
    set(url, "unsynced_bytes_max", &mut options.unsynced_bytes_max)?;
    set_millis(url, "flush_interval_ms", &mut options.flush_interval)?;
    set_millis(url, "follow_interval_ms", &mut options.follow_interval)?;
    set_millis(url, "give_up_after_ms", &mut options.give_up_after)?;
    set_millis(url, "grace_ms", &mut options.grace)?;
    set_millis(url, "linger_ms", &mut options.linger)?;
    set_millis(url, "request_timeout_ms", &mut options.request_timeout)?;
    set_millis(url, "stall_limit_ms", &mut options.stall_limit)?;
    if let Some(millis) = url.parsed("maintenance_interval_ms")? {
        options.maintenance_interval = (millis > 0).then(|| Duration::from_millis(millis));
    }
    Ok(options)
}

fn set<T: FromStr>(url: &StoreUrl, key: &str, value: &mut T) -> Result<()> {
    if let Some(parsed) = url.parsed(key)? {
        *value = parsed;
    }
    Ok(())
}

fn set_millis(url: &StoreUrl, key: &str, value: &mut Duration) -> Result<()> {
    if let Some(millis) = url.parsed(key)? {
        *value = Duration::from_millis(millis);
    }
    Ok(())
}

/// A path of a URL without its percent signs.
fn decoded(path: &str) -> Result<String> {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digits = [rest.next(), rest.next()].map(|digit| char::from(digit.unwrap_or(b' ')));
        let [Some(high), Some(low)] = digits.map(|digit| digit.to_digit(16)) else {
            return Err(Error::new(ErrorKind::Invalid, "a percent sign without two hex digits"));
        };
        bytes.push(u8::try_from(high * 16 + low).unwrap_or(b'?'));
    }
    String::from_utf8(bytes)
        .map_err(|cause| Error::new(ErrorKind::Invalid, "the path is not UTF-8").with_source(cause))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn open(url: &str) -> Result<Arc<dyn MessageStore>> {
        let mut registry = StoreRegistry::new();
        register(&mut registry);
        registry.open(url, Access::Write).await
    }

    #[tokio::test]
    async fn unknown_or_unusable_keys_are_refused() {
        for url in [
            "memory+object:?colour=red",
            "memory+object:?linger_ms=soon",
            "memory+object:?pipeline_depth=0",
            "memory+object:?stall_limit_ms=1000&grace_ms=1000",
            "memory+object://host",
            "file+object:relative",
            "memory+object:#part",
        ] {
            assert_eq!(open(url).await.unwrap_err().kind(), ErrorKind::Invalid, "{url}");
        }
    }

    #[tokio::test]
    async fn memory_of_the_same_name_is_the_same_place() {
        let first = open("memory+object:same").await.unwrap();
        let name = "orders-0".parse().unwrap();
        first.open(&name, msglog_core::store::OpenOptions::or_create()).await.unwrap();
        let second = open("memory+object:same").await.unwrap();
        assert_eq!(second.partitions().await.unwrap(), [name]);
        let other = open("memory+object:").await.unwrap();
        assert_eq!(other.partitions().await.unwrap(), []);
    }

    #[test]
    fn escaped_paths_are_read() {
        assert_eq!(decoded("/a%20b/%C3%A9").unwrap(), "/a b/é");
        assert_eq!(decoded("/a%2").unwrap_err().kind(), ErrorKind::Invalid);
    }
}
