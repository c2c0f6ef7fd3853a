//! What the suite needs of a backend: a fresh place per case, and a store opened on it.

use std::any::Any;
use std::fmt::Debug;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use msglog_core::store::{Access, MessageStore};
use msglog_core::{Error, ErrorKind, Result};

use crate::Case;

/// A backend under test: the full form of what [`main!`](crate::main) builds from one closure.
#[async_trait]
pub trait Backend: Send + Sync + 'static {
    /// The name in reports, e.g. `fs`.
    fn name(&self) -> &str;

    /// A fresh, empty place for one case; nothing of an earlier case may be in it.
    async fn provision(&self, case: &Case) -> Provision;

    /// The place with this address, in another process than the one that provisioned it.
    ///
    /// # Errors
    ///
    /// Whatever keeps it from being reached. Backends whose instances have no address need none.
    async fn attach(&self, address: &str) -> Result<Box<dyn Instance>> {
        let why = format!("this backend cannot attach to {address}");
        Err(Error::new(ErrorKind::Unsupported, why))
    }
}

#[async_trait]
impl<B: Backend + ?Sized> Backend for Arc<B> {
    fn name(&self) -> &str {
        self.as_ref().name()
    }

    async fn provision(&self, case: &Case) -> Provision {
        self.as_ref().provision(case).await
    }

    async fn attach(&self, address: &str) -> Result<Box<dyn Instance>> {
        self.as_ref().attach(address).await
    }
}

/// What provisioning a place came to.
pub enum Provision {
    /// Here it is.
    Ready(Box<dyn Instance>),
    /// It cannot be had here, e.g. because a service is not running: shown, and never green.
    Unavailable {
        /// What is missing, and how to get it.
        reason: String,
    },
}

impl Debug for Provision {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Ready(_) => f.write_str("Ready"),
            Self::Unavailable { reason } => write!(f, "Unavailable({reason})"),
        }
    }
}

/// One place of a backend, which stores are opened on, again and again.
#[async_trait]
pub trait Instance: Send + Sync {
    /// Opens a store on the place; called again, it is reopened.
    ///
    /// # Errors
    ///
    /// Whatever the backend answers.
    async fn open(&self, access: Access) -> Result<Arc<dyn MessageStore>>;

    /// Lets go of all that the place takes up. Stores on it are closed or dropped by then.
    ///
    /// # Errors
    ///
    /// Whatever is left behind, which fails the case.
    async fn destroy(&self) -> Result<()> {
        Ok(())
    }

    /// The folder that holds every byte of the place, if there is one.
    fn folder(&self) -> Option<PathBuf> {
        None
    }

    /// What [`Backend::attach`] needs in another process, if places outlive the process.
    fn address(&self) -> Option<String> {
        None
    }

    /// How to make the storage below the store fail, if the backend can.
    fn faults(&self) -> Option<&dyn Faults> {
        None
    }
}

/// What can be made to go wrong below the store.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Fault {
    /// Writes find no room.
    Full,
    /// Syncs fail.
    SyncFails,
}

/// A seam below the store through which its storage fails.
#[async_trait]
pub trait Faults: Send + Sync {
    /// From now on the storage fails this way.
    async fn inject(&self, fault: Fault);

    /// The storage works again.
    async fn heal(&self);

    /// Whether [`cut_power`](Self::cut_power) does anything.
    fn can_cut_power(&self) -> bool {
        false
    }

    /// The storage forgets what was not synced, or any part of that, as `seed` decides.
    ///
    /// Stores that are open on the place are dropped next, and then it is opened again.
    async fn cut_power(&self, seed: u64) {
        let _ = seed;
    }
}

#[async_trait]
impl<F: Faults + ?Sized> Faults for Arc<F> {
    async fn inject(&self, fault: Fault) {
        self.as_ref().inject(fault).await;
    }

    async fn heal(&self) {
        self.as_ref().heal().await;
    }

    fn can_cut_power(&self) -> bool {
        self.as_ref().can_cut_power()
    }

    async fn cut_power(&self, seed: u64) {
        self.as_ref().cut_power(seed).await;
    }
}

/// How often a case's folder is tried to be removed, and the pause in between.
const REMOVALS_MAX: u32 = 100;
const REMOVAL_PAUSE: std::time::Duration = std::time::Duration::from_millis(20);

/// A fresh, empty place for one case: a folder, a name, and memory that reopening finds again.
#[derive(Clone, Debug)]
pub struct Fixture {
    folder: PathBuf,
    shared: Arc<Mutex<Option<Arc<dyn Any + Send + Sync>>>>,
}

