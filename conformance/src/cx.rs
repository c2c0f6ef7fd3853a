//! What a case is given: a fresh place, what the store claims, a seed, and the steps all cases share.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use msglog_core::store::{
    Access, Capabilities, DocumentKey, MessageStore, OpenOptions, PartitionStore, ReadLimit,
};
use msglog_core::{Error, ErrorKind, Msn, RecordBatch, TopicPartition};

use crate::backend::{Backend, Faults, Instance, Provision};
use crate::process::start;
use crate::sample::Samples;
use crate::{Case, CaseResult, Failure, ensure, ensure_eq};

/// The partition that most cases use.
pub const PARTITION: &str = "orders-0";

/// A fresh place to run one case on. Cheap to clone.
#[derive(Clone)]
pub struct Cx {
    backend: Arc<dyn Backend>,
    place: Arc<dyn Instance>,
    case: Case,
    capabilities: Capabilities,
    seed: u64,
}

impl std::fmt::Debug for Cx {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Cx({} on {}, seed {})", self.case.id(), self.backend.name(), self.seed)
    }
}

impl Cx {
    /// Provisions a place for a case and opens it once elsewhere to learn what the store claims.
    pub async fn new(backend: Arc<dyn Backend>, case: Case, seed: u64) -> CaseResult<Self> {
        let capabilities = probe(backend.as_ref(), &case).await?;
        Self::with_capabilities(backend, case, seed, capabilities).await
    }

    pub(crate) async fn with_capabilities(
        backend: Arc<dyn Backend>,
        case: Case,
        seed: u64,
        capabilities: Capabilities,
    ) -> CaseResult<Self> {
        let place = provision(backend.as_ref(), &case).await?.into();
        Ok(Self { backend, place, case, capabilities, seed })
    }

    /// The same case on another fresh place.
    pub async fn elsewhere(&self) -> CaseResult<Self> {
        let backend = Arc::clone(&self.backend);
        Self::with_capabilities(backend, self.case, self.seed, self.capabilities).await
    }

    /// What the store claims.
    pub fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    /// The place itself.
    pub fn place(&self) -> &Arc<dyn Instance> {
        &self.place
    }

    /// The backend's name.
    pub fn backend_name(&self) -> &str {
        self.backend.name()
    }

    /// The number that all chance of this run follows from.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Batches that follow from the seed.
    pub fn samples(&self) -> Samples {
        Samples::new(self.seed)
    }

    /// Opens the place for writing; again, reopens it.
    pub async fn open(&self) -> CaseResult<Arc<dyn MessageStore>> {
        self.place.open(Access::Write).await.map_err(|error| during("open for writing", error))
    }

    /// Opens the place for reading.
    pub async fn open_reader(&self) -> CaseResult<Arc<dyn MessageStore>> {
        self.place.open(Access::Read).await.map_err(|error| during("open for reading", error))
    }

    /// Opens the place for writing as soon as a store that was just dropped or killed has let go.
    pub async fn open_once_free(&self) -> CaseResult<Arc<dyn MessageStore>> {
        for _ in 0..100 {
            match self.place.open(Access::Write).await {
                Err(error) if error.kind() == ErrorKind::Locked => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                other => return other.map_err(|error| during("reopen", error)),
            }
        }
        Err(Failure::new("reopen: still locked 2 s after the writer was dropped"))
    }

    /// Opens the place for writing and [`PARTITION`] on it, creating it.
    pub async fn open_partition(&self) -> CaseResult<Opened> {
        let store = self.open().await?;
        let partition = create(&store, PARTITION).await?;
        Ok(Opened { store, partition })
    }

    /// Closes what was opened and opens it again; the partition must exist.
    pub async fn reopen(&self, opened: Opened) -> CaseResult<Opened> {
        opened.store.close().await.map_err(|error| during("close", error))?;
        drop(opened);
        let store = self.open().await?;
        let partition = existing(&store, PARTITION).await?;
        Ok(Opened { store, partition })
    }

    /// Drops what was opened without closing it, and opens it again; the partition must exist.
    pub async fn reopen_dropped(&self, opened: Opened) -> CaseResult<Opened> {
        drop(opened);
        let store = self.open_once_free().await?;
        let partition = existing(&store, PARTITION).await?;
        Ok(Opened { store, partition })
    }
}

