//! What things cost: requests counted at the storage, and asserted.
//!
//! In memory, or with `MSGLOG_REQUESTS_ON_S3=1` on the S3 that `MSGLOG_TEST_S3_URL` names.

#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test: it shows the figures that it asserts"
)]

mod common;
#[cfg(feature = "aws")]
#[path = "services/mod.rs"]
mod services;

use std::sync::Arc;
use std::time::Duration;

use common::faulty::{Faulty, Requests};
use common::{append, batch, commit, options, orders, read_all, writer};
use futures::TryStreamExt;
use msglog_core::store::{Access, MessageStore, OpenOptions, ReadLimit, Survives};
use msglog_core::{AppendOptions, Log, Message, MsgLog, Msn, TopicConfig, TopicName};
use msglog_object_store::{BucketOptions, BucketStore};
use object_store::memory::InMemory;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt};

/// What the storage of the figures answers a request in.
const LATENCY: Duration = Duration::from_millis(5);

/// Storage whose requests are counted.
type Counted = Arc<Faulty<Arc<dyn ObjectStore>>>;

#[cfg(feature = "aws")]
fn s3() -> Option<Arc<dyn ObjectStore>> {
    use object_store::aws::AmazonS3Builder;
    use object_store::prefix::PrefixStore;

    std::env::var("MSGLOG_REQUESTS_ON_S3").ok().filter(|value| value == "1")?;
    let _ = rustls::crypto::ring::default_provider().install_default();
    let url = std::env::var("MSGLOG_TEST_S3_URL").unwrap();
    let url = msglog_core::store::StoreUrl::parse(&url).unwrap();
    let mut builder = AmazonS3Builder::from_env().with_bucket_name(url.as_url().host_str()?);
    for (key, value) in url.as_url().query_pairs() {
        builder = match key.as_ref() {
            "allow_http" => builder.with_allow_http(value == "true"),
            key => builder.with_config(key.parse().unwrap(), value),
        };
    }
    Some(Arc::new(PrefixStore::new(builder.build().unwrap(), services::unique("requests"))))
}

#[cfg(not(feature = "aws"))]
fn s3() -> Option<Arc<dyn ObjectStore>> {
    None
}

fn counted() -> Counted {
    Arc::new(Faulty::new(s3().unwrap_or_else(|| Arc::new(InMemory::new()))))
}

#[tokio::test]
async fn one_commit_is_one_put_and_nothing_else() {
    let storage = counted();
    let store = writer(&storage, options()).await;
    let partition = orders(&store).await;
    storage.take_requests();
    for number in 0..100 {
        commit(&partition, &format!("r{number}")).await.unwrap();
    }
    let requests = storage.take_requests();
    assert_eq!(requests, Requests { puts: 100, ..Requests::default() });
    assert_eq!(read_all(&partition).await.len(), 100);
    assert_eq!(storage.take_requests(), Requests::default(), "the tail needs no request");
}

