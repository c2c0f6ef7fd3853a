//! What one measurement is given, and the log with one topic that most of them begin with.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use msglog::{Ack, Durability, Log, LogBuilder, MsgLog, Topic, TopicConfig, TopicName};

use super::payloads::Payloads;
use super::place::Place;
use crate::failure::Failure;

/// The topic that is measured.
pub(super) const TOPIC: &str = "bench";
/// Records of a batch, but no more than [`BATCH_BYTES_MAX`] of payload.
const BATCH_RECORDS: usize = 100;
const BATCH_BYTES_MAX: usize = 1 << 20;
/// Batches that are not acked yet while a log is filled.
const BATCHES_IN_FLIGHT: usize = 8;

/// What one measurement is given.
#[derive(Clone, Debug)]
pub(super) struct Setup {
    pub(super) place: Arc<Place>,
    /// What payloads are cut from.
    pub(super) pool: Bytes,
    pub(super) level: Durability,
    pub(super) payload_bytes: usize,
    pub(super) limit: Duration,
    pub(super) producers: u32,
    pub(super) log_bytes: u64,
}

/// The log, and its one topic.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) log: Log,
    pub(super) topic: Topic,
}

impl Setup {
    pub(super) fn payloads(&self) -> Payloads {
        Payloads::of(&self.pool, self.payload_bytes)
    }

    /// How many records a batch has.
    pub(super) fn batch_records(&self) -> usize {
        BATCH_RECORDS.min(BATCH_BYTES_MAX / self.payload_bytes).max(1)
    }

    /// The log with one empty topic at the level of this measurement.
    pub(super) async fn session(&self) -> Result<Session, Failure> {
        self.session_with(Log::builder()).await
    }

    /// As [`session`](Self::session), the log opened with other options.
    pub(super) async fn session_with(&self, builder: LogBuilder) -> Result<Session, Failure> {
        let log = self.place.log(builder).await?;
        let config = TopicConfig::default().with_durability(self.level);
        if let Err(error) = log.create_topic(&TopicName::parse(TOPIC)?, config).await {
            log.close().await?;
            return Err(error.into());
        }
        let topic = log.topic(TOPIC).await?;
        Ok(Session { log, topic })
    }

    /// The log with one topic that holds so many bytes of payload as were asked for.
    pub(super) async fn filled(&self, builder: LogBuilder) -> Result<Session, Failure> {
        let session = self.session_with(builder).await?;
        let mut payloads = self.payloads();
        let (mut bytes, count) = (0, self.batch_records());
        let mut acks: VecDeque<Ack> = VecDeque::new();
        while bytes < self.log_bytes {
            let batch = payloads.messages(count);
            acks.push_back(session.topic.append_batch(batch).await?.ack());
            bytes += count as u64 * payloads.size();
            if acks.len() > BATCHES_IN_FLIGHT
                && let Some(oldest) = acks.pop_front()
            {
                oldest.await?;
            }
        }
        for ack in acks {
            ack.await?;
        }
        Ok(session)
    }
}

impl Session {
    /// Closes the log; what it holds is cleared away with the place.
    pub(super) async fn close(self) -> Result<(), Failure> {
        Ok(self.log.close().await?)
    }
}