/// A store and its partition [`PARTITION`].
#[derive(Debug)]
pub struct Opened {
    /// The store.
    pub store: Arc<dyn MessageStore>,
    /// The partition.
    pub partition: Arc<dyn PartitionStore>,
}

impl Opened {
    /// Appends each batch with a call of its own.
    pub async fn append_each(&self, batches: &[RecordBatch]) -> CaseResult {
        append_each(&self.partition, batches).await
    }
}

/// Appends each batch with a call of its own.
pub async fn append_each(
    partition: &Arc<dyn PartitionStore>,
    batches: &[RecordBatch],
) -> CaseResult {
    for batch in batches {
        let what = format!("append at MSN {}", batch.base_msn());
        partition.append(vec![batch.clone()]).await.map_err(|error| during(&what, error))?;
    }
    Ok(())
}

/// Opens a partition by its text, creating it.
pub async fn create(
    store: &Arc<dyn MessageStore>,
    name: &str,
) -> CaseResult<Arc<dyn PartitionStore>> {
    let opened = store.open(&partition(name)?, OpenOptions::or_create()).await;
    opened.map_err(|error| during(&format!("open or create partition {name}"), error))
}

/// Opens a partition by its text, which must exist.
pub async fn existing(
    store: &Arc<dyn MessageStore>,
    name: &str,
) -> CaseResult<Arc<dyn PartitionStore>> {
    let opened = store.open(&partition(name)?, OpenOptions::existing()).await;
    opened.map_err(|error| during(&format!("open existing partition {name}"), error))
}

/// The partition with this text.
pub fn partition(name: &str) -> CaseResult<TopicPartition> {
    Ok(name.parse::<TopicPartition>()?)
}

/// The document key with this text.
pub fn key(name: &str) -> CaseResult<DocumentKey> {
    Ok(DocumentKey::parse(name)?)
}

/// Everything from `from` on, page by page, checked to be in order and to make progress.
pub async fn read_all(
    partition: &Arc<dyn PartitionStore>,
    from: Msn,
) -> CaseResult<Vec<RecordBatch>> {
    read_pages(partition, from, ReadLimit::default()).await
}

/// Everything from `from` on in pages of at most `limit`.
pub async fn read_pages(
    partition: &Arc<dyn PartitionStore>,
    from: Msn,
    limit: ReadLimit,
) -> CaseResult<Vec<RecordBatch>> {
    let mut all: Vec<RecordBatch> = Vec::new();
    let mut next = from;
    loop {
        let what = format!("read from MSN {next}");
        let page = partition.read(next, limit).await.map_err(|error| during(&what, error))?;
        if page.is_empty() {
            return Ok(all);
        }
        for batch in page {
            let (base, end) = (batch.base_msn(), batch.next_msn());
            ensure!(end > next, "{what}: batch {base}..{end} lies before the MSN asked for");
            let after = all.last().map(RecordBatch::next_msn);
            ensure!(
                after.is_none_or(|after| base >= after),
                "{what}: batch {base}..{end} is out of order"
            );
            next = end;
            all.push(batch);
        }
    }
}

/// Checks that a call failed with `kind`, and says that nothing was changed.
pub fn check_refused<T>(answer: Result<T, Error>, kind: ErrorKind, what: &str) -> CaseResult {
    let Err(error) = answer else {
        return Err(Failure::new(format!("{what}: succeeded, expected {kind}")));
    };
    let words = crate::failure::in_words(&error);
    ensure!(error.kind() == kind, "{what}: got `{words}`, expected {kind}");
    let effect = error.effect();
    let nothing = msglog_core::Effect::NotApplied;
    ensure_eq!(effect, nothing, "{what}: effect of `{words}`");
    ensure!(!error.is_transient(), "{what}: `{words}` says that trying again may help");
    Ok(())
}

/// A failed call as a failure, with what was being done.
#[track_caller]
pub fn during(what: &str, error: Error) -> Failure {
    Failure::from(error).during(what)
}

