//! Appends of borrowed bytes: they may be overwritten as soon as the call returns, acked or not.

#![allow(clippy::unwrap_used, reason = "helpers of tests end a test by panicking")]

use std::sync::Arc;

use msglog_core::store::ReadLimit;
use msglog_core::{AppendOptions, Header, Log, MessageRef, MsgLog, Msn, blocking};
use msglog_memory::MemoryStore;

/// Small ones share a batch, one of 40,000 bytes gets its own.
const LENGTHS: [usize; 3] = [3, 100, 40_000];

#[tokio::test]
async fn borrowed_payloads_are_stored_as_they_were_in_the_call() {
    let log = Log::builder().open(Arc::new(MemoryStore::new())).await.unwrap();
    let topic = log.topic("orders").await.unwrap();
    let (mut buffer, mut acks) = (vec![0; 40_000], Vec::new());
    let producer = topic.producer("one").await.unwrap();
    for (round, len) in (1_u8..).zip(LENGTHS) {
        buffer.fill(round);
        let payload = buffer.get(..len).unwrap();
        acks.push(topic.append(payload).await.unwrap().ack());
        let keyed = MessageRef::new(payload).with_key(b"key");
        acks.push(topic.append_with(keyed, AppendOptions::default()).await.unwrap().ack());
        acks.push(topic.append_batch([payload; 2]).await.unwrap().ack());
        acks.push(producer.append(payload).await.unwrap().ack());
        acks.push(producer.append_batch(&[keyed]).await.unwrap().ack());
        buffer.fill(0xff);
    }
    for ack in acks {
        ack.await.unwrap();
    }
    let page = topic.read(0, Msn::ZERO, ReadLimit::bytes(1 << 20)).await.unwrap();
    assert_eq!(page.records.len(), 6 * LENGTHS.len());
    let mut records = page.records.into_iter();
    for (round, len) in (1_u8..).zip(LENGTHS) {
        for keyed in [false, true, false, false, false, true] {
            let record = records.next().unwrap();
            assert_eq!(record.payload.as_deref(), Some(vec![round; len].as_slice()));
            assert_eq!(record.key.is_some(), keyed);
        }
    }
    log.close().await.unwrap();
}

#[test]
fn blocking_code_appends_borrowed_messages_with_headers() {
    let open = Log::builder().open(Arc::new(MemoryStore::new()));
    let log = blocking::Log::start(open).unwrap();
    let topic = log.topic("orders").unwrap();
    let headers = [Header::new("table", "7")];
    let order = MessageRef::new(b"two coffees").with_headers(&headers);
    let options = AppendOptions::default();
    topic.append(order).unwrap().wait().unwrap();
    topic.append_and_wait(order, options).unwrap();
    topic.append_batch(&[order, order], options).unwrap().wait().unwrap();
    topic.append_batch_and_wait(&["a tea"], options).unwrap();
    let page = topic.read(0, Msn::ZERO, ReadLimit::bytes(1 << 20)).unwrap();
    let (tea, coffees) = page.records.split_last().unwrap();
    assert_eq!((tea.payload.as_deref(), tea.headers.len()), (Some(b"a tea".as_slice()), 0));
    assert_eq!(coffees.len(), 4);
    for record in coffees {
        assert_eq!(record.payload.as_deref(), Some(b"two coffees".as_slice()));
        assert_eq!(record.headers, headers);
    }
    log.close().unwrap();
}
