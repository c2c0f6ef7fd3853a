//! The checkpoint file of a partition: what is read is in order and is written again as it was.

/// The bytes as they are, and behind a right magic and CRC.
pub fn run(data: &[u8]) {
    msglog_fs::fuzzing::checkpoint(data);
    msglog_fs::fuzzing::checkpoint(&msglog_fs::fuzzing::checkpoint_of(data));
}

/// Those of real partitions, and what lies behind their CRC.
pub fn seeds() -> Vec<Vec<u8>> {
    let images = crate::image::bases();
    let checkpoints = images.iter().flat_map(|image| image.files_ending("checkpoint"));
    checkpoints.flat_map(|bytes| [bytes[12..].to_vec(), bytes]).collect()
}
