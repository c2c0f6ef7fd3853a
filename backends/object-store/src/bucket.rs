//! The storage as the rest of the crate asks it: with timeouts, tries and few kinds of answers.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use msglog_core::{Error, ErrorKind, Result};
use object_store::path::Path;
use object_store::{
    Error as Cause, GetOptions, GetRange, ObjectMeta, ObjectStore, PutMode, PutOptions, PutPayload,
};
use tokio::time::{Instant, sleep, timeout};

use crate::layout::Layout;
use crate::options::BucketOptions;

const BACKOFF_MIN: Duration = Duration::from_millis(20);
const BACKOFF_MAX: Duration = Duration::from_secs(2);

/// Object storage below one root.
#[derive(Clone)]
pub(crate) struct Bucket {
    store: Arc<dyn ObjectStore>,
    pub(crate) layout: Layout,
    request_timeout: Duration,
    give_up_after: Duration,
}

/// Without the client, which may show credentials.
impl fmt::Debug for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bucket").field("layout", &self.layout).finish_non_exhaustive()
    }
}

impl Bucket {
    pub(crate) fn new(store: Arc<dyn ObjectStore>, options: &BucketOptions) -> Result<Self> {
        Ok(Self {
            store,
            layout: Layout::new(&options.root)?,
            request_timeout: options.request_timeout,
            give_up_after: options.give_up_after,
        })
    }

    /// One try to create an object; the answer may be wrong, see `propose`.
    pub(crate) async fn create(&self, path: &Path, payload: PutPayload) -> Result<(), Cause> {
        let create = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        self.within_time(self.store.put_opts(path, payload, create)).await.map(drop)
    }

    /// Puts an object whatever was there.
    pub(crate) async fn put(&self, path: &Path, payload: PutPayload) -> Result<()> {
        let mut patience = self.patience();
        loop {
            let put = self.store.put_opts(path, payload.clone(), PutOptions::default());
            match self.within_time(put).await {
                Ok(_) => return Ok(()),
                Err(cause) => patience.wait(&format!("put {path}"), cause).await?,
            }
        }
    }

    /// Bytes of an object, fewer where it ends; `None` when it does not exist.
    pub(crate) async fn get(
        &self,
        path: &Path,
        range: Option<Range<u64>>,
    ) -> Result<Option<Bytes>> {
        let mut patience = self.patience();
        let mut doubtful = range.as_ref().map(|range| range.start);
        loop {
            match self.get_once(path, range.clone()).await {
                Ok(bytes) => return Ok(Some(bytes)),
                Err(Cause::NotFound { .. }) => return Ok(None),
                Err(cause) => {
                    if let Some(start) = doubtful.take()
                        && self.ends_at(path, start).await
                    {
                        return Ok(Some(Bytes::new()));
                    }
                    patience.wait(&format!("get {path}"), cause).await?;
                }
            }
        }
    }

    /// Whether there is nothing of an object from `start` on: storages answer a request for that with
    /// an error that looks like any other.
    async fn ends_at(&self, path: &Path, start: u64) -> bool {
        let head = GetOptions { head: true, ..GetOptions::default() };
        let answer = self.within_time(self.store.get_opts(path, head)).await;
        answer.is_ok_and(|answer| answer.meta.size <= start)
    }

    async fn get_once(&self, path: &Path, range: Option<Range<u64>>) -> Result<Bytes, Cause> {
        let range = range.map(GetRange::Bounded);
        let get = async {
            let options = GetOptions { range, ..GetOptions::default() };
            self.store.get_opts(path, options).await?.bytes().await
        };
        self.within_time(get).await
    }

    /// The objects below `prefix`, sorted; only those named after `after` where that is given.
    pub(crate) async fn list(
        &self,
        prefix: &Path,
        after: Option<&Path>,
    ) -> Result<Vec<ObjectMeta>> {
        let mut patience = self.patience();
        loop {
            let found = match after {
                Some(after) => self.store.list_with_offset(Some(prefix), after),
                None => self.store.list(Some(prefix)),
            };
            match self.within_time(found.try_collect::<Vec<_>>()).await {
                Ok(mut found) => {
                    found.sort_by(|one, other| one.location.cmp(&other.location));
                    return Ok(found);
                }
                Err(Cause::NotFound { .. }) => return Ok(Vec::new()),
                Err(cause) => patience.wait(&format!("list {prefix}"), cause).await?,
            }
        }
    }

