//! The URL scheme that this crate brings.

use msglog_core::ErrorKind;
use msglog_core::store::{Access, StoreRegistry};
use msglog_redb::RedbFactory;

#[tokio::test]
async fn registered_scheme_opens_the_file_that_the_url_names() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("orders.redb");
    let mut registry = StoreRegistry::new();
    registry.register(RedbFactory);
    let url = format!("redb://{}", path.display());
    let store = registry.open(&url, Access::Write).await.unwrap();
    assert_eq!(store.info().scheme, "redb");
    assert!(path.exists());
    let error = registry.open(&format!("{url}?colour=red"), Access::Write).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
}
