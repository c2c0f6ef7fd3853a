//! When compaction runs by itself: every so often, partition after partition.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::task::JoinHandle;

use crate::ErrorKind;
use crate::log::topics::Topics;

/// The task that compacts; it ends with its log.
#[derive(Debug)]
pub(in crate::log) struct Schedule(JoinHandle<()>);

impl Schedule {
    /// Looks every `interval` whether a partition of an open topic is due.
    pub(in crate::log) fn start(topics: &Arc<Topics>, interval: Duration) -> Self {
        Self(tokio::spawn(run(Arc::downgrade(topics), interval)))
    }
}

impl Drop for Schedule {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn run(topics: Weak<Topics>, interval: Duration) {
    loop {
        tokio::time::sleep(interval).await;
        // Held only while jobs are made: the log can be dropped while one runs.
        let Some(jobs) = topics.upgrade().map(|topics| topics.compactions()) else { return };
        for job in jobs {
            let partition = job.partition.name.clone();
            match job.run().await {
                Ok(done) if done.passes > 0 => {
                    let (before, after) = (done.records_before, done.records_after);
                    tracing::info!(%partition, before, after, passes = done.passes, "compacted");
                }
                Err(error) if error.kind() != ErrorKind::Closed => {
                    tracing::warn!(%partition, %error, "compaction failed");
                }
                _ => {}
            }
        }
    }
}
