//! Text that names things: URLs of stores, topics, partitions, documents.

use msglog_core::store::{DocumentKey, StoreUrl};
use msglog_core::{ErrorKind, Msn, TopicName, TopicPartition};
use msglog_fs::FsFactory;

/// The bytes as each of them; what is read is written as it was, and shows no secret.
pub fn run(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    url(&text);
    // Behind a scheme that is known.
    for scheme in ["fs", "memory", "file+object", "s3"] {
        url(&format!("{scheme}:///{text}"));
        url(&format!("{scheme}://x?{text}"));
    }
    names(&text);
}

fn url(text: &str) {
    let Ok(url) = StoreUrl::parse(text) else { return };
    let shown = format!("{url} {url:?}");
    if let Some(password) = url.as_url().password().filter(|password| password.len() > 8) {
        let elsewhere = [url.as_url().path(), url.as_url().username()].concat();
        let host = url.as_url().host_str().unwrap_or_default();
        assert!((elsewhere + host).contains(password) || !shown.contains(password), "{shown}");
    }
    assert!(!shown.contains('?') && !shown.contains('#'), "query or fragment is shown: {shown}");
    let again = StoreUrl::parse(url.as_url().as_str()).expect("a URL reads itself");
    assert_eq!(again, url);
    for (key, value) in url.as_url().query_pairs() {
        assert_eq!(url.value(&key).as_deref(), Some(value.as_ref()));
        let _ = url.parsed::<u64>(&key);
        let unknown = url.check_keys(&[]).expect_err("a key that is not known");
        assert_eq!(unknown.kind(), ErrorKind::Invalid);
    }
    if let Ok(folder) = FsFactory::folder(&url) {
        assert!(folder.is_absolute(), "{}", folder.display());
    }
    msglog_fs::fuzzing::url(&url);
    msglog_object_store::fuzzing::url(&url);
}

fn names(text: &str) {
    if let Ok(name) = TopicName::parse(text) {
        assert_eq!(name.as_str(), text);
        assert!(!name.as_str().contains(['/', '\\', '\0']) && !text.starts_with('.'));
    }
    if let Ok(partition) = text.parse::<TopicPartition>() {
        assert_eq!(partition.to_string(), text, "one name a partition");
    }
    if let Ok(key) = DocumentKey::parse(text) {
        assert_eq!(key.as_str(), text);
        let escapes = text.split('/').any(|part| matches!(part, "" | "." | ".."));
        assert!(!escapes, "{text} leads out of its folder");
        msglog_fs::fuzzing::document_key(&key);
    }
    if let Ok(msn) = text.parse::<Msn>() {
        assert_eq!(msn.to_string().parse::<Msn>().ok(), Some(msn));
    }
}

/// URLs and names as the documentation has them.
pub fn seeds() -> Vec<Vec<u8>> {
    [
        "fs:///var/lib/orders?segment_bytes=67108864&strict=true&background=false",
        "memory:orders",
        "s3://key:secret-secret@bucket/orders?region=eu-central-1&linger_ms=5",
        "file+object:///var/a%20b?cache_bytes=1048576",
        "memory+object:orders?pipeline_depth=8",
        "orders-0",
        "topics/orders.v2/config",
        "18446744073709551615",
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec()
}
