//! What each fuzz target does with its bytes, and the seeds that it starts from.
//!
//! A target panics when a promise is broken. It takes any bytes; so a finding that is kept in the
//! corpus is a regression test (`tests/corpus.rs`).

pub mod batch;
pub mod checkpoint;
pub mod folder;
pub mod image;
pub mod index;
pub mod markers;
pub mod objects;
pub mod sample;
pub mod script;
pub mod url;

/// A target: its name, what it does with bytes, and what it starts from.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// The name of the binary and of the folder of its corpus.
    pub name: &'static str,
    /// Panics when these bytes break a promise.
    pub run: fn(&[u8]),
    /// Real encoded data to start from.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// All of them.
pub const TARGETS: [Target; 7] = [
    Target { name: "batch", run: batch::run, seeds: batch::seeds },
    Target { name: "checkpoint", run: checkpoint::run, seeds: checkpoint::seeds },
    Target { name: "folder", run: folder::run, seeds: folder::seeds },
    Target { name: "index", run: index::run, seeds: index::seeds },
    Target { name: "markers", run: markers::run, seeds: markers::seeds },
    Target { name: "objects", run: objects::run, seeds: objects::seeds },
    Target { name: "url", run: url::run, seeds: url::seeds },
];
