//! Clouds: credentials from the environment as `object_store` reads them, options from the query.

use std::fmt::Display;
use std::str::FromStr;
use std::sync::Arc;

use async_trait::async_trait;
use msglog_core::store::{Access, MessageStore, StoreFactory, StoreUrl, Survives};
use msglog_core::{Error, ErrorKind, Result};
use object_store::{ObjectStore, RetryConfig};

use super::{decoded, tuning};
use crate::{BucketOptions, BucketStore};

/// Query keys that go to the HTTP client.
const CLIENT_KEYS: [&str; 3] = ["allow_http", "connect_timeout", "proxy_url"];

/// Opens `s3://bucket/path`.
///
/// Credentials and defaults come from the environment (`AWS_ACCESS_KEY_ID`, `AWS_ENDPOINT`, ...),
/// the query goes before it.
#[cfg(feature = "aws")]
#[derive(Clone, Copy, Debug, Default)]
pub struct S3Factory;

#[cfg(feature = "aws")]
const S3_KEYS: [&str; 12] = [
    "access_key_id",
    "checksum_algorithm",
    "endpoint",
    "imdsv1_fallback",
    "region",
    "request_payer",
    "s3_express",
    "secret_access_key",
    "session_token",
    "skip_signature",
    "unsigned_payload",
    "virtual_hosted_style_request",
];

#[cfg(feature = "aws")]
#[async_trait]
impl StoreFactory for S3Factory {
    fn scheme(&self) -> &'static str {
        "s3"
    }

    async fn open(&self, url: &StoreUrl, access: Access) -> Result<Arc<dyn MessageStore>> {
        use object_store::aws::AmazonS3Builder;
        let (options, bucket) = place(url, "s3", &S3_KEYS)?;
        let builder = AmazonS3Builder::from_env().with_bucket_name(bucket).with_retry(no_retries());
        let builder = configured(url, &S3_KEYS, builder, AmazonS3Builder::with_config)?;
        open(built(url, builder.build())?, options, access).await
    }
}

/// Opens `gs://bucket/path`.
///
/// Credentials and defaults come from the environment (`GOOGLE_SERVICE_ACCOUNT`, ...), the query
/// goes before it.
#[cfg(feature = "gcp")]
#[derive(Clone, Copy, Debug, Default)]
pub struct GcsFactory;

#[cfg(feature = "gcp")]
const GCS_KEYS: [&str; 5] = [
    "application_credentials",
    "base_url",
    "service_account_key",
    "service_account_path",
    "skip_signature",
];

#[cfg(feature = "gcp")]
#[async_trait]
impl StoreFactory for GcsFactory {
    fn scheme(&self) -> &'static str {
        "gs"
    }

    async fn open(&self, url: &StoreUrl, access: Access) -> Result<Arc<dyn MessageStore>> {
        use object_store::gcp::GoogleCloudStorageBuilder;
        let (options, bucket) = place(url, "gs", &GCS_KEYS)?;
        let builder =
            GoogleCloudStorageBuilder::from_env().with_bucket_name(bucket).with_retry(no_retries());
        let builder = configured(url, &GCS_KEYS, builder, GoogleCloudStorageBuilder::with_config)?;
        open(built(url, builder.build())?, options, access).await
    }
}

/// Opens `az://container/path`.
///
/// Credentials and defaults come from the environment (`AZURE_STORAGE_ACCOUNT_NAME`,
/// `AZURE_STORAGE_ACCOUNT_KEY`, ...), the query goes before it. With `use_emulator=true` the
/// environment's `AZURITE_BLOB_STORAGE_URL` says where the emulator is.
#[cfg(feature = "azure")]
#[derive(Clone, Copy, Debug, Default)]
pub struct AzureFactory;

#[cfg(feature = "azure")]
const AZURE_KEYS: [&str; 9] = [
    "access_key",
    "account_name",
    "authority_id",
    "client_id",
    "client_secret",
    "endpoint",
    "sas_key",
    "skip_signature",
    "use_emulator",
];