async fn appends_per_put(partitions: u32) -> f64 {
    let storage = counted();
    let store = Arc::new(writer(&storage, options()).await);
    let log = Log::builder().open(store).await.unwrap();
    let name = TopicName::parse("orders").unwrap();
    let config = TopicConfig::default().with_partitions(partitions);
    log.create_topic(&name, config).await.unwrap();
    let topic = log.topic("orders").await.unwrap();
    if s3().is_none() {
        storage.latency(LATENCY);
    }
    storage.take_requests();
    let producers = (0..64_u32).map(|producer| {
        let topic = topic.clone();
        tokio::spawn(async move {
            for number in 0..50 {
                let message = Message::new(format!("{producer}:{number}"));
                let options = AppendOptions::default().with_partition(producer % partitions);
                topic.append_with(message, options).await.unwrap().ack().await.unwrap();
            }
        })
    });
    futures::future::join_all(producers).await.into_iter().for_each(Result::unwrap);
    let requests = storage.take_requests();
    let per_put = 64.0 * 50.0 / requests.puts as f64;
    println!("{partitions} partitions: {per_put:.1} appends a PUT, {requests:?}");
    per_put
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn producers_who_wait_share_puts() {
    assert!(appends_per_put(1).await >= 16.0);
    assert!(appends_per_put(8).await >= 16.0);
}

#[tokio::test]
async fn making_a_place_costs_its_probe_and_opening_it_again_does_not() {
    let storage = counted();
    let mut options = options();
    options.survives = Survives::Remote;
    writer(&storage, options.clone()).await.close().await.unwrap();
    let made = storage.take_requests();
    println!("making a place: {made:?}");
    // Put twice, four races of 16; FORMAT, the fence, the checkpoint of the close.
    assert_eq!((made.puts, made.gets, made.lists, made.deletes), (2 + 64 + 3, 1 + 5, 2, 1));
    writer(&storage, options).await.close().await.unwrap();
    assert!(storage.take_requests().puts <= 2);
}

/// A place in memory whose writer made so many commits and was not closed.
async fn abandoned(commits: u64, options: BucketOptions) -> Arc<InMemory> {
    let storage = Arc::new(InMemory::new());
    let store = writer(&storage, options).await;
    let partition = orders(&store).await;
    for number in 0..commits {
        commit(&partition, &format!("r{number}")).await.unwrap();
        if number % 64 == 63 {
            store.maintain().await.unwrap();
        }
    }
    storage
}

/// Copies every object, 16 at a time: committing one by one takes a real storage half an hour.
async fn copy(from: &Arc<InMemory>, to: &Counted) {
    let copies = from.list(None).try_for_each_concurrent(16, async |object: ObjectMeta| {
        let bytes = from.get(&object.location).await?.bytes().await?;
        to.put(&object.location, bytes.into()).await.map(drop)
    });
    copies.await.unwrap();
}

#[tokio::test]
async fn opening_costs_the_same_whatever_the_number_of_commits() {
    let mut options = options();
    options.checkpoint_commits = 64;
    options.merge_bytes = u64::MAX;
    options.merge_commits = usize::MAX;
    for commits in [100, 1_000, 10_000] {
        let storage = counted();
        copy(&abandoned(commits, options.clone()).await, &storage).await;
        storage.take_requests();
        let store = writer(&storage, options.clone()).await;
        let crashed = storage.take_requests();
        store.close().await.unwrap();
        storage.take_requests();
        let store = writer(&storage, options.clone()).await;
        let closed = storage.take_requests();
        println!("{commits} commits: after a crash {crashed:?}, after a close {closed:?}");
        // FORMAT, checkpoint; two lists; the fence.
        assert_eq!((closed.gets, closed.lists, closed.puts), (2, 2, 1));
        assert!(crashed.gets <= 2 + 64 && crashed.lists == 2 && crashed.puts == 1);
        assert_eq!(orders(&store).await.bounds().next_msn, Msn::new(commits));
    }
}

/// A partition of 4 KiB batches, merged into segments.
async fn merged(storage: &Counted, batches: u64) {
    let mut options = options();
    options.merge_bytes = 1;
    let store = writer(storage, options).await;
    let partition = orders(&store).await;
    let text = "x".repeat(4 << 10);
    for number in 0..batches {
        partition.append(vec![batch(Msn::new(number), &text)]).await.unwrap();
        if number % 2048 == 2047 {
            partition.sync().await.unwrap();
        }
    }
    partition.sync().await.unwrap();
    store.maintain().await.unwrap();
    store.close().await.unwrap();
}

#[tokio::test]
async fn point_read_is_one_request_and_a_scan_one_for_each_chunk() {
    let storage = counted();
    let batches = 25 * 1024;
    merged(&storage, batches).await;
    let store = BucketStore::open(storage.clone(), options(), Access::Read).await.unwrap();
    let name = "orders-0".parse().unwrap();
    let partition = store.open(&name, OpenOptions::existing()).await.unwrap();
    storage.take_requests();
    let found = partition.read(Msn::new(batches / 2), ReadLimit::bytes(1)).await.unwrap();
    assert_eq!(found[0].base_msn(), Msn::new(batches / 2));
    let point = storage.take_requests();
    println!("point read: {point:?}");
    assert!(point.gets <= 2 && point.total() == point.gets, "{point:?}");
    assert!(point.get_bytes <= 8 << 20);

    let store = BucketStore::open(storage.clone(), options(), Access::Read).await.unwrap();
    let partition = store.open(&name, OpenOptions::existing()).await.unwrap();
    storage.take_requests();
    let started = std::time::Instant::now();
    let mut next = Msn::ZERO;
    let mut bytes = 0;
    while next < Msn::new(batches) {
        for batch in partition.read(next, ReadLimit::default()).await.unwrap() {
            assert_eq!(batch.base_msn(), next);
            next = batch.next_msn();
            bytes += batch.encoded_len();
        }
    }
    let scan = storage.take_requests();
    println!("scan of {} MiB: {scan:?} in {:?}", bytes >> 20, started.elapsed());
    assert!(scan.gets <= bytes / (4 << 20) + 4, "{scan:?}");
    assert!(scan.get_bytes <= bytes as u64 * 11 / 10);
}

#[tokio::test]
async fn readers_of_the_same_chunk_share_one_request() {
    let storage = counted();
    merged(&storage, 100).await;
    let store = BucketStore::open(storage.clone(), options(), Access::Read).await.unwrap();
    let name = "orders-0".parse().unwrap();
    let partition = store.open(&name, OpenOptions::existing()).await.unwrap();
    storage.take_requests();
    storage.latency(LATENCY);
    let reads = (0..50).map(|number| partition.read(Msn::new(number), ReadLimit::default()));
    for read in futures::future::join_all(reads).await {
        assert!(!read.unwrap().is_empty());
    }
    assert_eq!(storage.take_requests().gets, 1);
}

#[tokio::test]
async fn commits_a_second_stay_within_the_budget() {
    let storage = Arc::new(Faulty::new(InMemory::new()));
    let mut options = options();
    options.commits_per_second_max = Some(50.0);
    let store = writer(&storage, options).await;
    let partition = orders(&store).await;
    storage.take_requests();
    let started = tokio::time::Instant::now();
    for number in 0..10 {
        append(&partition, &format!("r{number}")).await.unwrap();
        partition.sync().await.unwrap();
    }
    assert!(started.elapsed() >= Duration::from_millis(9 * 20));
    assert_eq!(storage.take_requests().puts, 10);
}
