//! Appending in steady state allocates nothing for each record.

#![allow(clippy::unwrap_used, reason = "helpers of tests end a test by panicking")]
#![allow(unsafe_code, reason = "a counting allocator is one")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use msglog_core::{Durability, Log, Message, MsgLog};
use msglog_fs::{FsOptions, FsStore};

struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: every call is the system allocator's own.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as the caller has promised.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        // SAFETY: as the caller has promised.
        unsafe { System.dealloc(place, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const WINDOW: usize = 1000;
const APPENDS: u64 = 100_000;
/// What a group needs, however many records are in it: how many share one depends on the disk.
const ALLOCATIONS_A_GROUP_MAX: f64 = 12.0;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn append_allocates_only_for_its_group() {
    let root = tempfile::tempdir().unwrap();
    let store = FsStore::open(root.path(), FsOptions::default()).await.unwrap();
    let log = Log::builder().durability(Durability::Sync).open(Arc::new(store)).await.unwrap();
    let topic = log.topic("orders").await.unwrap();
    let mut acks = VecDeque::with_capacity(WINDOW + 1);
    let counts = || (ALLOCATIONS.load(Ordering::Relaxed), log.stats().total().groups);
    let mut before = (0, 0);
    for number in 0..2 * APPENDS {
        if number == APPENDS {
            before = counts();
        }
        let message =
            Message::from("one hundred bytes or so, which nobody has to copy to the heap");
        acks.push_back(topic.append(message).await.unwrap().ack());
        if acks.len() > WINDOW {
            acks.pop_front().unwrap().await.unwrap();
        }
    }
    let after = counts();
    let (allocations, groups) = (after.0 - before.0, after.1 - before.1);
    let each = allocations as f64 / groups as f64;
    assert!(each < ALLOCATIONS_A_GROUP_MAX, "{each} allocations a group");
    assert!(groups * 4 < APPENDS, "{groups} groups: too few records share one");
    log.close().await.unwrap();
}
