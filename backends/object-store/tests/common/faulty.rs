//! Object storage that fails as asked: answers lost, requests refused, writers frozen, all counted.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, Result,
};
use tokio::sync::watch;

/// What happens to one PUT.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Fault {
    /// It is done as it should be.
    None,
    /// It is done, and the answer is lost.
    LosesAnswer,
    /// It is done, and the answer says that something was there already.
    SaysExists,
    /// It is not done, and the answer says that something was there already (a conflict, 409).
    RefusesAsExisting,
    /// It is not done: the storage is busy (503).
    Refuses,
}

/// Requests by kind.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Requests {
    pub(crate) puts: usize,
    pub(crate) gets: usize,
    pub(crate) get_bytes: u64,
    /// One for each 1000 names, as S3 answers them.
    pub(crate) lists: usize,
    pub(crate) deletes: usize,
}

impl Requests {
    pub(crate) fn total(&self) -> usize {
        self.puts + self.gets + self.lists + self.deletes
    }
}

/// A wrapper around any object storage.
#[derive(Debug)]
pub(crate) struct Faulty<T> {
    inner: T,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    script: Mutex<Script>,
    frozen: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct Script {
    puts: VecDeque<Fault>,
    /// Faults by the number of a PUT, counted from when they were set.
    latency: Duration,
    requests: Requests,
    put_paths: BTreeMap<Path, usize>,
    /// PUTs left before the storage stops answering for good.
    crash_after: Option<usize>,
    overwrites: bool,
    seed: u64,
    storm: bool,
}

impl<T> Faulty<T> {
    pub(crate) fn new(inner: T) -> Self {
        let shared = Shared { script: Mutex::default(), frozen: watch::Sender::new(false) };
        Self { inner, shared: Arc::new(shared) }
    }

    fn script(&self) -> MutexGuard<'_, Script> {
        self.shared.script.lock().unwrap()
    }

    /// What happens to the next PUTs, one after the other.
    pub(crate) fn next_puts(&self, faults: impl IntoIterator<Item = Fault>) {
        self.script().puts.extend(faults);
    }

    /// From now on every second request or so fails in some way that follows from `seed`.
    pub(crate) fn storm(&self, seed: u64) {
        let mut script = self.script();
        script.seed = seed;
        script.storm = true;
    }

    /// No more faults.
    pub(crate) fn calm(&self) {
        let mut script = self.script();
        script.storm = false;
        script.puts.clear();
    }

    /// Every request takes this long.
    pub(crate) fn latency(&self, latency: Duration) {
        self.script().latency = latency;
    }

    /// After this many more PUTs nothing is done or answered any more: the writer is dead.
    pub(crate) fn crash_after(&self, puts: usize) {
        self.script().crash_after = Some(puts);
    }

    /// Requests wait from now on, as those of a stopped process do, until [`thaw`](Self::thaw).
    pub(crate) fn freeze(&self) {
        self.shared.frozen.send_replace(true);
    }

    pub(crate) fn thaw(&self) {
        self.shared.frozen.send_replace(false);
    }

    /// A storage that ignores that it should only create.
    pub(crate) fn overwrites(&self) {
        self.script().overwrites = true;
    }

    /// The requests since the last call.
    pub(crate) fn take_requests(&self) -> Requests {
        std::mem::take(&mut self.script().requests)
    }

    async fn arrive(&self) -> Result<()> {
        let mut frozen = self.shared.frozen.subscribe();
        let _ = frozen.wait_for(|frozen| !frozen).await;
        let (latency, fails) = {
            let mut script = self.script();
            let fails = script.storm && script.dice().is_multiple_of(8);
            (script.latency, fails)
        };
        if !latency.is_zero() {
            tokio::time::sleep(latency).await;
        }
        if fails { Err(busy("503 before anything was done")) } else { Ok(()) }
    }
}

impl Script {
    fn dice(&mut self) -> u64 {
        self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.seed;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn next_fault(&mut self) -> Fault {
        if let Some(fault) = self.puts.pop_front() {
            return fault;
        }
        if !self.storm {
            return Fault::None;
        }
        match self.dice() % 8 {
            0 => Fault::LosesAnswer,
            1 => Fault::SaysExists,
            2 => Fault::RefusesAsExisting,
            3 => Fault::Refuses,
            _ => Fault::None,
        }
    }
}

fn busy(why: &'static str) -> Error {
    Error::Generic { store: "faulty", source: why.into() }
}

fn exists(path: &Path) -> Error {
    Error::AlreadyExists { path: path.to_string(), source: "it says that it exists".into() }
}

impl<T: fmt::Display> fmt::Display for Faulty<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Faulty({})", self.inner)
    }
}

#[async_trait]
impl<T: ObjectStore> ObjectStore for Faulty<T> {
    async fn put_opts(
        &self,
        path: &Path,
        payload: PutPayload,
        mut options: PutOptions,
    ) -> Result<PutResult> {
        self.arrive().await?;
        let (fault, dead) = {
            let mut script = self.script();
            script.requests.puts += 1;
            *script.put_paths.entry(path.clone()).or_default() += 1;
            if script.overwrites {
                options.mode = object_store::PutMode::Overwrite;
            }
            let dead = script.crash_after == Some(0);
            if let Some(left) = &mut script.crash_after {
                *left = left.saturating_sub(1);
            }
            (script.next_fault(), dead)
        };
        if dead {
            std::future::pending::<()>().await;
        }
        match fault {
            Fault::None => self.inner.put_opts(path, payload, options).await,
            Fault::LosesAnswer => {
                let _ = self.inner.put_opts(path, payload, options).await;
                Err(busy("the answer was lost"))
            }
            Fault::SaysExists => {
                let _ = self.inner.put_opts(path, payload, options).await;
                Err(exists(path))
            }
            Fault::RefusesAsExisting => Err(exists(path)),
            Fault::Refuses => Err(busy("503")),
        }
    }

    async fn put_multipart_opts(
        &self,
        path: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.arrive().await?;
        self.inner.put_multipart_opts(path, options).await
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        self.arrive().await?;
        self.script().requests.gets += 1;
        let answer = self.inner.get_opts(path, options).await?;
        self.script().requests.get_bytes += answer.range.end - answer.range.start;
        Ok(answer)
    }

    fn delete_stream(
        &self,
        paths: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        self.script().requests.deletes += 1;
        self.inner.delete_stream(paths)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        counted(self.shared.clone(), self.inner.list(prefix))
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        counted(self.shared.clone(), self.inner.list_with_offset(prefix, offset))
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.arrive().await?;
        self.script().requests.lists += 1;
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.inner.rename_opts(from, to, options).await
    }
}

/// A list that waits while frozen and counts one request for each 1000 names.
fn counted(
    shared: Arc<Shared>,
    names: BoxStream<'static, Result<ObjectMeta>>,
) -> BoxStream<'static, Result<ObjectMeta>> {
    use futures::StreamExt;
    let waits = {
        let shared = shared.clone();
        async move {
            let mut frozen = shared.frozen.subscribe();
            let _ = frozen.wait_for(|frozen| !frozen).await;
            shared.script.lock().unwrap().requests.lists += 1;
            futures::stream::empty()
        }
    };
    let mut seen = 0_usize;
    let names = names.inspect(move |_| {
        seen += 1;
        if seen % 1000 == 1 && seen > 1 {
            shared.script.lock().unwrap().requests.lists += 1;
        }
    });
    futures::stream::once(waits).flatten().chain(names).boxed()
}