impl Fixture {
    fn at(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into(), shared: Arc::default() }
    }

    /// An empty folder of this place's own; the store keeps everything in it.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// A name that no other place has, for a namespace, bucket or table.
    pub fn name(&self) -> String {
        self.folder.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// The value that `make` made for this place first: what a store without files reopens.
    pub fn shared<T: Any + Send + Sync>(&self, make: impl FnOnce() -> T) -> Arc<T> {
        let mut slot = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(Ok(there)) = slot.as_ref().map(|any| Arc::clone(any).downcast::<T>()) {
            return there;
        }
        let made = Arc::new(make());
        *slot = Some(made.clone());
        made
    }
}

/// A backend made of its name and a function that opens a store at a [`Fixture`].
///
/// Its places have no seam for faults: what a failed sync or a full disk does is not tested.
pub fn from_fn<F, Fut, S>(name: impl Into<String>, open: F) -> impl Backend
where
    F: Fn(Fixture, Access) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<S>> + Send + 'static,
    S: MessageStore,
{
    FnBackend { name: name.into(), open: opener(open), faults: None }
}

/// The same with a function that answers the seam through which the storage at a [`Fixture`] fails.
///
/// It is called once for each place, and the stores that are opened there heed what it answers: it
/// is mostly what both keep in [`Fixture::shared`].
pub fn from_fn_with_faults<F, Fut, S, G, T>(
    name: impl Into<String>,
    open: F,
    faults: G,
) -> impl Backend
where
    F: Fn(Fixture, Access) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<S>> + Send + 'static,
    S: MessageStore,
    G: Fn(Fixture) -> T + Send + Sync + 'static,
    T: Faults + 'static,
{
    let faults: FaultsFn = Arc::new(move |at| Box::new(faults(at)));
    FnBackend { name: name.into(), open: opener(open), faults: Some(faults) }
}

type Opening = futures::future::BoxFuture<'static, Result<Arc<dyn MessageStore>>>;
type OpenFn = Arc<dyn Fn(Fixture, Access) -> Opening + Send + Sync>;
type FaultsFn = Arc<dyn Fn(Fixture) -> Box<dyn Faults> + Send + Sync>;

fn opener<F, Fut, S>(open: F) -> OpenFn
where
    F: Fn(Fixture, Access) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<S>> + Send + 'static,
    S: MessageStore,
{
    Arc::new(move |at, access| {
        let opening = open(at, access);
        Box::pin(async move { Ok(Arc::new(opening.await?) as Arc<dyn MessageStore>) })
    })
}

struct FnBackend {
    name: String,
    open: OpenFn,
    faults: Option<FaultsFn>,
}

impl FnBackend {
    fn instance(&self, at: Fixture, own: Option<tempfile::TempDir>) -> Box<dyn Instance> {
        let faults = self.faults.as_ref().map(|faults| faults(at.clone()));
        Box::new(FnInstance { at, open: Arc::clone(&self.open), faults, own: Mutex::new(own) })
    }
}

#[async_trait]
impl Backend for FnBackend {
    fn name(&self) -> &str {
        &self.name
    }

    async fn provision(&self, _case: &Case) -> Provision {
        match tempfile::Builder::new().prefix("msglog-").tempdir() {
            Ok(folder) => {
                let at = Fixture::at(folder.path());
                Provision::Ready(self.instance(at, Some(folder)))
            }
            Err(cause) => {
                Provision::Unavailable { reason: format!("no temporary folder: {cause}") }
            }
        }
    }

    async fn attach(&self, address: &str) -> Result<Box<dyn Instance>> {
        Ok(self.instance(Fixture::at(address), None))
    }
}

struct FnInstance {
    at: Fixture,
    open: OpenFn,
    faults: Option<Box<dyn Faults>>,
    own: Mutex<Option<tempfile::TempDir>>,
}

#[async_trait]
impl Instance for FnInstance {
    async fn open(&self, access: Access) -> Result<Arc<dyn MessageStore>> {
        (self.open)(self.at.clone(), access).await
    }

    /// A log that is dropped lets its store go a moment later, and some stores tidy up then.
    async fn destroy(&self) -> Result<()> {
        let Some(own) = self.own.lock().unwrap_or_else(PoisonError::into_inner).take() else {
            return Ok(());
        };
        let path = own.keep();
        let mut removed = Ok(());
        for _ in 0..REMOVALS_MAX {
            removed = std::fs::remove_dir_all(&path);
            if removed.is_ok() {
                break;
            }
            tokio::time::sleep(REMOVAL_PAUSE).await;
        }
        removed.map_err(|cause| Error::from_io("remove the case's folder", cause))
    }

    fn folder(&self) -> Option<PathBuf> {
        Some(self.at.folder.clone())
    }

    fn address(&self) -> Option<String> {
        self.at.folder.to_str().map(str::to_owned)
    }

    fn faults(&self) -> Option<&dyn Faults> {
        self.faults.as_deref()
    }
}
