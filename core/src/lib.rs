//! The contract of a msglog store, the record batch, and the log built on them.

pub mod batch;
pub mod blocking;
mod clock;
pub mod codec;
mod durability;
mod error;
pub mod log;
mod message_ref;
mod msn;
mod record;
pub mod store;
mod topic;
mod utc_offset;

pub use crate::batch::RecordBatch;
pub use crate::clock::{Clock, ManualClock, SystemClock, Timestamp};
pub use crate::durability::Durability;
pub use crate::error::{Effect, Error, ErrorKind, Result};
pub use crate::log::{
    Ack, AppendOptions, Appended, Compacted, Compaction, Consumer, Log, LogBuilder, MsgLog, Page,
    Producer, Subscription, Topic, TopicConfig, TypedTopic,
};
pub use crate::message_ref::{AsMessage, MessageRef};
pub use crate::msn::Msn;
pub use crate::record::{Header, Message, Record};
pub use crate::topic::{ConsumerName, NAME_BYTES_MAX, TopicName, TopicPartition};
pub use crate::utc_offset::UtcOffset;
