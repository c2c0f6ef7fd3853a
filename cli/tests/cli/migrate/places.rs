//! Sources, destinations, and what they hold.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use msglog::batch::RecordBatch;
use msglog::store::{Expected, MessageStore, OpenOptions};
use msglog::{Access, Log, Message, Msn, ReadLimit, Timestamp, TopicConfig};

use crate::run::{Place, Ran, finish, msglog};

/// `msglog migrate` between two URLs.
pub(crate) fn migrate(source: &str, destination: &str, arguments: &[&str]) -> Ran {
    let mut command = msglog(&["migrate", source, destination]);
    command.args(arguments);
    finish(command, b"")
}

/// Every record of every topic, as `consume -o json` prints it.
pub(crate) fn records(url: &str) -> BTreeMap<String, Vec<u8>> {
    let topics = finish(msglog(&["topics", url, "-o", "json"]), b"").success().json();
    let names = topics.as_array().unwrap().iter().map(|topic| topic["topic"].as_str().unwrap());
    let consume = |name| {
        let ran = finish(msglog(&["consume", url, name, "-o", "json"]), b"");
        ran.success().stdout
    };
    names.map(|name| (name.to_owned(), consume(name))).collect()
}

/// The file of every path below a folder, byte for byte.
pub(crate) fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.insert(path.clone(), fs::read(&path).unwrap());
        }
    }
    found
}

/// A log with three topics, two of several partitions and one empty, keys, headers, tombstones, old
/// timestamps, commits, and a trimmed beginning.
pub(crate) async fn rich() -> Place {
    let place = Place::new();
    let url = format!("{}?segment_bytes=4096", place.url());
    let log =
        msglog::open_with(&url, Log::builder().durability(msglog::Durability::Os)).await.unwrap();
    let lz4 = TopicConfig::default().with_partitions(3);
    let lz4 = lz4.with_compression(msglog::Compression::Lz4);
    for (name, config) in [
        ("orders", lz4),
        ("trimmed", TopicConfig::default()),
        ("empty", TopicConfig::default().with_partitions(2)),
    ] {
        msglog::MsgLog::create_topic(&log, &name.parse().unwrap(), config).await.unwrap();
    }
    let orders = log.topic("orders").await.unwrap();
    let trimmed = log.topic("trimmed").await.unwrap();
    for n in 0..300_i64 {
        let message = Message::new(format!("payload {n}"))
            .with_key(format!("key {}", n % 7))
            .with_header("n", n.to_string())
            .with_timestamp(Timestamp::from_millis(1_000 - n));
        orders.append(message).await.unwrap().ack().await.unwrap();
        let message = Message::new(vec![0xff; 100]);
        trimmed.append(message).await.unwrap().ack().await.unwrap();
    }
    orders.append(Message::tombstone("key 3")).await.unwrap().ack().await.unwrap();
    orders.consumer("billing").unwrap().commit(1, Msn::new(5)).await.unwrap();
    trimmed.consumer("billing").unwrap().commit(0, Msn::new(300)).await.unwrap();
    let first = trimmed.trim(0, Msn::new(200)).await.unwrap();
    assert!(first > Msn::ZERO, "nothing was trimmed");
    msglog::MsgLog::close(&log).await.unwrap();
    place
}

/// A thousand lines in batches of ten, each record told by its MSN.
pub(crate) fn thousand() -> Place {
    let place = Place::new();
    let lines: String = (0..1000).map(|n| format!("{n}\n")).collect();
    place.produce(&["lines", "--batch-lines", "10"], lines.as_bytes());
    place
}

/// Copies the batches of `lines`, some of them changed on the way.
pub(crate) async fn copy_changed(
    from: &Place,
    to: &Place,
    change: impl Fn(RecordBatch) -> RecordBatch,
) {
    let open = async |place: &Place, access| -> Arc<dyn MessageStore> {
        msglog::registry().open(&place.url(), access).await.unwrap()
    };
    let (from, to) = (open(from, Access::Read).await, open(to, Access::Write).await);
    let name = "lines-0".parse().unwrap();
    let source = from.open(&name, OpenOptions::existing()).await.unwrap();
    let destination = to.open(&name, OpenOptions::or_create()).await.unwrap();
    let batches = source.read(Msn::ZERO, ReadLimit::bytes(usize::MAX)).await.unwrap();
    for batch in batches {
        destination.append(vec![change(batch)]).await.unwrap();
    }
    for key in from.documents("").await.unwrap() {
        let value = from.load(&key).await.unwrap().unwrap().value;
        to.save(&key, value, Expected::Absent).await.unwrap();
    }
    to.close().await.unwrap();
}
