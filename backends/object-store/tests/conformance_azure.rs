//! The conformance suite on the Azure Blob Storage that `MSGLOG_TEST_AZURE_URL` names.

#[path = "services/mod.rs"]
mod services;

msglog_conformance::main! {
    backend: services::ByUrl::new("object-store-azure", "MSGLOG_TEST_AZURE_URL"),
}