    /// Deletes objects; one that is gone already is as good. Answers how many were asked for.
    pub(crate) async fn delete(&self, paths: Vec<Path>) -> Result<usize> {
        let count = paths.len();
        let mut patience = self.patience();
        loop {
            let all = stream::iter(paths.clone().into_iter().map(Ok)).boxed();
            let mut answers = self.store.delete_stream(all);
            let mut failed = None;
            while let Some(answer) = answers.next().await {
                match answer {
                    Ok(_) | Err(Cause::NotFound { .. }) => {}
                    Err(cause) => failed = Some(cause),
                }
            }
            match failed {
                None => return Ok(count),
                Some(cause) => patience.wait("delete", cause).await?,
            }
        }
    }

    pub(crate) fn patience(&self) -> Patience {
        Patience { until: Instant::now() + self.give_up_after, backoff: BACKOFF_MIN }
    }

    async fn within_time<T>(
        &self,
        request: impl Future<Output = Result<T, Cause>>,
    ) -> Result<T, Cause> {
        match timeout(self.request_timeout, request).await {
            Ok(answer) => answer,
            Err(elapsed) => Err(Cause::Generic { store: "msglog", source: Box::new(elapsed) }),
        }
    }
}

/// How long to go on trying.
#[derive(Debug)]
pub(crate) struct Patience {
    until: Instant,
    backoff: Duration,
}

impl Patience {
    /// Waits before the next try, or answers why there is none.
    pub(crate) async fn wait(&mut self, what: &str, cause: Cause) -> Result<()> {
        let kind = kind_of(&cause);
        let lasting = kind != ErrorKind::Unavailable;
        if lasting || Instant::now() + self.backoff > self.until {
            return Err(Error::new(kind, what).with_source(cause));
        }
        tracing::debug!(what, error = %cause, "asked the object storage again");
        sleep(self.backoff).await;
        self.backoff = (self.backoff * 2).min(BACKOFF_MAX);
        Ok(())
    }
}

/// What the caller is to do about an error of the storage.
pub(crate) fn kind_of(cause: &Cause) -> ErrorKind {
    match cause {
        Cause::NotFound { .. } => ErrorKind::NotFound,
        Cause::InvalidPath { .. }
        | Cause::PermissionDenied { .. }
        | Cause::Unauthenticated { .. }
        | Cause::UnknownConfigurationKey { .. } => ErrorKind::Invalid,
        Cause::NotSupported { .. } | Cause::NotImplemented { .. } => ErrorKind::Unsupported,
        _ => ErrorKind::Unavailable,
    }
}

/// A number that nobody else has.
pub(crate) fn nonce() -> Result<u128> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|cause| {
        Error::new(ErrorKind::Unavailable, "the operating system gives no random bytes")
            .with_source(cause)
    })?;
    Ok(u128::from_be_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use object_store::local::LocalFileSystem;
    use object_store::memory::InMemory;

    use super::*;

    #[tokio::test]
    async fn bytes_from_the_end_of_an_object_on_are_none_and_not_asked_for_again() {
        let folder = tempfile::tempdir().unwrap();
        let local = LocalFileSystem::new_with_prefix(folder.path()).unwrap();
        for store in [Arc::new(local) as Arc<dyn ObjectStore>, Arc::new(InMemory::new())] {
            let bucket = Bucket::new(store, &BucketOptions::default()).unwrap();
            for (length, from, there) in [(0, 0, 0), (3, 3, 0), (3, 9, 0), (3, 2, 1), (3, 0, 3)] {
                let path = Path::from(format!("{length}"));
                bucket.put(&path, PutPayload::from(vec![7; length])).await.unwrap();
                let started = Instant::now();
                let found = bucket.get(&path, Some(from..from + 10)).await.unwrap().unwrap();
                assert_eq!(found.len(), there, "from {from} of {length} bytes");
                assert!(started.elapsed() < bucket.give_up_after, "from {from} of {length} bytes");
            }
            assert_eq!(bucket.get(&Path::from("none"), Some(0..10)).await.unwrap(), None);
        }
    }
}