#[cfg(feature = "azure")]
#[async_trait]
impl StoreFactory for AzureFactory {
    fn scheme(&self) -> &'static str {
        "az"
    }

    async fn open(&self, url: &StoreUrl, access: Access) -> Result<Arc<dyn MessageStore>> {
        use object_store::azure::MicrosoftAzureBuilder;
        let (options, container) = place(url, "az", &AZURE_KEYS)?;
        let builder = MicrosoftAzureBuilder::from_env()
            .with_container_name(container)
            .with_retry(no_retries());
        let builder = configured(url, &AZURE_KEYS, builder, MicrosoftAzureBuilder::with_config)?;
        open(built(url, builder.build())?, options, access).await
    }
}

async fn open(
    storage: impl ObjectStore,
    options: BucketOptions,
    access: Access,
) -> Result<Arc<dyn MessageStore>> {
    Ok(Arc::new(BucketStore::open(Arc::new(storage), options, access).await?))
}

/// Options and the name of the bucket.
fn place(
    url: &StoreUrl,
    scheme: &'static str,
    keys: &[&'static str],
) -> Result<(BucketOptions, String)> {
    // One that the program has chosen stays.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut options = tuning(url, &[keys, &CLIENT_KEYS].concat())?;
    let whole = url.as_url();
    let bucket = whole.host_str().unwrap_or_default().to_owned();
    if bucket.is_empty() || !whole.username().is_empty() || whole.port().is_some() {
        let why = format!("expected {scheme}://bucket/path; an endpoint goes into the query");
        return Err(Error::new(ErrorKind::Invalid, why));
    }
    options.scheme = scheme;
    options.survives = Survives::Remote;
    options.root = decoded(whole.path())?.trim_matches('/').to_owned();
    options.location = match options.root.as_str() {
        "" => bucket.clone(),
        root => format!("{bucket}/{root}"),
    };
    Ok((options, bucket))
}

/// Tries are this crate's own: the client's would turn a lost answer into `AlreadyExists`.
fn no_retries() -> RetryConfig {
    RetryConfig { max_retries: 0, ..RetryConfig::default() }
}

/// Gives the builder what the query says.
fn configured<B, K: FromStr<Err: Display>>(
    url: &StoreUrl,
    keys: &[&str],
    mut builder: B,
    set: impl Fn(B, K, String) -> B,
) -> Result<B> {
    for key in keys.iter().chain(&CLIENT_KEYS) {
        let Some(value) = url.value(key) else { continue };
        let parsed = K::from_str(key).map_err(|cause| {
            let why = format!("the client does not know the key `{key}`: {cause}");
            Error::new(ErrorKind::Invalid, why)
        })?;
        builder = set(builder, parsed, value);
    }
    Ok(builder)
}

fn built<T>(url: &StoreUrl, built: object_store::Result<T>) -> Result<T> {
    built.map_err(|cause| {
        Error::new(ErrorKind::Invalid, format!("{} cannot be opened", url.scheme()))
            .with_source(cause)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(feature = "aws")]
    #[test]
    fn every_s3_key_is_one_that_the_client_knows() {
        for key in S3_KEYS.iter().chain(&CLIENT_KEYS) {
            assert!(object_store::aws::AmazonS3ConfigKey::from_str(key).is_ok(), "{key}");
        }
    }

    #[cfg(feature = "gcp")]
    #[test]
    fn every_gcs_key_is_one_that_the_client_knows() {
        for key in GCS_KEYS.iter().chain(&CLIENT_KEYS) {
            assert!(object_store::gcp::GoogleConfigKey::from_str(key).is_ok(), "{key}");
        }
    }

    #[cfg(feature = "azure")]
    #[test]
    fn every_azure_key_is_one_that_the_client_knows() {
        for key in AZURE_KEYS.iter().chain(&CLIENT_KEYS) {
            assert!(object_store::azure::AzureConfigKey::from_str(key).is_ok(), "{key}");
        }
    }

    #[cfg(feature = "aws")]
    #[test]
    fn location_names_the_bucket_and_no_secret() {
        let url = "s3://bucket/some/path?secret_access_key=hush&region=eu-west-1";
        let (options, bucket) = place(&StoreUrl::parse(url).unwrap(), "s3", &S3_KEYS).unwrap();
        assert_eq!(bucket, "bucket");
        assert_eq!(options.location, "bucket/some/path");
        assert!(!format!("{options:?}").contains("hush"));
    }
}
