//! Zeros ahead of what is written: they are made beside appends, and never over what was appended.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

mod common;

use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use common::*;
use msglog_core::store::{MessageStore, OpenOptions, PartitionStore};
use msglog_core::{ErrorKind, Msn, Result};
use msglog_fs::io::{Entry, File, FileSystem, Lock, Metadata, OpenMode, SimFs, Space};
use msglog_fs::{FsOptions, FsStore};

/// Long enough for an append that does not wait; a test that passes does not depend on it.
const SOON: Duration = Duration::from_millis(200);
/// Nothing takes as long unless it hangs.
const LONG: Duration = Duration::from_secs(30);

/// Where zeros wait on their way to a file, and where a sync of housekeeping waits to fail.
#[derive(Debug, Default)]
struct Gate {
    state: Mutex<GateState>,
    changed: Condvar,
    failing: Mutex<Failing>,
}

/// A failure of the device of which the system tells only the first who syncs.
#[derive(Debug, Default)]
enum Failing {
    #[default]
    Never,
    /// Housekeeping is told, once something comes here; it says before that it is there.
    Housekeeping(Sender<()>, Receiver<()>),
}

#[derive(Debug, Default)]
struct GateState {
    shut: bool,
    /// What is waiting.
    zeros: Option<Range<u64>>,
}

impl Gate {
    fn shut(self: &Arc<Self>) -> Shut {
        self.state.lock().unwrap().shut = true;
        Shut(self.clone())
    }

    fn open(&self) {
        *self.state.lock().unwrap() = GateState::default();
        self.changed.notify_all();
    }

    /// Waits until zeros wait, and answers where they go.
    fn zeros(&self) -> Range<u64> {
        let state = self.state.lock().unwrap();
        let none = |state: &mut GateState| state.zeros.is_none();
        let (state, _) = self.changed.wait_timeout_while(state, LONG, none).unwrap();
        state.zeros.clone().unwrap()
    }

    fn sync(&self) -> io::Result<()> {
        if thread::current().name() != Some("msglog-fs") {
            return Ok(());
        }
        let failing = std::mem::take(&mut *self.failing.lock().unwrap());
        match failing {
            Failing::Never => Ok(()),
            Failing::Housekeeping(is_there, go_on) => {
                is_there.send(()).unwrap();
                go_on.recv().unwrap();
                Err(io::Error::other("the device has failed"))
            }
        }
    }

    fn pass(&self, zeros: Range<u64>) {
        let mut state = self.state.lock().unwrap();
        if state.shut {
            state.zeros = Some(zeros);
            self.changed.notify_all();
            drop(self.changed.wait_while(state, |state| state.shut).unwrap());
        }
    }
}

/// A gate that is shut until this is dropped, so that a test that fails does not hang.
#[derive(Debug)]
struct Shut(Arc<Gate>);

impl Drop for Shut {
    fn drop(&mut self) {
        self.0.open();
    }
}

/// A file system in which writes of nothing but zeros go through a gate.
#[derive(Clone, Debug)]
struct GatedFs {
    inner: SimFs,
    gate: Arc<Gate>,
}

#[derive(Debug)]
struct GatedFile {
    inner: Arc<dyn File>,
    gate: Arc<Gate>,
}