/// What the backend's stores claim, from a place that is used for nothing else.
pub(crate) async fn probe(backend: &dyn Backend, case: &Case) -> CaseResult<Capabilities> {
    let place = provision(backend, case).await?;
    let store = place.open(Access::Write).await.map_err(|error| during("open", error))?;
    let capabilities = store.capabilities();
    store.close().await.map_err(|error| during("close", error))?;
    drop(store);
    place.destroy().await?;
    Ok(capabilities)
}

async fn provision(backend: &dyn Backend, case: &Case) -> CaseResult<Box<dyn Instance>> {
    let place = match backend.provision(case).await {
        Provision::Ready(place) => place,
        Provision::Unavailable { reason } => return Err(Failure::unavailable(reason)),
    };
    check_empty(place.as_ref()).await?;
    Ok(Box::new(Settled(place)))
}

/// How often a place that is locked is opened again because a child was being started.
const OPENS_MAX: u32 = 20;

/// A place that is `Locked` only when a store locks it, not when a child that is being started
/// still shares the files of a store that was closed.
struct Settled(Box<dyn Instance>);

#[async_trait]
impl Instance for Settled {
    async fn open(&self, access: Access) -> msglog_core::Result<Arc<dyn MessageStore>> {
        for _ in 1..OPENS_MAX {
            let child = start::under_way();
            let answer = self.0.open(access).await;
            match (answer, child) {
                (Err(error), Some(child)) if error.kind() == ErrorKind::Locked => {
                    start::wait_for(child).await;
                }
                (answer, _) => return answer,
            }
        }
        self.0.open(access).await
    }

    async fn destroy(&self) -> msglog_core::Result<()> {
        self.0.destroy().await
    }

    fn folder(&self) -> Option<PathBuf> {
        self.0.folder()
    }

    fn address(&self) -> Option<String> {
        self.0.address()
    }

    fn faults(&self) -> Option<&dyn Faults> {
        self.0.faults()
    }
}

/// A place that is not empty may be somebody's: nothing is run on it.
async fn check_empty(place: &dyn Instance) -> CaseResult {
    if let Some(folder) = place.folder() {
        let there = std::fs::read_dir(&folder)?.next().is_some();
        ensure!(!there, "the place {} is not empty: nothing was run on it", folder.display());
        return Ok(());
    }
    let store = place.open(Access::Write).await.map_err(|error| during("open", error))?;
    let partitions = store.partitions().await?.len();
    let documents = store.documents("").await?.len();
    store.close().await.map_err(|error| during("close", error))?;
    ensure!(
        partitions + documents == 0,
        "the place holds {partitions} partitions and {documents} documents: nothing was run on it"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::process::start::Start;

    /// A place that is locked while it is held.
    #[derive(Default)]
    struct Held {
        held: Mutex<bool>,
        opens: AtomicU32,
    }

    #[async_trait]
    impl Instance for Arc<Held> {
        async fn open(&self, _access: Access) -> msglog_core::Result<Arc<dyn MessageStore>> {
            self.opens.fetch_add(1, Ordering::AcqRel);
            if *self.held.lock().unwrap() {
                return Err(Error::new(ErrorKind::Locked, "held"));
            }
            Ok(Arc::new(msglog_memory::MemoryStore::new()))
        }
    }

    #[tokio::test]
    async fn locked_is_believed_only_when_no_child_is_being_started() {
        let held = Arc::new(Held::default());
        *held.held.lock().unwrap() = true;
        let place = Settled(Box::new(Arc::clone(&held)));
        let refused = place.open(Access::Write).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Locked);
        assert_eq!(held.opens.load(Ordering::Acquire), 1, "a lock of a store was not believed");

        let (child, shared) = (Start::begin(), Arc::clone(&held));
        let runs = std::thread::spawn(move || {
            while shared.opens.load(Ordering::Acquire) < 2 {
                std::thread::yield_now();
            }
            *shared.held.lock().unwrap() = false;
            drop(child);
        });
        place.open(Access::Write).await.unwrap();
        assert_eq!(held.opens.load(Ordering::Acquire), 3, "opened while the child was starting");
        runs.join().unwrap();
    }
}
