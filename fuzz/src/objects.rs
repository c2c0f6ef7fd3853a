//! The objects of the store on object storage: commit objects, their directories, checkpoints.

use msglog_object_store::fuzzing;

use crate::script::Script;

/// The first byte says which of them, the rest are its bytes, with and without right CRCs.
pub fn run(data: &[u8]) {
    let mut script = Script(data);
    match script.byte() % 4 {
        0 => fuzzing::commit(script.0),
        1 => fuzzing::directory(script.0, &[]),
        2 => fuzzing::checkpoint(script.0, &[]),
        _ => {
            // What a checkpoint holds, and then a commit on top of it.
            let count = usize::from(script.short());
            let checkpoint = script.bytes(count);
            fuzzing::checkpoint(checkpoint, script.0);
            fuzzing::directory(checkpoint, script.0);
        }
    }
}

/// Objects that the store has written.
pub fn seeds() -> Vec<Vec<u8>> {
    let batches = (0..3).map(|place| crate::sample::batch(place * 2, 2, 50)).collect();
    let (commits, checkpoint) = fuzzing::samples(batches).expect("samples follow each other");
    let mut seeds = Vec::new();
    for (whole, directory) in &commits {
        seeds.push([&[0], &whole[..]].concat());
        seeds.push([&[1], &directory[..]].concat());
        let count = u16::try_from(checkpoint.len()).unwrap_or(u16::MAX).to_be_bytes();
        seeds.push([&[3], &count[..], &checkpoint[..], &directory[..]].concat());
    }
    seeds.push([&[2], &checkpoint[..]].concat());
    seeds
}
