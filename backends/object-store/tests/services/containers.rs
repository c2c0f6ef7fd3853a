//! The services in containers: MinIO for S3, Azurite for Azure.
//!
//! None for Google Cloud Storage: fake-gcs-server does not keep put-if-absent, and the store
//! refuses what does not.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use msglog_conformance::containers::{Image, Running};

/// A folder of MinIO is a bucket.
const MINIO: Image = Image {
    name: "minio/minio",
    tag: "RELEASE.2025-04-22T22-12-26Z",
    port: 9000,
    entrypoint: Some("sh"),
    command: &["-c", "mkdir -p /data/msglog && exec minio server /data"],
    ready: "API:",
    prepare: &[],
};

const AZURITE: Image = Image {
    name: "mcr.microsoft.com/azure-storage/azurite",
    tag: "3.37.0",
    port: 10_000,
    entrypoint: None,
    command: &[
        "azurite-blob",
        "--blobHost",
        "0.0.0.0",
        "--inMemoryPersistence",
        "--loose",
        "--skipApiVersionCheck",
        "--disableTelemetry",
    ],
    ready: "successfully listen",
    prepare: &["node", "-e", include_str!("azurite_container.js")],
};

/// The emulator's public account and its key, as a URL has it.
const AZURITE_ACCOUNT: &str = "devstoreaccount1";
const AZURITE_KEY: &str = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq%2FK1SZFPTOtr%2FKBHBeksoGMGw%3D%3D";

/// What runs now, so that tests beside each other share it; stopped with the last who holds it.
static RUNNING: Mutex<BTreeMap<String, Weak<Running>>> = Mutex::new(BTreeMap::new());

/// The URL of the service that stands in for a variable, and what keeps it running.
pub(crate) fn start(variable: &str) -> Result<(String, Arc<Running>), String> {
    let image = match variable {
        "MSGLOG_TEST_S3_URL" => MINIO,
        "MSGLOG_TEST_AZURE_URL" => AZURITE,
        _ => return Err(format!("{variable} is not set, and no container stands in for it")),
    };
    let mut all = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
    let running = match all.get(variable).and_then(Weak::upgrade) {
        Some(running) => running,
        None => Arc::new(Running::start(image)?),
    };
    all.insert(variable.to_owned(), Arc::downgrade(&running));
    Ok((url_at(variable, &running.address()), running))
}

fn url_at(variable: &str, address: &str) -> String {
    if variable == "MSGLOG_TEST_S3_URL" {
        return format!(
            "s3://msglog/tests?endpoint=http://{address}&allow_http=true&region=us-east-1\
             &access_key_id=minioadmin&secret_access_key=minioadmin"
        );
    }
    format!(
        "az://msglog/tests?endpoint=http://{address}/{AZURITE_ACCOUNT}&allow_http=true\
         &account_name={AZURITE_ACCOUNT}&access_key={AZURITE_KEY}"
    )
}
