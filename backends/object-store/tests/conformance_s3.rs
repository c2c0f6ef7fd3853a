//! The conformance suite on the S3 that `MSGLOG_TEST_S3_URL` names.

#[path = "services/mod.rs"]
mod services;

msglog_conformance::main! {
    backend: services::ByUrl::new("object-store-s3", "MSGLOG_TEST_S3_URL"),
}
