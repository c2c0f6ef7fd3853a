//! Which partition a message goes to: that of its key, or the next one in turn, or one's own choice.

use std::fmt::Debug;

use crate::MessageRef;

/// Chooses the partition of a message.
///
/// Set for a log with [`LogBuilder::partitioner`](super::LogBuilder::partitioner), or for a handle of
/// a topic with [`Topic::with_partitioner`](super::Topic::with_partitioner). A partition named in
/// [`AppendOptions`](super::AppendOptions) wins over it, and a topic of one partition does not ask.
///
/// It is not stored: every producer of a topic must choose alike where that matters, e.g. for the
/// order of the messages of a key. The default is Kafka's: [`partition_of_key`].
///
/// ```
/// use msglog_core::MessageRef;
/// use msglog_core::log::Partitioner;
///
/// /// Messages of the same length go to the same partition; empty ones take turns.
/// #[derive(Debug)]
/// struct ByLength;
///
/// impl Partitioner for ByLength {
///     fn partition(&self, message: MessageRef<'_>, partitions: u32) -> Option<u32> {
///         let length = message.payload.map_or(0, <[u8]>::len);
///         let length = u32::try_from(length).unwrap_or(u32::MAX);
///         (length > 0).then_some(length % partitions)
///     }
/// }
/// ```
pub trait Partitioner: Debug + Send + Sync + 'static {
    /// The partition of `message`, below `partitions`; `None` to take turns.
    ///
    /// Called for every append by the thread that appends: it must be quick. Answering `partitions`
    /// or more makes the append fail with [`Invalid`](crate::ErrorKind::Invalid).
    fn partition(&self, message: MessageRef<'_>, partitions: u32) -> Option<u32>;
}

/// The partition that Apache Kafka's default partitioner gives a key: `murmur2(key) mod count`.
///
/// The same key always goes to the same partition while the count stays. `count` 0 counts as 1.
/// Source: `org.apache.kafka.common.utils.Utils.murmur2`, a variant of Austin Appleby's MurmurHash2.
///
/// ```
/// use msglog_core::log::partition_of_key;
///
/// assert_eq!(partition_of_key(b"table-7", 12), partition_of_key(b"table-7", 12));
/// ```
pub fn partition_of_key(key: &[u8], count: u32) -> u32 {
    (murmur2(key) & 0x7fff_ffff) % count.max(1)
}

fn murmur2(data: &[u8]) -> u32 {
    const SEED: u32 = 0x9747_b28c;
    const M: u32 = 0x5bd1_e995;
    const R: u32 = 24;

    // Kafka's hash takes the length as a Java int; keys are far shorter than that.
    let length = u32::try_from(data.len()).unwrap_or(u32::MAX);
    let mut hash = SEED ^ length;
    let (words, tail) = data.as_chunks::<4>();
    for word in words {
        let mut k = u32::from_le_bytes(*word).wrapping_mul(M);
        k = (k ^ (k >> R)).wrapping_mul(M);
        hash = hash.wrapping_mul(M) ^ k;
    }
    if !tail.is_empty() {
        for (place, byte) in tail.iter().enumerate() {
            hash ^= u32::from(*byte) << (8 * place);
        }
        hash = hash.wrapping_mul(M);
    }
    hash = (hash ^ (hash >> 13)).wrapping_mul(M);
    hash ^ (hash >> 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The vectors of Kafka's own `UtilsTest.testMurmur2`.
    #[test]
    fn hash_equals_that_of_kafka() {
        let vectors: [(&[u8], i32); 6] = [
            (b"21", -973932308),
            (b"foobar", -790332482),
            (b"a-little-bit-long-string", -985981536),
            (b"a-little-bit-longer-string", -1486304829),
            (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
            (b"abc", 479470107),
        ];
        for (key, hash) in vectors {
            assert_eq!(murmur2(key).cast_signed(), hash, "{key:?}");
        }
    }

    #[test]
    fn every_key_has_a_partition_within_the_count() {
        for count in [0, 1, 7, u32::MAX] {
            assert!(partition_of_key(b"key", count) < count.max(1));
        }
    }
}