impl FileSystem for GatedFs {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        let inner = self.inner.open(path, mode)?;
        Ok(Arc::new(GatedFile { inner, gate: self.gate.clone() }))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.inner.create_dir(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.inner.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.inner.remove(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.inner.remove_dir(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<Entry>> {
        self.inner.list(path)
    }

    fn metadata(&self, path: &Path) -> io::Result<Metadata> {
        self.inner.metadata(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.inner.sync_dir(path)
    }

    fn lock(&self, path: &Path, wait: bool) -> io::Result<Box<dyn Lock>> {
        self.inner.lock(path, wait)
    }

    fn space(&self, path: &Path) -> io::Result<Space> {
        self.inner.space(path)
    }
}

impl File for GatedFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.inner.read_at(buffer, offset)
    }

    fn write_at(&self, parts: &[io::IoSlice<'_>], offset: u64) -> io::Result<usize> {
        if parts.iter().all(|part| part.iter().all(|byte| *byte == 0)) {
            let bytes: u64 = parts.iter().map(|part| part.len() as u64).sum();
            self.gate.pass(offset..offset + bytes);
        }
        self.inner.write_at(parts, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.gate.sync()?;
        self.inner.sync_data()
    }

    fn sync_all(&self) -> io::Result<()> {
        self.inner.sync_all()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.inner.set_len(len)
    }

    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn allocate(&self, offset: u64, len: u64) -> io::Result<()> {
        self.inner.allocate(offset, len)
    }
}

fn with_thread(segment_bytes: u64) -> FsOptions {
    let mut options = small(segment_bytes);
    options.background = true;
    options.index_interval_bytes = 1 << 20;
    options
}

/// A store whose housekeeping is just writing zeros, which wait at the gate, with zeros ahead of
/// what is written. Answers also where these end, and what opens the gate.
async fn while_zeros_wait(fs: &GatedFs) -> (FsStore, Arc<dyn PartitionStore>, u64, Shut) {
    let options = with_thread(1 << 20);
    let store = FsStore::open_on(Arc::new(fs.clone()), "/store", options).await.unwrap();
    let partition = store.open(&name(), OpenOptions::or_create()).await.unwrap();
    let mut shut = None;
    // Past 16 KiB there is a runway; the gate stops the one after it.
    loop {
        let end = partition.usage().await.unwrap().bytes;
        let ahead = partition.usage().await.unwrap().allocated_bytes.saturating_sub(end);
        if ahead > (16 << 10) && shut.is_none() {
            shut = Some(fs.gate.shut());
        }
        if fs.gate.state.lock().unwrap().zeros.is_some() {
            break;
        }
        append_bytes(&partition, 1_000).await.unwrap();
        partition.sync().await.unwrap();
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let zeros = fs.gate.zeros();
    (store, partition, zeros.start, shut.unwrap())
}

async fn append_bytes(partition: &Arc<dyn PartitionStore>, bytes: usize) -> Result<()> {
    let next = partition.bounds().next_msn.get();
    partition.append(vec![batch_of(next, 1, bytes)]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn append_and_sync_in_front_of_zeros_that_are_written_go_on() {
    let fs = GatedFs { inner: SimFs::new(), gate: Arc::default() };
    let (store, partition, zeros_start, shut) = while_zeros_wait(&fs).await;
    let room = zeros_start - partition.usage().await.unwrap().bytes;
    assert!(room > 2_000, "the runway is extended before it is used up: {room}");
    let going_on = async {
        append_bytes(&partition, 1_000).await.unwrap();
        partition.sync().await.unwrap()
    };
    let durable = tokio::time::timeout(LONG, going_on).await.unwrap();
    assert_eq!(durable, partition.bounds().next_msn);
    drop(shut);
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sync_beside_one_of_zeros_that_fails_acks_nothing() {
    let fs = GatedFs { inner: SimFs::new(), gate: Arc::default() };
    let (store, partition, _, shut) = while_zeros_wait(&fs).await;
    let ((is_there, there), (go_on, waits)) = (channel(), channel());
    *fs.gate.failing.lock().unwrap() = Failing::Housekeeping(is_there, waits);
    drop(shut);
    there.recv_timeout(LONG).unwrap();
    append_bytes(&partition, 100).await.unwrap();
    let syncing = tokio::spawn({
        let partition = partition.clone();
        async move { partition.sync().await }
    });
    // Time for a sync that does not wait to end well: the device has told another of its failure.
    tokio::time::sleep(SOON).await;
    go_on.send(()).unwrap();
    let synced = tokio::time::timeout(LONG, syncing).await.unwrap().unwrap();
    assert_eq!(synced.unwrap_err().kind(), ErrorKind::Poisoned);
    drop((store, partition));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn zeros_are_never_written_over_what_was_appended() {
    let fs = GatedFs { inner: SimFs::new(), gate: Arc::default() };
    let (store, partition, zeros_start, shut) = while_zeros_wait(&fs).await;
    let end = partition.usage().await.unwrap().bytes;
    let reaching = usize::try_from(zeros_start - end).unwrap() + 500;
    let (done, is_done) = channel();
    let appended = tokio::spawn({
        let partition = partition.clone();
        async move {
            append_bytes(&partition, reaching).await.unwrap();
            done.send(()).unwrap();
        }
    });
    // Were it written now, the zeros would come over it.
    assert!(is_done.recv_timeout(SOON).is_err(), "written where zeros are just being written");
    drop(shut);
    tokio::time::timeout(LONG, appended).await.unwrap().unwrap();
    partition.sync().await.unwrap();
    let next = partition.bounds().next_msn.get();
    assert_eq!(msns(&partition).await, (0..next).collect::<Vec<_>>());
    drop((store, partition));
    fs.inner.crash(1);
    let (store, partition) = open_sim(&fs.inner, options()).await.unwrap();
    assert_eq!(msns(&partition).await, (0..next).collect::<Vec<_>>());
    assert!(partition.holes().is_empty());
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_synced_beside_zeros_survives_power_cuts_before_and_after_them() {
    for seed in 0..20 {
        let fs = GatedFs { inner: SimFs::new(), gate: Arc::default() };
        let (store, partition, _, shut) = while_zeros_wait(&fs).await;
        append_bytes(&partition, 100).await.unwrap();
        let durable = partition.sync().await.unwrap().get();
        append_bytes(&partition, 100).await.unwrap();
        let before = fs.inner.fork();
        drop(shut);
        tokio::time::sleep(Duration::from_millis(1)).await;
        let after = fs.inner.fork();
        store.close().await.unwrap();
        for (when, disk) in [("before", before), ("after", after)] {
            disk.crash(seed);
            let (store, partition) = open_sim(&disk, options()).await.unwrap();
            let next = partition.bounds().next_msn.get();
            assert!(next >= durable, "{when}, seed {seed}: {next} of {durable}");
            assert_eq!(msns(&partition).await, (0..next).collect::<Vec<_>>(), "seed {seed}");
            assert!(partition.holes().is_empty(), "{when}, seed {seed}");
            store.close().await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn appends_of_any_size_beside_zeros_survive_a_power_cut() {
    for seed in 0..60_u64 {
        let fs = SimFs::new();
        let (mut durable, mut random) = (0, seed);
        {
            let (store, partition) = open_sim(&fs, with_thread(256 << 10)).await.unwrap();
            fs.cut_power_after(20 + seed * 3);
            loop {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let bytes = usize::try_from((random >> 33) % 20_000).unwrap();
                if append_bytes(&partition, bytes).await.is_err() {
                    break;
                }
                if random >> 63 == 0 {
                    match partition.sync().await {
                        Ok(msn) => durable = msn.get(),
                        Err(_) => break,
                    }
                }
            }
            drop((store, partition));
        }
        fs.crash(seed);
        let (store, partition) = open_sim(&fs, with_thread(256 << 10)).await.unwrap();
        let next = partition.bounds().next_msn.get();
        assert!(next >= durable, "seed {seed}: {next} of {durable}");
        assert_eq!(msns(&partition).await, (0..next).collect::<Vec<_>>(), "seed {seed}");
        assert!(partition.holes().is_empty(), "seed {seed}");
        append_bytes(&partition, 100).await.unwrap();
        assert_eq!(partition.sync().await.unwrap(), Msn::new(next + 1));
        store.close().await.unwrap();
    }
}

#[tokio::test]
async fn zeros_ahead_are_as_many_as_the_option_says() {
    for (zeros_ahead_bytes, most) in [(0, 0), (4 << 10, 4 << 10), (1 << 20, 64 << 10)] {
        let mut options = small(1 << 20);
        options.index_interval_bytes = 1 << 20;
        options.zeros_ahead_bytes = zeros_ahead_bytes;
        let (store, partition) = open_sim(&SimFs::new(), options).await.unwrap();
        while partition.usage().await.unwrap().bytes < 64 << 10 {
            append_bytes(&partition, 1_000).await.unwrap();
            partition.sync().await.unwrap();
            let usage = partition.usage().await.unwrap();
            let ahead = usage.allocated_bytes - usage.bytes;
            assert!(ahead <= most + 4_096, "{ahead} ahead of {} bytes", usage.bytes);
        }
        let usage = partition.usage().await.unwrap();
        let ahead = usage.allocated_bytes - usage.bytes;
        assert!(ahead >= most / 2, "{ahead} ahead, {zeros_ahead_bytes} at most");
        store.close().await.unwrap();
    }
}
