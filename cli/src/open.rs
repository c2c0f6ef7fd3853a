//! Opening a log for a command.

use std::sync::Arc;

use msglog::store::MessageStore;
use msglog::{Access, Log, LogBuilder, Topic, TopicName};

use crate::failure::Failure;

/// Opens the store at `url` and the log over it for reading.
///
/// The store may have a writer; nothing is created or changed.
pub(crate) async fn for_reading(url: &str) -> Result<(Log, Arc<dyn MessageStore>), Failure> {
    let store = msglog::registry().open(url, Access::Read).await?;
    let builder = Log::builder().access(Access::Read).create_topics(false);
    Ok((builder.open(store.clone()).await?, store))
}

/// Opens the log at `url` for writing, creating the store if need be but no topic.
pub(crate) async fn for_writing(url: &str, builder: LogBuilder) -> Result<Log, Failure> {
    Ok(msglog::open_with(url, builder.create_topics(false)).await?)
}

/// The partitions meant by `--partition`: that one, or all.
pub(crate) fn chosen_partitions(
    topic: &Topic,
    partition: Option<u32>,
) -> Result<Vec<u32>, Failure> {
    match partition {
        None => Ok((0..topic.partition_count()).collect()),
        Some(number) => {
            check_partition(topic.name(), topic.partition_count(), number)?;
            Ok(vec![number])
        }
    }
}

/// Refuses a partition that the topic does not have.
pub(crate) fn check_partition(topic: &TopicName, count: u32, number: u32) -> Result<(), Failure> {
    if number < count {
        return Ok(());
    }
    let why = format!("topic `{topic}` has {count} partitions, no partition {number}");
    Err(Failure::NotFound(why))
}
