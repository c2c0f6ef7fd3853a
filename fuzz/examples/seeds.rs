//! Writes the seeds of every target into folders: `cargo run --example seeds -- corpus`, for when a
//! format has changed.

use std::path::PathBuf;

use msglog_fuzz::TARGETS;

fn main() {
    let root = PathBuf::from(std::env::args().nth(1).unwrap_or_else(|| "corpus".to_owned()));
    for target in TARGETS {
        let folder = root.join(target.name);
        std::fs::create_dir_all(&folder).expect("a folder for the seeds");
        for (place, seed) in (target.seeds)().iter().enumerate() {
            std::fs::write(folder.join(format!("seed-{place:03}")), seed).expect("a seed");
        }
    }
}
