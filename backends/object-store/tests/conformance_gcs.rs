//! The conformance suite on the bucket of Google Cloud Storage that `MSGLOG_TEST_GCS_URL` names.

#[path = "services/mod.rs"]
mod services;

msglog_conformance::main! {
    backend: services::ByUrl::new("object-store-gcs", "MSGLOG_TEST_GCS_URL"),
}
