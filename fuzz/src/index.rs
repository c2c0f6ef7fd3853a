//! The two index files of a segment: they lead to a place in front of what is looked for.

use crate::script::Script;

/// Base MSN, length of the first file, both files; what to look for is made of the same bytes.
pub fn run(data: &[u8]) {
    let mut script = Script(data);
    let (base, wanted, time) = (script.long(), script.long(), script.long());
    let count = usize::from(script.byte());
    let offsets = script.bytes(count);
    msglog_fs::fuzzing::index(base, (offsets, script.0), (wanted, time.cast_signed()));
}

/// The indexes of real segments.
pub fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for image in crate::image::bases() {
        let times = image.files_ending("timeindex");
        let offsets = image.files_ending(".index");
        for (offsets, times) in offsets.iter().zip(&times) {
            let mut seed = [0u64, 3, 1_020].map(u64::to_be_bytes).concat();
            seed.push(u8::try_from(offsets.len()).unwrap_or(u8::MAX));
            seed.extend_from_slice(&offsets[..offsets.len().min(255)]);
            seed.extend_from_slice(times);
            seeds.push(seed);
        }
    }
    seeds
}
