//! The schemes of object storage as the facade opens them, or says what is missing.

#[cfg(feature = "object-store")]
#[tokio::test]
async fn log_on_objects_is_opened_by_url() {
    use msglog::{MsgLog, Msn, ReadLimit};

    let log = msglog::open("memory+object:facade").await.unwrap();
    let orders = log.topic("orders").await.unwrap();
    let msn = orders.append("two coffees").await.unwrap().ack().await.unwrap();
    log.close().await.unwrap();
    let log = msglog::open("memory+object:facade").await.unwrap();
    let orders = log.topic("orders").await.unwrap();
    let page = orders.read(0, Msn::ZERO, ReadLimit::default()).await.unwrap();
    assert_eq!(page.records[0].msn, msn);
    assert_eq!(page.records[0].payload.as_deref(), Some(b"two coffees".as_slice()));
}

#[tokio::test]
async fn missing_cloud_names_its_feature() {
    let clouds = [
        ("s3://bucket", "aws", cfg!(feature = "aws")),
        ("gs://bucket", "gcp", cfg!(feature = "gcp")),
        ("az://container", "azure", cfg!(feature = "azure")),
        ("file+object:///folder", "object-store", cfg!(feature = "object-store")),
    ];
    for (url, feature, there) in clouds {
        if there {
            continue;
        }
        let error = msglog::open(url).await.unwrap_err();
        assert_eq!(error.kind(), msglog::ErrorKind::Unsupported);
        assert!(error.to_string().contains(&format!("`{feature}`")), "{error}");
    }
}
