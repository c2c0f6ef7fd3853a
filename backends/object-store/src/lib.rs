//! The msglog store on object storage.

mod bucket;
mod cache;
mod catalogue;
mod commit;
mod core;
mod layout;
mod maintain;
mod options;
mod partition;
mod pipeline;
mod probe;
mod propose;
mod read;
mod recover;
mod state;
mod stopwatch;
mod store;
mod url;
mod wire;

pub use crate::maintain::Maintained;
pub use crate::options::{BucketOptions, PIPELINE_DEPTH_MAX};
pub use crate::store::BucketStore;
#[cfg(feature = "azure")]
pub use crate::url::AzureFactory;
#[cfg(feature = "gcp")]
pub use crate::url::GcsFactory;
#[cfg(feature = "aws")]
pub use crate::url::S3Factory;
pub use crate::url::{FolderFactory, MemoryFactory, register};

/// The largest encoded batch, in bytes.
pub(crate) const BATCH_BYTES_MAX: usize = 16 << 20;
/// The largest document, in bytes.
pub(crate) const DOCUMENT_BYTES_MAX: usize = 1 << 20;
